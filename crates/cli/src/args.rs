//! The command line: commands and the flags that all of them share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use meshspan_model::environment::Variables;

use crate::apply::ApplyArgs;
use crate::backup::BackupArgs;
use crate::config::ConfigArgs;
use crate::delete::DeleteArgs;
use crate::generate::GenerateArgs;
use crate::get::GetArgs;
use crate::inspect::InspectArgs;
use crate::version::VersionArgs;

/// The program as it is when called through a link named `kumactl`.
#[derive(Debug, Parser)]
#[command(
    name = "kumactl",
    version,
    about = "Manages a mesh through the REST API of its control plane"
)]
pub struct Kumactl {
    /// Lets these flags stand before the command; the command reads its own copy.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The client commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create or update resources from files
    #[command(after_help = "Examples:
  meshspan apply -f redis.yaml
  meshspan apply -f mesh/ -f extra.yaml                  # folders with all below them
  meshspan apply -f redis.yaml -v zone=east --dry-run    # {{ zone }} becomes east
  meshspan get mzsvc redis -o yaml | meshspan apply -f -")]
    Apply(Connected<ApplyArgs>),
    /// Show resources
    #[command(after_help = "Examples:
  meshspan get meshes
  meshspan get meshmultizoneservices -m default          # also: meshmultizoneservice, mzsvc
  meshspan get mzsvc redis -o yaml
  meshspan get dataplanes -A -o wide")]
    Get(Connected<GetArgs>),
    /// Delete resources
    #[command(after_help = "Examples:
  meshspan delete meshmultizoneservice redis -m default
  meshspan delete -f redis.yaml")]
    Delete(Connected<DeleteArgs>),
    /// Show how proxies, zones and services are
    #[command(after_help = "Examples:
  meshspan inspect services            # names, addresses, zones and what is wrong
  meshspan inspect meshmultizoneservice redis
  meshspan inspect dataplanes --tag kuma.io/service=redis
  meshspan inspect dataplane web-1 --to redis    # which policy decided what
  meshspan inspect meshtimeout slow    # the proxies that a policy touches
  meshspan inspect zones")]
    Inspect(Connected<InspectArgs>),
    /// Make tokens, keys and certificates
    #[command(after_help = "Examples:
  meshspan generate dataplane-token --name redis-1 --tag kuma.io/service=redis --valid-for 720h > token
  meshspan generate zone-token --zone east --scope ingress --valid-for 720h
  meshspan generate signing-key --format pem > key.pem")]
    Generate(Connected<GenerateArgs>),
    /// Remember control planes and choose one; explains the flags by which every command finds its own
    #[command(after_help = "Examples:
  meshspan config control-planes add --name prod --address https://cp.example:5682 --ca-cert-file ca.pem
  meshspan config control-planes switch --name prod
  meshspan config view

Every command that asks a control plane understands, before or after its name:
  --address URL        ask this one [MESHSPAN_ADDRESS; without a file http://localhost:5681]
  --token TOKEN        as this user [MESHSPAN_TOKEN]
  --ca-cert-file FILE  PEM file with the CA of its certificate [MESHSPAN_CA_CERT_FILE]
  --skip-verify        accept any certificate, for tests only
  --config-file FILE   remembers control planes [MESHSPAN_CONFIG; ~/.meshspan/config, else ~/.kumactl/config]
  --context NAME       use this context of the file instead of the current one
  --no-config          use no such file
  --api-timeout TIME   longest time for one request [1m]
  --log-level LEVEL    off, info or debug, on standard error")]
    Config(Connected<ConfigArgs>),
    /// Show the versions of this program and of the control plane
    #[command(after_help = "Example:
  meshspan version -a")]
    Version(Connected<VersionArgs>),
    /// Copy what a control plane stores. No command of its own: `meshspan cp` has it, which is no client command.
    #[command(skip)]
    Backup(Connected<BackupArgs>),
}

impl Command {
    /// The flags that all commands share.
    pub fn connection(&self) -> &ConnectionArgs {
        match self {
            Self::Apply(connected) => &connected.connection,
            Self::Get(connected) => &connected.connection,
            Self::Delete(connected) => &connected.connection,
            Self::Inspect(connected) => &connected.connection,
            Self::Generate(connected) => &connected.connection,
            Self::Config(connected) => &connected.connection,
            Self::Version(connected) => &connected.connection,
            Self::Backup(connected) => &connected.connection,
        }
    }
}

/// The variables that commands read.
pub(crate) fn variables() -> Variables<'static> {
    let command = ConnectionArgs::augment_args(clap::Command::new("client"));
    let known = command.get_arguments().filter_map(clap::Arg::get_env);
    Variables {
        program: "the client",
        known: known.filter_map(|name| name.to_str()).map(str::to_owned).collect(),
        own: &["MESHSPAN_"],
        // Of labs and tests, which run clients themselves.
        foreign: &[
            "MESHSPAN_BENCH_",
            "MESHSPAN_ENVOY",
            "MESHSPAN_LAB_",
            "MESHSPAN_PORT",
            "MESHSPAN_SERVICE_",
            "MESHSPAN_TEST_",
            "MESHSPAN_VERSION",
        ],
    }
}

/// A command's own arguments with the shared ones.
#[derive(Debug, Args)]
pub struct Connected<T: Args> {
    /// Its own; first, because the shared ones open a section of the help.
    #[command(flatten)]
    pub args: T,
    /// The shared ones.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Which control plane to ask, and how.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// File that remembers control planes [default: ~/.meshspan/config, else ~/.kumactl/config]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "MESHSPAN_CONFIG",
        hide_env_values = true,
        hide = true
    )]
    pub config_file: Option<PathBuf>,
    /// Use no such file: ask http://localhost:5681 unless --address says otherwise
    #[arg(long, global = true, hide = true)]
    pub no_config: bool,
    /// Use this context of the file instead of the current one
    #[arg(long, global = true, hide = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Ask this control plane; `meshspan config --help` explains this and all other flags of connections
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "MESHSPAN_ADDRESS",
        hide_env_values = true
    )]
    pub address: Option<String>,
    /// Token of a user; replaces the one from the file
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "MESHSPAN_TOKEN",
        hide_env_values = true,
        hide = true
    )]
    pub token: Option<String>,
    /// PEM file with the CA of the control plane's certificate
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "MESHSPAN_CA_CERT_FILE",
        hide_env_values = true,
        hide = true
    )]
    pub ca_cert_file: Option<PathBuf>,
    /// Accept any certificate of the control plane (for tests only)
    #[arg(long, global = true, hide = true)]
    pub skip_verify: bool,
    /// Longest time for one request
    #[arg(long, global = true, hide = true, value_name = "DURATION", default_value = "1m", value_parser = timeout)]
    pub api_timeout: Duration,
    /// What to log on standard error
    #[arg(long, global = true, hide = true, value_name = "LEVEL", default_value = "off")]
    pub log_level: LogLevel,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    #[default]
    Off,
    /// What is rare.
    Info,
    /// Every request.
    Debug,
}

fn timeout(text: &str) -> Result<Duration, String> {
    let duration = meshspan_model::duration::parse(text)?;
    if duration.is_zero() {
        return Err("must be longer than 0".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definition_is_sound() {
        Kumactl::command().debug_assert();
    }

    #[test]
    fn shared_flags_stand_before_or_after_the_command() {
        for line in [
            &["kumactl", "--address", "http://a:1", "get", "meshes"][..],
            &["kumactl", "get", "meshes", "--address", "http://a:1"],
            &["kumactl", "get", "--address", "http://a:1", "meshes"],
        ] {
            let command = Kumactl::try_parse_from(line).unwrap().command;
            assert_eq!(command.connection().address.as_deref(), Some("http://a:1"), "{line:?}");
            assert_eq!(command.connection().api_timeout, Duration::from_secs(60));
        }
        let line = [
            "kumactl",
            "--config-file",
            "f",
            "--api-timeout",
            "5s",
            "config",
            "control-planes",
            "list",
        ];
        let command = Kumactl::try_parse_from(line).unwrap().command;
        assert_eq!(command.connection().config_file, Some(PathBuf::from("f")));
        assert_eq!(command.connection().api_timeout, Duration::from_secs(5));
    }

    #[test]
    fn commands_fit_into_a_larger_program() {
        #[derive(Subcommand)]
        #[allow(clippy::large_enum_variant)]
        enum Larger {
            /// Has flags of the same names.
            Cp {
                #[arg(long)]
                config_file: Option<PathBuf>,
            },
            #[command(flatten)]
            Client(Command),
        }
        #[derive(Parser)]
        struct Program {
            #[command(subcommand)]
            command: Larger,
        }
        Program::command().debug_assert();
        let line = ["meshspan", "config", "view", "--config-file", "f"];
        match Program::try_parse_from(line).unwrap().command {
            Larger::Client(command) => assert_eq!(command.connection().config_file, Some(PathBuf::from("f"))),
            Larger::Cp { .. } => panic!("parsed as another command"),
        }
        let server = Program::try_parse_from(["meshspan", "cp", "--config-file", "f"])
            .unwrap()
            .command;
        assert!(matches!(server, Larger::Cp { config_file: Some(_) }));
    }

    #[test]
    fn every_connection_flag_is_explained_in_one_place() {
        let mut config = Kumactl::command();
        let config = config
            .find_subcommand_mut("config")
            .unwrap()
            .render_long_help()
            .to_string();
        let connection = ConnectionArgs::augment_args(clap::Command::new("x"));
        for flag in connection.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(config.contains(&format!("--{flag}")), "--{flag} is not in\n{config}");
        }
        let mut get = Kumactl::command();
        let get = get.find_subcommand_mut("get").unwrap().render_long_help().to_string();
        assert!(
            !get.contains("--skip-verify") && get.contains("meshspan config --help"),
            "{get}"
        );
    }

    /// The commands in the examples of a command and of all below it.
    fn examples(command: &clap::Command) -> Vec<String> {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let help = help.replace("\\\n", " ");
        let own = help.lines().flat_map(|line| line.split('|')).map(|line| {
            let line = line.split(['#', '>']).next().unwrap_or_default();
            line.trim().to_owned()
        });
        let own = own.filter(|line| line.starts_with("meshspan ")).collect::<Vec<_>>();
        own.into_iter()
            .chain(command.get_subcommands().flat_map(examples))
            .collect()
    }

    #[test]
    fn examples_can_be_typed_as_they_stand() {
        let found = examples(&Kumactl::command());
        assert!(found.len() > 20, "{found:?}");
        for line in found {
            // No command in the examples of kinds has this name.
            let words = line.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
            if let Err(error) = Kumactl::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn bad_flags_are_refused() {
        for line in [
            &["kumactl", "get"][..],
            &["kumactl", "apply"],
            &["kumactl", "get", "meshes", "--api-timeout", "0"],
            &["kumactl", "get", "dataplanes", "-A", "-m", "default"],
            &["kumactl", "delete", "mesh"],
            &["kumactl", "delete", "mesh", "default", "-f", "x"],
            &["kumactl", "generate", "zone-token", "--zone", "east"],
            &["kumactl", "inspect", "zone-ingress", "a", "--type", "policies"],
            &["kumactl", "inspect", "dataplanes", "--type", "stats"],
        ] {
            assert!(Kumactl::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
