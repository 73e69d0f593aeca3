//! `inspect <policy>`: the proxies that a policy touches, and what of it is without effect.

use anyhow::bail;
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use meshspan_model::policy::PolicyKind;
use serde_json::Value;

use super::service_text::write_notes;
use super::{OutputArgs, label, text};
use crate::client::{Client, item};
use crate::console::Console;
use crate::get::{DEFAULT_MESH, display_name, find};
use crate::output::{list_document, write_document};
use crate::table::Table;

/// One command for each kind of policies, such as `inspect meshtimeout`.
#[derive(Debug)]
pub struct PolicyCommand {
    /// The kind.
    pub kind: PolicyKind,
    /// Its arguments.
    pub args: PolicyArgs,
}

/// Arguments of `inspect <policy>`.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// The policy: its display name or the name that `meshspan get` shows
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Mesh
    #[arg(short, long, value_name = "MESH", default_value = DEFAULT_MESH)]
    pub mesh: String,
    /// How to print.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Understood for kumactl's sake: there is no other API
    #[arg(long, hide = true)]
    pub new_api: bool,
}

impl PolicyCommand {
    fn command(kind: PolicyKind) -> Command {
        let info = kind.kind().info();
        PolicyArgs::augment_args(Command::new(info.singular))
            .aliases([info.path, info.short_name])
            .about(format!(
                "{}: which proxies one touches",
                kind.info().about.trim_end_matches('.')
            ))
            .after_help(format!(
                "Examples:
  meshspan get {path}
  meshspan inspect {singular} NAME
  meshspan inspect {singular} NAME -o yaml",
                path = info.path,
                singular = info.singular
            ))
    }
}

impl Subcommand for PolicyCommand {
    fn augment_subcommands(command: Command) -> Command {
        let kinds = PolicyKind::ALL.iter().copied();
        kinds.fold(command, |command, kind| command.subcommand(Self::command(kind)))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        of_command(name).is_some()
    }
}

impl FromArgMatches for PolicyCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (kind, matches) = matches
            .subcommand()
            .and_then(|(name, matches)| Some((of_command(name)?, matches)))
            .ok_or_else(|| clap::Error::new(clap::error::ErrorKind::MissingSubcommand))?;
        Ok(Self {
            kind,
            args: PolicyArgs::from_arg_matches(matches)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn of_command(name: &str) -> Option<PolicyKind> {
    let mut kinds = PolicyKind::ALL.iter().copied();
    kinds.find(|kind| kind.kind().info().singular == name)
}

pub(super) async fn inspect(command: &PolicyCommand, client: &Client, console: &mut Console<'_>) -> anyhow::Result<()> {
    let PolicyCommand { kind, args } = command;
    let (kind, mesh, name) = (kind.kind(), &args.mesh, &args.name);
    let policies = find(kind, mesh, name, client).await?;
    if policies.is_empty() {
        let list = kind.info().path;
        bail!("there is no {kind} {name} in mesh {mesh}: see `meshspan get {list} -m {mesh}`");
    }
    let mut answers = Vec::new();
    for policy in &policies {
        let path = item(kind, mesh, &text(policy, "name"));
        answers.push(client.whole_list(&format!("{path}/_resources/dataplanes")).await?);
    }
    let document = match answers.as_slice() {
        [only] => only.clone(),
        several => list_document(several),
    };
    if write_document(console.out, args.output.output, &document)? {
        return Ok(());
    }
    for (index, (policy, answer)) in policies.iter().zip(&answers).enumerate() {
        if index > 0 {
            writeln!(console.out)?;
        }
        write_touched(policy, answer, console)?;
    }
    Ok(())
}

fn write_touched(policy: &Value, answer: &Value, console: &mut Console<'_>) -> anyhow::Result<()> {
    let name = format!("{} {}", text(policy, "type"), display_name(policy));
    let proxies = answer.get("items").and_then(Value::as_array);
    let proxies: Vec<&Value> = proxies.into_iter().flatten().collect();
    if proxies.is_empty() {
        let message = match text(answer, "message") {
            message if message.is_empty() => "touches no proxy at present".to_owned(),
            message => message,
        };
        writeln!(console.out, "{name} {message}")?;
    } else {
        let plural = if proxies.len() == 1 { "proxy" } else { "proxies" };
        writeln!(console.out, "{name} touches {} {plural}:", proxies.len())?;
        let mut table = Table::new(["NAME", "ZONE"]);
        for proxy in proxies {
            table.add(vec![text(proxy, "name"), label(proxy, meshspan_model::labels::ZONE)]);
        }
        table.write(console.out, "  ")?;
    }
    write_notes(console.out, &notes(answer, &name))?;
    Ok(())
}

/// The warnings in an answer, each after what it is about.
pub(super) fn notes(answer: &Value, about: &str) -> Vec<String> {
    let warnings = answer.get("warnings").and_then(Value::as_array).into_iter().flatten();
    let texts = warnings.filter_map(Value::as_str);
    texts
        .map(|warning| match about {
            "" => warning.to_owned(),
            about => format!("{about}: {warning}"),
        })
        .collect()
}
