//! Facts of this host that settings refer to: users, name servers, privileges.

use std::fs::File;
use std::io::ErrorKind;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::thread::CapabilitySet;

use crate::config::Owner;
use crate::error::Error;
use crate::settings::{MAX_FILE_BYTES, Settings};

/// In the ranges of virtual IPs, by default.
const VIRTUAL_IP: Ipv4Addr = Ipv4Addr::new(243, 255, 255, 254);
/// User that Envoy runs as if none is named.
const DEFAULT_UID: u32 = 5678;
const DEFAULT_USER: &str = "kuma-dp";
/// Held while rules are changed; readable and writable for root alone.
const LOCK: &str = "/run/meshspan-transparent-proxy.lock";
/// How long another process may hold the lock: longer than its own waits for the lock of iptables.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// Reads a text file of at most [`MAX_FILE_BYTES`].
pub fn read_text(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let read = File::open(path)
        .map_err(failed)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(failed(std::io::Error::other("the file is larger than 1 MiB")));
    }
    Ok(text)
}

/// Fails unless this process may change the packet filter of its network namespace.
pub fn require_privilege() -> Result<(), Error> {
    let capable =
        rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN));
    if capable { Ok(()) } else { Err(Error::NoPermission) }
}

/// Whether this network namespace has an IPv6 address; with IPv6 off not even loopback has one.
pub fn has_ipv6() -> bool {
    read_text(Path::new("/proc/net/if_inet6")).is_ok_and(|addresses| !addresses.trim().is_empty())
}

/// Whether the kernel knows a way to virtual IPs. It looks for one before it asks the packet filter.
pub fn has_route_to_virtual_ips() -> bool {
    // Of UDP, nothing is sent by this.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    socket.is_ok_and(|socket| match socket.connect((VIRTUAL_IP, 1)) {
        Ok(()) => true,
        Err(error) => error.kind() != ErrorKind::NetworkUnreachable,
    })
}

/// The port of this host's SSH server through which the caller is logged in, if so (`SSH_CONNECTION` of ssh(1)).
pub fn port_of_ssh_session() -> Option<u16> {
    std::env::var("SSH_CONNECTION")
        .ok()?
        .split_whitespace()
        .nth(3)?
        .parse()
        .ok()
}

/// Waits until no other process changes the rules of this host. `None` where there is no place for the lock.
///
/// # Errors
/// [`Error::Busy`] after [`LOCK_PATIENCE`].
pub fn lock() -> Result<Option<File>, Error> {
    let path = Path::new(LOCK);
    let opened = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path);
    let Ok(file) = opened else {
        return Ok(None);
    };
    let started = Instant::now();
    while file.try_lock().is_err() {
        if started.elapsed() > LOCK_PATIENCE {
            return Err(Error::Busy {
                path: path.to_owned(),
                seconds: LOCK_PATIENCE.as_secs(),
            });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(Some(file))
}

/// How Envoy's sockets are recognised, by the settings and the users of this host.
///
/// # Errors
/// [`Error::UnknownUser`].
pub fn owner(settings: &Settings) -> Result<Owner, Error> {
    if settings.kuma_dp_mark != 0 {
        return Ok(Owner::Mark(settings.kuma_dp_mark));
    }
    let passwd = read_text(Path::new("/etc/passwd"))?;
    find_uid(&passwd, settings.kuma_dp_user.trim()).map(Owner::Uid)
}

/// Fails if `owner` cannot be matched in the user namespace of this process.
pub fn require_mapped(owner: Owner) -> Result<(), Error> {
    let Owner::Uid(uid) = owner else {
        return Ok(());
    };
    let map = read_text(Path::new("/proc/self/uid_map"))?;
    if is_mapped(&map, uid) {
        Ok(())
    } else {
        Err(Error::UnmappedUser { uid })
    }
}

fn find_uid(passwd: &str, user: &str) -> Result<u32, Error> {
    let users = || {
        passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid: u32 = fields.nth(1)?.parse().ok()?;
            Some((name, uid))
        })
    };
    let by_name = |wanted: &str| users().find(|(name, _)| *name == wanted).map(|(_, uid)| uid);
    if user.is_empty() {
        return users()
            .map(|(_, uid)| uid)
            .find(|uid| *uid == DEFAULT_UID)
            .or_else(|| by_name(DEFAULT_USER))
            .ok_or_else(|| Error::UnknownUser {
                user: DEFAULT_USER.to_owned(),
            });
    }
    // An id needs no entry: in containers users often have none.
    user.parse()
        .ok()
        .or_else(|| by_name(user))
        .ok_or_else(|| Error::UnknownUser { user: user.to_owned() })
}

/// `uid_map` has lines of: first id inside, first id outside, count.
fn is_mapped(uid_map: &str, uid: u32) -> bool {
    uid_map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u64>().unwrap_or(0));
        let (Some(first), Some(_), Some(count)) = (numbers.next(), numbers.next(), numbers.next()) else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&u64::from(uid))
    })
}

/// Addresses of the `nameserver` lines of a resolv.conf.
pub fn name_servers(resolv_conf: &str) -> Vec<IpAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            if words.next()? != "nameserver" {
                return None;
            }
            // A link-local address may carry a zone (`fe80::1%eth0`), which iptables does not understand.
            words.next()?.split('%').next()?.parse().ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/:/bin/bash\nbroken\nkuma-dp:x:999:999::/:/bin/false\n";

    #[test]
    fn users() {
        assert_eq!(find_uid(PASSWD, "").unwrap(), 999);
        let with_default = format!("{PASSWD}envoy:x:5678:1::/:/bin/false\n");
        assert_eq!(find_uid(&with_default, "").unwrap(), 5678);
        assert_eq!(find_uid(PASSWD, "root").unwrap(), 0);
        assert_eq!(find_uid(PASSWD, "4242").unwrap(), 4242);
        let message = find_uid(PASSWD, "nobody-here").unwrap_err().to_string();
        assert!(
            message.contains("\"nobody-here\"") && message.contains("--kuma-dp-user"),
            "{message}"
        );
        assert!(find_uid("", "").is_err());
    }

    #[test]
    fn mapped_users() {
        assert!(is_mapped("         0          0 4294967295\n", 5678));
        assert!(is_mapped("0 1000 1\n1 100000 65536\n", 5678));
        assert!(!is_mapped("0 1000 1\n", 5678));
        assert!(!is_mapped("", 0));
    }

    #[test]
    fn resolv_conf() {
        let text = "# c\nsearch x\nnameserver 10.0.0.1\n nameserver\tfe80::1%eth0\nnameserver bad\noptions a\n";
        let servers = name_servers(text);
        assert_eq!(
            servers,
            ["10.0.0.1".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]
        );
    }
}
