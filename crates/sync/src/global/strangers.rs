//! How many connections there are, and how many of them nobody has been let in on yet: few for each address and not for long,
//! so that strangers keep no zone away. A zone that was let in counts as no stranger, for all zones may come from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meshspan_log_limit::network_of;
use tokio::sync::watch;

/// Most strangers of one address at once: as many zones may come back at once from behind one.
pub(super) const STRANGERS_PER_PEER: usize = 64;

/// The connections of the port.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    strangers: usize,
    by_peer: HashMap<IpAddr, usize>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            open: Mutex::default(),
        })
    }

    /// Counts a new connection, of a stranger; `None` if it must be closed at once.
    pub(super) fn accept(self: &Arc<Self>, peer: IpAddr) -> Option<(Place, Stranger)> {
        let peer = network_of(peer);
        let mut open = self.lock();
        let of_peer = open.by_peer.get(&peer).copied().unwrap_or_default();
        // Strangers leave room for those who are let in.
        if open.total >= self.most || open.strangers >= self.most.div_ceil(2) || of_peer >= STRANGERS_PER_PEER {
            return None;
        }
        open.total += 1;
        open.strangers += 1;
        open.by_peer.insert(peer, of_peer + 1);
        let stranger = Stranger {
            connections: Arc::clone(self),
            peer,
        };
        Some((Place(Arc::clone(self)), stranger))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by a connection as long as it is open.
#[derive(Debug)]
pub(super) struct Place(Arc<Connections>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.0.lock();
        open.total = open.total.saturating_sub(1);
    }
}

/// Held by a connection until somebody is let in.
#[derive(Debug)]
pub(super) struct Stranger {
    connections: Arc<Connections>,
    peer: IpAddr,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.strangers = open.strangers.saturating_sub(1);
        if let Some(of_peer) = open.by_peer.get_mut(&self.peer) {
            *of_peer = of_peer.saturating_sub(1);
            if *of_peer == 0 {
                open.by_peer.remove(&self.peer);
            }
        }
    }
}

/// How many streams have been let in on one connection and have not ended; in the extensions of its requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams(watch::Sender<usize>);

impl Streams {
    pub(super) fn open(&self) -> OpenStream {
        self.0.send_modify(|open| *open += 1);
        OpenStream(self.clone())
    }

    /// Waits until there are some.
    pub(super) async fn any(&self) {
        // Fails only when the sender is gone, which `self` holds.
        let _ = self.0.subscribe().wait_for(|open| *open > 0).await;
    }

    /// Waits until there are none.
    pub(super) async fn none(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// One of them.
#[derive(Debug)]
pub(super) struct OpenStream(Streams);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn strangers_leave_room_for_others_and_for_those_who_are_let_in() {
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        let connections = Connections::new(4 * STRANGERS_PER_PEER);
        let flood = |last| -> Vec<_> { (0..1000).map_while(|_| connections.accept(ip(last))).collect() };
        let mut first = flood(1);
        assert_eq!(first.len(), STRANGERS_PER_PEER);
        // Whoever is let in makes room for the next from there.
        let (place, stranger) = first.pop().unwrap();
        drop(stranger);
        first.extend(flood(1));
        assert_eq!(first.len(), STRANGERS_PER_PEER);
        let second = flood(2);
        assert_eq!(second.len(), STRANGERS_PER_PEER);
        assert!(connections.accept(ip(3)).is_none(), "half of all");
        // All are let in, and there is room for as many again.
        let mut zones: Vec<Place> = [first, second].into_iter().flatten().map(|(place, _)| place).collect();
        zones.push(place);
        for last in 4.. {
            let more = flood(last).into_iter().map(|(place, _)| place);
            let before = zones.len();
            zones.extend(more);
            if zones.len() == before {
                break;
            }
        }
        assert_eq!(zones.len(), 4 * STRANGERS_PER_PEER);
        drop(zones);
        assert_eq!(flood(1).len(), STRANGERS_PER_PEER);
    }
}
