//! What peers can make this process log is limited for each of them, so that one that is broken, or means harm, neither fills
//! the disk nor hides what others have to say.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that a peer may cause at once.
const BURST: u32 = 5;
/// After which it may cause one more.
const REFILL: Duration = Duration::from_secs(10);
/// Peers that are remembered. Beyond, all further ones share one allowance.
const MAX_PEERS: usize = 10_000;
/// Longest text of a peer that is repeated in a message, in bytes.
const MAX_TEXT: usize = 1000;

/// Who may cause how many lines.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<HashMap<String, Bucket>>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u32,
    refilled: Instant,
    suppressed: u64,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self {
            left: BURST,
            refilled: now,
            suppressed: 0,
        }
    }

    fn refill(&mut self, now: Instant) {
        let periods = now.duration_since(self.refilled).as_secs() / REFILL.as_secs();
        if periods > 0 {
            let more = u32::try_from(periods).unwrap_or(BURST);
            self.left = self.left.saturating_add(more).min(BURST);
            self.refilled = now;
        }
    }
}

impl LogLimit {
    /// Whether a line that this peer causes is to be written; if so, how many were left out before it.
    pub fn allows(&self, peer: &str) -> Option<u64> {
        self.allows_at(peer, Instant::now())
    }

    fn allows_at(&self, peer: &str, now: Instant) -> Option<u64> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MAX_PEERS && !peers.contains_key(peer) {
            peers.retain(|_, bucket| {
                bucket.refill(now);
                bucket.left < BURST || bucket.suppressed > 0
            });
        }
        let key = if peers.len() >= MAX_PEERS && !peers.contains_key(peer) {
            ""
        } else {
            peer
        };
        let bucket = peers.entry(key.to_owned()).or_insert_with(|| Bucket::full(now));
        bucket.refill(now);
        if bucket.left == 0 {
            bucket.suppressed += 1;
            return None;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.suppressed))
    }
}

/// The beginning of a text that comes from a peer, for messages and logs.
pub fn shown(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default()
}

/// Who counts as one peer: an IPv4 address, or a /64 of IPv6, which one host has to itself.
pub fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_is_silenced_and_others_are_not() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        let written = (0..100).filter(|_| limit.allows_at("a", start).is_some()).count();
        assert_eq!(written, BURST as usize);
        assert_eq!(limit.allows_at("b", start), Some(0));
        assert_eq!(limit.allows_at("a", start + REFILL), Some(95));
        assert_eq!(limit.allows_at("a", start + REFILL), None);
        assert_eq!(limit.allows_at("a", start + REFILL * 100), Some(1));
    }

    #[test]
    fn many_peers_cost_so_much_memory_and_no_more() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        for peer in 0..MAX_PEERS * 2 {
            limit.allows_at(&peer.to_string(), start);
        }
        assert!(limit.0.lock().is_ok_and(|peers| peers.len() <= MAX_PEERS + 1));
        assert_eq!(
            limit.allows_at("another", start),
            None,
            "all new ones share an allowance"
        );
        assert!(limit.allows_at("another", start + REFILL * 10).is_some());
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(shown("short"), "short");
        let long = "ä".repeat(MAX_TEXT);
        assert!(shown(&long).len() <= MAX_TEXT && long.starts_with(shown(&long)));
    }
}
