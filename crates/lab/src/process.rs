//! A process on a host.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::timeout;

use crate::host::Host;
use crate::process_table;

/// How much of a log [`Proc::log_tail`] shows, in bytes.
const TAIL: u64 = 8192;

/// A process that was started by [`Host::spawn`]. Dropping it kills it and everything below it, unless it has been seen to end.
#[derive(Debug)]
pub struct Proc {
    name: String,
    host: Host,
    child: Child,
    pid: u32,
    log: PathBuf,
}

impl Proc {
    pub(crate) fn new(name: &str, host: Host, child: Child, log: PathBuf) -> Result<Self> {
        let pid = child.id().context("the process has ended already")?;
        Ok(Self {
            name: name.to_owned(),
            host,
            child,
            pid,
            log,
        })
    }

    /// The name given to [`Host::spawn`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it runs.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its id in the process namespace of the lab.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its output, for error messages.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("looking at {}", self.name))
    }

    /// Sends a signal to this process alone, not to what it started.
    pub fn signal(&self, signal: Signal) {
        // Once it has been waited for, the id may belong to another process.
        if self.child.id().is_some()
            && let Some(pid) = Pid::from_raw(self.pid.cast_signed())
        {
            // It fails only if the process has just ended.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills this process alone, as a crash does, and waits until it is gone. What it started lives on unless it ends by itself.
    ///
    /// # Errors
    /// The system cannot tell how it ended.
    pub async fn kill9(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL);
        self.wait().await
    }

    /// Kills this process and everything below it.
    ///
    /// # Errors
    /// The system cannot tell how it ended.
    pub async fn kill_tree(&mut self) -> Result<ExitStatus> {
        self.kill_all();
        self.wait().await
    }

    fn kill_all(&self) {
        // Once it has been waited for, the id may belong to another process.
        if self.child.id().is_some() {
            process_table::kill(&process_table::with_descendants(self.pid));
        }
    }

    /// Asks it to end (SIGTERM) and waits; after `grace` it is killed with everything it started.
    ///
    /// # Errors
    /// The system cannot tell how it ended.
    pub async fn terminate(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        match timeout(grace, self.wait()).await {
            Ok(status) => status,
            Err(_) => self.kill_tree().await,
        }
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// The system cannot tell how it ended.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        self.child
            .wait()
            .await
            .with_context(|| format!("waiting for {} on {}", self.name, self.host.name()))
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// The end of a log, or why it cannot be read.
pub(crate) fn log_tail(path: &Path) -> String {
    read_tail(path).unwrap_or_else(|error| format!("cannot read it: {error}"))
}

fn read_tail(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
