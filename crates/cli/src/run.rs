//! Dispatch: one command against one control plane.

use std::io::{self, Write};
use std::process::ExitCode;

use time::OffsetDateTime;

use crate::args::{Command, ConnectionArgs, variables};
use crate::client::Client;
use crate::console::Console;
use crate::{apply, backup, config, delete, generate, get, inspect, version};

/// How a command ended that could be carried out at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done.
    Done,
    /// Something failed and was reported on the error stream; the rest was done.
    SomeFailed,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::SomeFailed => ExitCode::FAILURE,
        }
    }
}

/// Carries out a command with the process's standard input and clock.
///
/// # Errors
/// Whatever kept the command from being carried out, as text for the user; the caller prints it with `{:#}` and exits with 1.
pub async fn run(
    command: Command,
    version: &'static str,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for warning in variables().check(names)? {
        writeln!(err, "warning: {warning}")?;
    }
    let mut console = Console {
        version,
        input: &mut std::io::stdin(),
        out,
        err,
        now: OffsetDateTime::now_utc(),
        width: terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0)),
    };
    match run_with(command, &mut console).await {
        Ok(outcome) => Ok(outcome.into()),
        // Whoever reads the output has seen enough, as in `meshspan get dataplanes | head`.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// As [`run`], with every stream and the time given.
///
/// # Errors
/// As [`run`].
pub async fn run_with(command: Command, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    match command {
        Command::Apply(command) => apply::apply(&command.args, &command.connection, console).await,
        Command::Get(command) => get::get(&command.args, &connect(&command.connection)?, console).await,
        Command::Delete(command) => delete::delete(&command.args, &connect(&command.connection)?, console).await,
        Command::Inspect(command) => inspect::inspect(&command.args, &connect(&command.connection)?, console).await,
        Command::Generate(command) => generate::generate(&command.args, &command.connection, console).await,
        Command::Config(command) => config::configure(&command.args, &command.connection, console).await,
        Command::Backup(command) => backup::backup(&command.args, &command.connection, console).await,
        Command::Version(command) => version::version(&command.args, &command.connection, console).await,
    }
}

/// A client for the control plane that the flags and the configuration file name.
///
/// # Errors
/// When the file, the address or a certificate cannot be used.
pub fn connect(connection: &ConnectionArgs) -> anyhow::Result<Client> {
    let endpoint = config::endpoint(connection)?;
    Ok(Client::new(&endpoint, connection.api_timeout)?)
}
