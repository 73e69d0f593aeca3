//! A process on a host.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use meshspan_lab::Proc;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::timeout;

use crate::logs::log_tail;

/// A process that was started by [`crate::Machine::spawn`]. Dropping it kills it.
#[derive(Debug)]
pub enum Process {
    /// On a host of a lab.
    Lab(Proc),
    /// On this machine.
    Loopback(LoopbackProcess),
}

impl Process {
    /// Kills it and what it started, as a crash does, and waits until it is gone.
    ///
    /// # Errors
    /// The system cannot tell how it ended.
    pub async fn kill(&mut self) -> Result<()> {
        match self {
            Self::Lab(process) => process.kill_tree().await.map(drop),
            // What runs below it is an Envoy, which the kernel kills together with its agent.
            Self::Loopback(process) => process.kill().await,
        }
    }

    /// Asks it to end (SIGTERM) and waits; after `grace` it is killed.
    ///
    /// # Errors
    /// The system cannot tell how it ended.
    pub async fn terminate(&mut self, grace: Duration) -> Result<()> {
        match self {
            Self::Lab(process) => process.terminate(grace).await.map(drop),
            Self::Loopback(process) => {
                process.signal(Signal::TERM);
                match timeout(grace, process.child.wait()).await {
                    Ok(status) => status.map(drop).context("waiting for a process"),
                    Err(_) => process.kill().await,
                }
            }
        }
    }

    /// Fails with the end of its log if it does not run any more.
    ///
    /// # Errors
    /// See above.
    pub fn check(&mut self) -> Result<()> {
        let (name, status) = match self {
            Self::Lab(process) => (process.name().to_owned(), process.status()?),
            Self::Loopback(process) => (process.name.clone(), process.child.try_wait()?),
        };
        match status {
            None => Ok(()),
            Some(status) => anyhow::bail!("{name} ended: {status}; its log ends with:\n{}", log_tail(self.log())),
        }
    }

    /// Its output.
    pub fn log(&self) -> &Path {
        match self {
            Self::Lab(process) => process.log(),
            Self::Loopback(process) => &process.log,
        }
    }

    /// Its id where it runs.
    pub fn id(&self) -> Option<u32> {
        match self {
            Self::Lab(process) => Some(process.pid()),
            Self::Loopback(process) => process.child.id(),
        }
    }
}

/// A process of this machine that ends together with the current one.
#[derive(Debug)]
pub struct LoopbackProcess {
    name: String,
    child: Child,
    log: PathBuf,
}

impl LoopbackProcess {
    pub(crate) fn start(name: &str, log: PathBuf, command: Command) -> Result<Self> {
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("opening {}", log.display()))?;
        let second = file.try_clone().context("opening the log twice")?;
        // The kernel then kills it if the current process is killed and cannot.
        let mut tied = tokio::process::Command::new("setpriv");
        tied.args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => tied.env(name, value),
                None => tied.env_remove(name),
            };
        }
        tied.stdin(Stdio::null())
            .stdout(file)
            .stderr(second)
            .process_group(0)
            .kill_on_drop(true);
        let child = tied.spawn().with_context(|| {
            format!(
                "starting {} by `setpriv` (install the package util-linux)",
                command.get_program().display()
            )
        })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    fn signal(&self, signal: Signal) {
        // The id is given only while the process has not been waited for.
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It fails only if the process has just ended.
            let _ = kill_process(pid, signal);
        }
    }

    async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL);
        self.child
            .wait()
            .await
            .map(drop)
            .with_context(|| format!("waiting for {}", self.name))
    }
}
