//! The Envoy process: started, watched, stopped, and never left behind.
//!
//! Envoy runs in a process group of its own, so that Ctrl-C in a terminal reaches the agent alone and draining can take
//! place. If the agent is killed, the kernel kills Envoy (`PDEATHSIG`). That signal fires when the *thread* that forked
//! ends, so each Envoy has a thread that forks it and then waits for it.

use super::log_filter::{Line, LogFilter};
use super::log_tail::LogTail;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// How many lines of Envoy's output an error shows.
const SHOWN_LINES: usize = 15;
/// How long the last output may take to arrive after the exit.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct EnvoyCommand {
    pub(crate) binary: PathBuf,
    pub(crate) config_path: PathBuf,
    pub(crate) drain_time: Duration,
    /// `None`: what people need to see. What else Envoy says at its level `info` goes to our log at level `debug`.
    pub(crate) log_level: Option<String>,
    pub(crate) component_log_level: Option<String>,
    /// Worker threads; `None`: as many as the process has CPUs.
    pub(crate) concurrency: Option<u32>,
}

/// Envoy ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("Envoy ({}) ended: {status}{}", binary.display(), shown(.last_log_lines))]
pub struct EnvoyExited {
    /// Which binary.
    pub binary: PathBuf,
    /// Exit code or signal.
    pub status: ExitStatus,
    /// The end of its output, for people.
    pub last_log_lines: String,
}

impl EnvoyExited {
    /// The exit code that the agent should end with: Envoy's own, or 128 + signal number as shells count it.
    pub fn exit_code(&self) -> i32 {
        self.status
            .code()
            .or_else(|| self.status.signal().map(|signal| 128 + signal))
            .unwrap_or(1)
    }
}

fn shown(lines: &str) -> String {
    if lines.is_empty() {
        "; it printed nothing".to_owned()
    } else {
        format!("; its last output:\n{lines}{}", remedy(lines))
    }
}

fn remedy(lines: &str) -> &'static str {
    if lines.contains("cannot bind") {
        "\nanother program of this host, perhaps another proxy, listens there: end it, or choose another port: of an inbound in the Dataplane, \
         of Envoy's admin interface with networking.admin.port (9901 by default), of interception with networking.transparentProxying"
    } else {
        ""
    }
}

impl EnvoyCommand {
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "--config-path".to_owned(),
            self.config_path.display().to_string(),
            "--drain-time-s".to_owned(),
            self.drain_time.as_secs().to_string(),
            // With "gradual" Envoy would spread the closing of connections over the drain time by chance.
            "--drain-strategy".to_owned(),
            "immediate".to_owned(),
            "--disable-hot-restart".to_owned(),
            "--log-level".to_owned(),
            self.log_level.clone().unwrap_or_else(|| "info".to_owned()),
        ];
        if let Some(levels) = self.component_log_level.clone().filter(|levels| !levels.is_empty()) {
            arguments.extend(["--component-log-level".to_owned(), levels]);
        }
        match self.concurrency {
            Some(threads) => arguments.extend(["--concurrency".to_owned(), threads.to_string()]),
            None => arguments.push("--cpuset-threads".to_owned()),
        }
        arguments
    }
}

/// A running Envoy. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct EnvoyProcess {
    binary: PathBuf,
    leash: Leash,
    exit: watch::Receiver<Option<ExitStatus>>,
    tail: LogTail,
    output: JoinSet<()>,
}

/// A process group that can be signalled without hitting a stranger: the lock is held while signalling, and taken by
/// the waiting thread before the process id is given back to the kernel.
#[derive(Debug)]
struct SignalTarget {
    group: Pid,
    reaped: Mutex<bool>,
}

impl SignalTarget {
    fn send(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            // Fails only if the group is gone, which is what the signal wants.
            let _ = rustix::process::kill_process_group(self.group, signal);
        }
    }
}

/// Kills its process group when dropped, wherever that happens: also on the way to an agent that no longer waits for it.
#[derive(Debug)]
struct Leash(Arc<SignalTarget>);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.send(Signal::KILL);
    }
}

impl EnvoyProcess {
    /// Starts Envoy; those lines of its output that people are shown go to the agent's own standard error and output as they come.
    pub(crate) async fn start(command: &EnvoyCommand) -> io::Result<Self> {
        let (started, start) = oneshot::channel();
        let (exited, exit) = watch::channel(None);
        let binary = command.binary.clone();
        let arguments = command.arguments();
        std::thread::Builder::new()
            .name("envoy".to_owned())
            .spawn(move || match spawn(&binary, &arguments) {
                Ok((mut child, target)) => {
                    let pipes = (child.stdout.take(), child.stderr.take());
                    let target = Arc::new(target);
                    // If nobody receives it, the leash is dropped, and Envoy ends.
                    drop(started.send(Ok((Leash(target.clone()), pipes))));
                    exited.send_replace(Some(wait(&mut child, &target)));
                }
                Err(error) => drop(started.send(Err(error))),
            })?;
        let gone = || io::Error::other("the thread that starts Envoy ended");
        let (leash, (stdout, stderr)) = start.await.map_err(|_| gone())??;
        let tail = LogTail::default();
        let shows_all = command.log_level.is_some() || command.component_log_level.is_some();
        let mut output = JoinSet::new();
        if let Some(stdout) = stdout {
            let stdout = tokio::process::ChildStdout::from_std(stdout)?;
            output.spawn(copy(stdout, io::stdout(), LogFilter::new(shows_all), tail.clone()));
        }
        if let Some(stderr) = stderr {
            let stderr = tokio::process::ChildStderr::from_std(stderr)?;
            output.spawn(copy(stderr, io::stderr(), LogFilter::new(shows_all), tail.clone()));
        }
        Ok(Self {
            binary: command.binary.clone(),
            leash,
            exit,
            tail,
            output,
        })
    }

    /// Waits until Envoy has ended.
    pub(crate) async fn exited(&mut self) -> EnvoyExited {
        let status = match self.exit.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            // The thread sends before it ends; this arm is for its panic.
            Err(_) => ExitStatus::default(),
        };
        let rest = async { while self.output.join_next().await.is_some() {} };
        // A grandchild may hold the pipes open: no reason to wait for it.
        let _ = tokio::time::timeout(OUTPUT_GRACE, rest).await;
        EnvoyExited {
            binary: self.binary.clone(),
            status,
            last_log_lines: self.tail.last_lines(SHOWN_LINES),
        }
    }

    /// Asks Envoy to end (SIGTERM), and kills it if it has not within `grace`.
    pub(crate) async fn stop(mut self, grace: Duration) -> EnvoyExited {
        self.leash.0.send(Signal::TERM);
        if let Ok(exited) = tokio::time::timeout(grace, self.exited()).await {
            return exited;
        }
        tracing::warn!("Envoy did not end within {} s, killing it", grace.as_secs());
        self.leash.0.send(Signal::KILL);
        self.exited().await
    }

    #[cfg(test)]
    pub(crate) fn pid(&self) -> i32 {
        self.leash.0.group.as_raw_nonzero().get()
    }
}

fn spawn(binary: &Path, arguments: &[String]) -> io::Result<(Child, SignalTarget)> {
    let mut command = Command::new(binary);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    end_with_parent(&mut command);
    let mut child = command.spawn()?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    match group {
        Some(group) => Ok((
            child,
            SignalTarget {
                group,
                reaped: Mutex::default(),
            },
        )),
        None => {
            child.kill()?;
            Err(io::Error::other("Envoy has no process id"))
        }
    }
}

/// Makes the kernel kill the child when the calling thread ends.
#[allow(unsafe_code)]
fn end_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let in_child = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes two system calls
    // (prctl, getppid) and neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(in_child);
    }
}

/// Waits for the end, and gives the process id back only when no signal can be on its way.
fn wait(child: &mut Child, target: &SignalTarget) -> ExitStatus {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = rustix::process::waitid(WaitId::Pid(target.group), ended) {}
    let mut reaped = target.reaped.lock().unwrap_or_else(PoisonError::into_inner);
    *reaped = true;
    child.wait().unwrap_or_default()
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl Write, mut filter: LogFilter, tail: LogTail) {
    let mut show = |line: Line| match line {
        // Nobody reading our output is no reason to stop reading Envoy's, or it would block.
        Line::Shown(line) => {
            let _ = to.write_all(&line).and_then(|()| to.flush());
        }
        Line::Hidden(line) => tracing::debug!(target: "envoy", "{}", String::from_utf8_lossy(&line).trim_end()),
    };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        tail.push(bytes);
        filter.push(bytes).into_iter().for_each(&mut show);
    }
    filter.finish().into_iter().for_each(show);
}

#[cfg(test)]
mod tests;
