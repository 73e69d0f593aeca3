//! One host of a mesh, wherever it is: in a network namespace of a lab, or as a loopback address of this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use meshspan_lab::{Host, Lab};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::process::{LoopbackProcess, Process};

/// Longest time for a command that is run to its end, and for connecting.
const LIMIT: Duration = Duration::from_secs(30);

/// What the hosts of a mesh are made of. Clones are handles on the same one; the last one to go removes hosts and files.
#[derive(Debug, Clone)]
pub struct Network(Arc<Ground>);

#[derive(Debug)]
enum Ground {
    /// Each host is a network namespace with an address 10.x.y.z.
    Lab(Lab),
    /// Each host is an address 127.x.y.z; files are in the folder.
    Loopback { folder: TempDir, block: Block },
}

impl Network {
    /// Hosts in namespaces, whose traffic can be intercepted; the program must be inside already (see [`meshspan_lab::isolate`]).
    ///
    /// # Errors
    /// As for [`Lab::new`].
    pub async fn lab() -> Result<Self> {
        Ok(Self(Arc::new(Ground::Lab(Lab::new().await?))))
    }

    /// Hosts on loopback addresses of this machine that no other such network uses. Needs no privileges.
    ///
    /// # Errors
    /// No temporary folder can be made, or there are 16 such networks already.
    pub fn loopback() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("meshspan-").tempdir();
        let folder = folder.context("making a temporary folder")?;
        Ok(Self(Arc::new(Ground::Loopback {
            folder,
            block: Block::claim()?,
        })))
    }

    /// True if each host has a network of its own.
    pub fn is_lab(&self) -> bool {
        matches!(*self.0, Ground::Lab(_))
    }

    /// Adds a host; its address ends with `<zone>.0.<number>`.
    ///
    /// # Errors
    /// The name or address is taken, or the kernel refuses.
    pub async fn machine(&self, name: &str, zone: u8, number: u8) -> Result<Machine> {
        match &*self.0 {
            Ground::Lab(lab) => Ok(Machine(Place::Lab(lab.host(name, [10, zone, 0, number].into()).await?))),
            Ground::Loopback { folder, block } => {
                let directory = folder.path().join(name);
                std::fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
                let address = block.address(zone, number)?;
                Ok(Machine(Place::Loopback(Arc::new(Loopback {
                    name: name.to_owned(),
                    address,
                    directory,
                }))))
            }
        }
    }

    /// Where the files of all hosts are: `<host>/<process>.log` and more.
    pub fn directory(&self) -> &Path {
        match &*self.0 {
            Ground::Lab(lab) => lab.directory(),
            Ground::Loopback { folder, .. } => folder.path(),
        }
    }
}

/// The loopback addresses 127.x.0.0 of 16 zones, for one network of this machine at a time.
#[derive(Debug)]
struct Block {
    first: u8,
    /// Whoever listens there owns the block; the kernel gives it back when the process ends, however it ends.
    _claim: TcpListener,
}

impl Block {
    const ZONES: u8 = 16;
    const CLAIM_PORT: u16 = 9902;

    fn claim() -> Result<Self> {
        for first in (0..=u8::MAX).step_by(usize::from(Self::ZONES)) {
            if let Ok(claim) = TcpListener::bind((Ipv4Addr::new(127, first, 255, 254), Self::CLAIM_PORT)) {
                return Ok(Self { first, _claim: claim });
            }
        }
        bail!("all blocks of loopback addresses are in use: end another demo first")
    }

    fn address(&self, zone: u8, number: u8) -> Result<Ipv4Addr> {
        ensure!(
            zone < Self::ZONES,
            "there are {} zones at most on loopback",
            Self::ZONES
        );
        Ok(Ipv4Addr::new(127, self.first + zone, 0, number))
    }
}

/// One host. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct Machine(Place);

#[derive(Debug, Clone)]
enum Place {
    Lab(Host),
    Loopback(Arc<Loopback>),
}

#[derive(Debug)]
struct Loopback {
    name: String,
    address: Ipv4Addr,
    directory: PathBuf,
}

impl Machine {
    /// Its name.
    pub fn name(&self) -> &str {
        match &self.0 {
            Place::Lab(host) => host.name(),
            Place::Loopback(loopback) => &loopback.name,
        }
    }

    /// The address at which others reach it.
    pub fn address(&self) -> Ipv4Addr {
        match &self.0 {
            Place::Lab(host) => host.address(),
            Place::Loopback(loopback) => loopback.address,
        }
    }

    /// An address that only this host uses: where applications listen that have no interception, and agents for the host itself.
    pub fn private_address(&self) -> Ipv4Addr {
        match &self.0 {
            Place::Lab(_) => Ipv4Addr::LOCALHOST,
            Place::Loopback(loopback) => {
                let [first, zone, _, number] = loopback.address.octets();
                Ipv4Addr::new(first, zone, 1, number)
            }
        }
    }

    /// A folder for its files.
    pub fn directory(&self) -> &Path {
        match &self.0 {
            Place::Lab(host) => host.directory(),
            Place::Loopback(loopback) => &loopback.directory,
        }
    }

    /// The host in the lab; `None` on loopback.
    pub fn host(&self) -> Option<&Host> {
        match &self.0 {
            Place::Lab(host) => Some(host),
            Place::Loopback(_) => None,
        }
    }

    /// `preferred` where the host has all ports for itself, else one that is free at the moment.
    ///
    /// # Errors
    /// This machine has no free port.
    pub fn port(&self, preferred: u16) -> Result<u16> {
        match &self.0 {
            Place::Lab(_) => Ok(preferred),
            Place::Loopback(_) => {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).context("looking for a free port")?;
                Ok(listener.local_addr()?.port())
            }
        }
    }

    /// Starts a process; its output is appended to `<directory>/<name>.log`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub async fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        match &self.0 {
            Place::Lab(host) => Ok(Process::Lab(host.spawn(name, command).await?)),
            Place::Loopback(loopback) => {
                let log = loopback.directory.join(format!("{name}.log"));
                Ok(Process::Loopback(LoopbackProcess::start(name, log, command)?))
            }
        }
    }

    /// Runs a program to its end, and returns what it wrote to its standard output.
    ///
    /// # Errors
    /// It cannot be started, takes longer than 30 seconds or fails; the error holds what it said.
    pub async fn run(&self, command: Command) -> Result<String> {
        let said = format!("{command:?}");
        let output = self.exec(command).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            output.status.success(),
            "{said}: {}: {}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        Ok(text(&output.stdout))
    }

    /// As [`Machine::run`], but an unsuccessful end is no error.
    ///
    /// # Errors
    /// See there.
    pub async fn exec(&self, mut command: Command) -> Result<Output> {
        match &self.0 {
            Place::Lab(host) => host.exec(command).await,
            Place::Loopback(_) => {
                let said = format!("{command:?}");
                command
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped());
                let child = tokio::process::Command::from(command)
                    .kill_on_drop(true)
                    .spawn()
                    .with_context(|| format!("starting {said}"))?;
                let output = timeout(LIMIT, child.wait_with_output()).await;
                output
                    .with_context(|| format!("{said} took longer than {} seconds", LIMIT.as_secs()))?
                    .context("waiting for it")
            }
        }
    }

    /// Opens a connection as an application on this host.
    ///
    /// # Errors
    /// The refusal of the other side, or no answer within 30 seconds.
    pub async fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        match &self.0 {
            Place::Lab(host) => host.connect(to).await,
            Place::Loopback(_) => {
                let connected = timeout(LIMIT, TcpStream::connect(to)).await;
                connected
                    .with_context(|| format!("no answer from {to}"))?
                    .with_context(|| format!("connecting to {to}"))
            }
        }
    }

    /// The addresses of a name, as an application on this host finds them.
    ///
    /// # Errors
    /// The resolver fails, or the host is on loopback, where names are not redirected.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>> {
        match &self.0 {
            Place::Lab(host) => host.resolve(name).await,
            Place::Loopback(_) => bail!("without interception the name {name} means nothing to an application"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn two_networks_on_loopback_share_no_address() {
        let (one, two) = (Network::loopback().unwrap(), Network::loopback().unwrap());
        let (a, b) = (
            one.machine("a", 1, 1).await.unwrap(),
            two.machine("a", 1, 1).await.unwrap(),
        );
        assert_ne!(a.address(), b.address());
        assert_ne!(a.address(), a.private_address());
        assert!(a.address().is_loopback() && a.private_address().is_loopback());
        assert!(one.machine("b", 16, 1).await.is_err());
    }
}
