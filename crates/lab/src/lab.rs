//! The network that connects the hosts.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::host::{Host, HostOptions};
use crate::isolation::require_inside;
use crate::network::{GATEWAY, PREFIX_LENGTH, ip};
use crate::process::log_tail;

/// Number of the next link; names of interfaces are short and unique in the network of the lab.
static NEXT_LINK: AtomicU32 = AtomicU32::new(0);

/// A bridge without an address of its own takes the lowest of its ports', another one whenever such a port comes, and hosts that know the one
/// before reach it no more until they ask again.
const GATEWAY_MAC: &str = "02:00:00:00:00:01";

/// A bridge with hosts on it. The current process is on it too, with the address 10.255.255.254.
///
/// There is one lab at a time in a process. Dropping it kills all processes on its hosts and removes its files.
#[derive(Debug)]
pub struct Lab {
    bridge: String,
    directory: TempDir,
    hosts: Mutex<Vec<Host>>,
}

impl Lab {
    /// Makes an empty network. Its files are below the private `/run`, or, if the variable `MESHSPAN_LAB_KEEP` names a folder, there,
    /// and stay: for reading logs after a failure.
    ///
    /// # Errors
    /// The program is not in namespaces (see [`crate::isolate`]), or `ip` refused.
    pub async fn new() -> Result<Self> {
        require_inside()?;
        let keep = std::env::var_os("MESHSPAN_LAB_KEEP");
        let parent = keep.as_deref().map_or(Path::new("/run"), Path::new);
        let directory = tempfile::Builder::new()
            .prefix("lab-")
            .disable_cleanup(keep.is_some())
            .tempdir_in(parent)
            .with_context(|| format!("making a folder in {}", parent.display()))?;
        let bridge = next_link("lab");
        ip(&format!(
            "link set lo up\n\
             link add {bridge} address {GATEWAY_MAC} type bridge\n\
             address add {GATEWAY}/{PREFIX_LENGTH} dev {bridge}\n\
             link set {bridge} up\n"
        ))
        .await?;
        Ok(Self {
            bridge,
            directory,
            hosts: Mutex::new(Vec::new()),
        })
    }

    /// Adds a host with an address of 10.0.0.0/8 and no name server.
    ///
    /// # Errors
    /// A name or address that is taken or unusable, or a refusal by the kernel.
    pub async fn host(&self, name: &str, address: Ipv4Addr) -> Result<Host> {
        self.host_with(name, address, HostOptions::default()).await
    }

    /// Adds a host.
    ///
    /// # Errors
    /// See [`Lab::host`].
    pub async fn host_with(&self, name: &str, address: Ipv4Addr, options: HostOptions) -> Result<Host> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || name.len() > 63 || !name.chars().all(plain) {
            bail!("host {name:?}: a name has 1 to 63 letters, digits and dashes");
        }
        if address.octets().first() != Some(&10) || address == GATEWAY {
            bail!("host {name:?}: the address {address} is not in 10.0.0.0/8 or is the one of the lab");
        }
        if let Some(other) = self.hosts().iter().find(|h| h.name() == name || h.address() == address) {
            bail!(
                "host {name:?} ({address}): {} ({}) exists already",
                other.name(),
                other.address()
            );
        }
        let directory = self.directory.path().join(name);
        let host = Host::new(name, address, options, &self.bridge, next_link("v"), &directory).await?;
        self.lock().push(host.clone());
        Ok(host)
    }

    /// The hosts in order of their making.
    pub fn hosts(&self) -> Vec<Host> {
        self.lock().clone()
    }

    /// Where the lab keeps its files: `<host>/<process>.log` and what processes write to [`Host::directory`].
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The end of every log, for error messages.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for host in self.hosts() {
            for log in host.logs() {
                text.push_str(&format!("--- {}\n{}\n", log.display(), log_tail(&log)));
            }
        }
        text
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // All of it would end with this process; it must be gone before the next lab is made, and handles on hosts may live longer.
        for host in self.hosts() {
            host.kill_all();
            delete_link(host.link());
        }
        delete_link(&self.bridge);
    }
}

fn delete_link(name: &str) {
    // Nothing could be done about a failure.
    let _ = Command::new("ip").args(["link", "delete", name]).status();
}

fn next_link(prefix: &str) -> String {
    format!("{prefix}{}", NEXT_LINK.fetch_add(1, Ordering::Relaxed))
}
