//! How many connections a port takes, in all and from one peer, so that nobody keeps the others out. Each port has a share of
//! its own of the files that the process may open: whatever happens at the API, diagnostics are answered and proxies get in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meshspan_log_limit::network_of;
use rustix::process::{Resource, getrlimit};

use super::body::Memory;
use super::places::Places;

/// Files that are not connections of peers: the store, logs, listeners, connections to other control planes.
const OWN_FILES: usize = 128;
/// Where the system has no limit, or a very high one.
const MOST_CONNECTIONS: usize = 40_000;
/// Diagnostics are asked by few, often.
const DIAGNOSTICS: usize = 64;
/// A client, or a few behind one address, needs no more connections to the API.
const API_PER_PEER: usize = 256;

/// Requests of one client of the API, or of few behind one address, that are answered at once.
const API_REQUESTS_PER_PEER: usize = 128;
/// Requests of all of them.
const API_REQUESTS: usize = 2048;
/// Reads of one peer of which the answers wait to be read; each may fill as much memory as the largest document.
const READS_PER_PEER: usize = 16;
/// Reads of all peers at one port.
const READS: usize = 128;
/// Requests at once on one HTTP/2 connection of a client of the API.
const API_STREAMS: u32 = 32;
/// The same for others: in front of proxies there may be one that puts many on one connection.
const STREAMS: u32 = 128;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Health and metrics.
    Diagnostics,
    /// REST API.
    Api,
    /// Bootstrap, ADS and agents. Many proxies may come from one address.
    DataPlane,
}

/// Limits of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Connections in all.
    pub total: usize,
    /// Connections of one peer.
    pub per_peer: usize,
    /// Requests that are answered at once, other than streams.
    pub requests: usize,
    /// Those of one peer.
    pub requests_per_peer: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
}

impl Limit {
    /// A port's share of `files`, the number of files that the process may have open.
    pub fn share(purpose: Purpose, files: usize) -> Self {
        let usable = files.saturating_sub(OWN_FILES + DIAGNOSTICS).min(MOST_CONNECTIONS);
        let (total, per_peer) = match purpose {
            Purpose::Diagnostics => (DIAGNOSTICS, DIAGNOSTICS / 2),
            // Two ports, plain and TLS.
            Purpose::Api => (usable / 8, (usable / 16).min(API_PER_PEER)),
            Purpose::DataPlane => (usable / 2, usable / 4),
        };
        let (requests, requests_per_peer, streams) = match purpose {
            Purpose::Diagnostics | Purpose::Api => (API_REQUESTS, API_REQUESTS_PER_PEER, API_STREAMS),
            // Proxies fetch their bootstrap all at once, and one has one request.
            Purpose::DataPlane => (MOST_CONNECTIONS, MOST_CONNECTIONS / 2, STREAMS),
        };
        // A process that may open next to no files still serves.
        Self {
            total: total.max(8),
            per_peer: per_peer.max(4),
            requests,
            requests_per_peer,
            streams,
        }
    }
}

/// How many files this process may have open.
pub fn open_files() -> usize {
    match getrlimit(Resource::Nofile).current {
        Some(files) => usize::try_from(files).unwrap_or(usize::MAX),
        None => usize::MAX,
    }
}

/// The open connections of one port.
#[derive(Debug)]
pub struct Connections {
    limit: Limit,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_peer: HashMap<IpAddr, Peer>,
}

#[derive(Debug)]
struct Peer {
    connections: usize,
    share: Share,
}

/// What all connections of one peer may use together, or all of one port.
#[derive(Clone, Debug)]
pub(super) struct Share {
    /// For the bodies of requests.
    pub(super) memory: Memory,
    /// For requests.
    pub(super) places: Places,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The port has as many as it may have.
    Full,
    /// This peer has as many as one peer may have.
    Peer,
}

/// One connection that counts until it is dropped.
#[derive(Debug)]
pub struct Permit {
    connections: Arc<Connections>,
    peer: IpAddr,
    pub(super) share: Share,
}

impl Connections {
    /// Without any yet.
    pub fn new(limit: Limit) -> Arc<Self> {
        Arc::new(Self {
            limit,
            open: Mutex::default(),
        })
    }

    /// The limits.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// What all connections together may use.
    pub(super) fn share(&self) -> Share {
        Share {
            memory: Memory::of_port(),
            places: Places::new(self.limit.requests, READS),
        }
    }

    /// Counts a new connection.
    ///
    /// # Errors
    /// Which limit it would exceed.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Permit, Refusal> {
        let peer = network_of(peer);
        let mut open = self.lock();
        if open.total >= self.limit.total {
            return Err(Refusal::Full);
        }
        let of_peer = open.by_peer.entry(peer).or_insert_with(|| Peer {
            connections: 0,
            share: Share {
                memory: Memory::of_peer(),
                places: Places::new(self.limit.requests_per_peer, READS_PER_PEER),
            },
        });
        if of_peer.connections >= self.limit.per_peer {
            return Err(Refusal::Peer);
        }
        of_peer.connections += 1;
        let share = of_peer.share.clone();
        open.total += 1;
        Ok(Permit {
            connections: self.clone(),
            peer,
            share,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(of_peer) = open.by_peer.get_mut(&self.peer) {
            of_peer.connections = of_peer.connections.saturating_sub(1);
            if of_peer.connections == 0 {
                open.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn limit(total: usize, per_peer: usize) -> Limit {
        Limit {
            total,
            per_peer,
            ..Limit::share(Purpose::Api, usize::MAX)
        }
    }

    #[test]
    fn one_peer_leaves_room_for_others_and_all_leave_room_for_what_is_there() {
        let connections = Connections::new(limit(3, 2));
        let first = connections.admit(ip("10.0.0.1")).unwrap();
        let _second = connections.admit(ip("::ffff:10.0.0.1")).unwrap();
        assert_eq!(connections.admit(ip("10.0.0.1")).unwrap_err(), Refusal::Peer);
        let _other = connections.admit(ip("10.0.0.2")).unwrap();
        assert_eq!(connections.admit(ip("10.0.0.3")).unwrap_err(), Refusal::Full);
        drop(first);
        let _again = connections.admit(ip("10.0.0.1")).unwrap();
    }

    #[test]
    fn a_host_with_many_ipv6_addresses_is_one_peer() {
        let connections = Connections::new(limit(9, 1));
        let _one = connections.admit(ip("2001:db8:1:2:3::1")).unwrap();
        assert_eq!(connections.admit(ip("2001:db8:1:2:4::9")).unwrap_err(), Refusal::Peer);
        assert!(connections.admit(ip("2001:db8:1:3::1")).is_ok());
    }

    #[test]
    fn shares_fit_into_the_files_of_the_process() {
        for files in [256, 1024, 4096, 1 << 20, usize::MAX] {
            let of = |purpose| Limit::share(purpose, files).total;
            let sum = of(Purpose::Diagnostics) + of(Purpose::Api) * 2 + of(Purpose::DataPlane);
            assert!(sum + OWN_FILES <= files, "{files}: {sum}");
        }
    }
}
