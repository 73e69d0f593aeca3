//! Running this program again in namespaces of its own.
//!
//! ```text
//! supervisor   the program as it was started: makes the namespaces, forwards signals, hands on the exit code
//!  └ unshare   holds the process namespace
//!     └ the program again, process 1 of its namespace: isolate() returns here
//!        └ every process of the lab
//! ```
//!
//! Each arrow kills: the death of one process sends SIGKILL to the next (`PDEATHSIG`), and the death of process 1 ends its namespace.

use std::ffi::OsString;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

/// Says in the inner program which kind of namespaces it is in.
const STAGE: &str = "MESHSPAN_LAB_STAGE";
/// Set in the inner program if its standard input is the listener of [`isolate`].
const LISTENER: &str = "MESHSPAN_LAB_LISTENER";

const STAGE_ROOT: &str = "root";
const STAGE_USER: &str = "user";

/// Where the program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// In namespaces made by root.
    Root,
    /// In namespaces made inside a user namespace; the program is root there, and every file outside belongs to its user as before.
    UserNamespace,
    /// The machine gives us no namespaces, for this reason. The program runs as it was started; a [`crate::Lab`] cannot be made.
    Unavailable(String),
}

static INSIDE: OnceLock<Isolation> = OnceLock::new();

/// Moves the program into namespaces of its own. Call it first in `main`, before any thread exists.
///
/// It returns in the inner program, and in the outer one only with [`Isolation::Unavailable`]: otherwise the outer program stays behind
/// as supervisor and ends with the exit code of the inner one (128 + n after signal n). SIGINT, SIGTERM and SIGQUIT are handed on; a
/// second one, and SIGHUP, kill everything at once.
///
/// `outside` is an address of the machine on which the inner program wants to be reached, see [`outside_listener`].
///
/// # Errors
/// `outside` cannot be bound, the program cannot be started again, or the private `/run` cannot be mounted.
pub fn isolate(outside: Option<SocketAddr>) -> Result<Isolation> {
    if let Some(inside) = enter_stage()? {
        return Ok(inside);
    }
    if let Err(reason) = probe() {
        return Ok(Isolation::Unavailable(format!("{reason:#}")));
    }
    let program = std::env::current_exe().context("finding the running program")?;
    let mut command = isolated_command(program.into());
    command.args(std::env::args_os().skip(1));
    if let Some(address) = outside {
        let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
        // Standard input is the one descriptor that the standard library hands on without unsafe code.
        command.stdin(Stdio::from(OwnedFd::from(listener))).env(LISTENER, "1");
    }
    let status = supervise(command)?;
    std::process::exit(exit_code(status));
}

/// The listener that [`isolate`] bound outside of the namespaces, in the network of the machine. `None` if there is none.
///
/// # Errors
/// The descriptor cannot be duplicated.
pub fn outside_listener() -> Result<Option<TcpListener>> {
    if std::env::var_os(LISTENER).is_none() {
        return Ok(None);
    }
    let descriptor = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("duplicating standard input")?;
    Ok(Some(TcpListener::from(descriptor)))
}

/// Fails unless the program is inside, so that nothing is ever done to the network of the machine.
pub(crate) fn require_inside() -> Result<()> {
    match INSIDE.get() {
        Some(Isolation::Root | Isolation::UserNamespace) => Ok(()),
        _ => bail!("a lab exists only in namespaces of its own: call meshspan_lab::isolate() or isolated() first"),
    }
}

/// If this is the inner program: prepares it and says where it is.
pub(crate) fn enter_stage() -> Result<Option<Isolation>> {
    let inside = match std::env::var(STAGE).as_deref() {
        Ok(STAGE_ROOT) => Isolation::Root,
        Ok(STAGE_USER) => Isolation::UserNamespace,
        _ => return Ok(None),
    };
    // Only there is it safe to mount something: the variable alone could be set by anyone.
    if std::process::id() != 1 {
        bail!("{STAGE} is set in a process that is not the first one of its namespace: unset it");
    }
    if INSIDE.get().is_none() {
        // Files of the lab live here and vanish with the mount namespace. It also hides the lock files of the machine's own tools, which a
        // plain user could not open.
        rustix::mount::mount("tmpfs", "/run", "tmpfs", rustix::mount::MountFlags::empty(), None)
            .context("mounting a private /run")?;
        // Only a second call could have been quicker, with the same value.
        let _ = INSIDE.set(inside.clone());
    }
    Ok(Some(inside))
}

/// Removes what marks the inner program, for the environment of its children.
pub(crate) fn forget_stage(command: &mut Command) {
    command.env_remove(STAGE).env_remove(LISTENER);
}

/// The command that runs `program` in new namespaces.
pub(crate) fn isolated_command(program: OsString) -> Command {
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare"]);
    if !root {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
            "--",
        ])
        .arg(program)
        .env("PATH", path_with_system_programs())
        .env(STAGE, if root { STAGE_ROOT } else { STAGE_USER });
    command
}

/// The search path with the folders of system programs, which plain users do not have in theirs: iptables and tc are there.
fn path_with_system_programs() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// Finds out whether this machine can make what a lab needs.
pub(crate) fn probe() -> Result<()> {
    let mut command = isolated_command("ip".into());
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("running `setpriv` (install the package util-linux)")?;
    if let Some(mut stdin) = child.stdin.take() {
        // If the program is gone already its exit code and words say more than the broken pipe.
        let _ = stdin.write_all(b"link add msprobe0 type veth peer name msprobe1\nlink add msprobe2 type bridge\n");
    }
    let output = child.wait_with_output().context("waiting for `unshare`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "this machine gives us no network namespace ({}): it needs root or user namespaces, and the packages iproute2 and util-linux",
            said.trim()
        );
    }
    Ok(())
}

/// Runs `command`, handing on signals, until it ends.
fn supervise(command: Command) -> Result<ExitStatus> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the supervisor")?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut command = tokio::process::Command::from(command);
        // A group of its own: Ctrl-C in a terminal reaches the supervisor alone, which hands it on exactly once.
        let mut child = command
            .process_group(0)
            .spawn()
            .context("starting the program in namespaces")?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let mut asked = false;
        loop {
            let received = tokio::select! {
                status = child.wait() => return status.context("waiting for the program"),
                _ = interrupt.recv() => Signal::INT,
                _ = terminate.recv() => Signal::TERM,
                _ = quit.recv() => Signal::QUIT,
                _ = hangup.recv() => Signal::KILL,
            };
            let forwarded = if asked { Signal::KILL } else { received };
            asked = true;
            if let Some(group) = group {
                // It fails only if the group is gone, and then wait() returns.
                let _ = kill_process_group(group, forwarded);
            }
        }
    })
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
