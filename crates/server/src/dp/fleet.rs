//! Which proxies are there, and which of those that are missed are taken to be gone.
//!
//! Pure: streams and points in time come in, verdicts come out. See [`judge`] for the rule.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::proxy_key::ProxyKey;

/// Losses this far apart are one loss: a cut is noticed by the keepalives of all streams within two of their intervals.
const SAME_MOMENT: Duration = Duration::from_secs(10);
/// So many may be lost in one moment by themselves, with the host or the rack that they share, as long as most others stay.
const A_FEW: usize = 3;

/// What becomes of a proxy that was lost without a goodbye and did not come back in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is gone.
    Gone,
    /// It is taken to be there: the fault is probably between it and this control plane.
    Held,
}

/// Judges a proxy that was lost in the same moment as others: `lost` are missing, itself included, and `present` are
/// connected now.
///
/// A control plane cannot tell a dead proxy from a cut connection. One that is missed alone is gone. When the share that
/// is missed is large, the connection is the likelier fault, and to remove what may work takes services from everybody:
///
/// * more than [`A_FEW`], and more than a third of all;
/// * or, in a zone of any size, several and more of them than are left. That is the case of a small zone, whose ingress
///   and two proxies are lost together, and of a start after which nobody comes back.
///
/// What is held goes once better evidence comes: a goodbye, or the return of so many others that it is missed alone.
pub(super) fn judge(lost: usize, present: usize) -> Verdict {
    let large_share = lost > A_FEW && 2 * lost > present;
    let most = lost > 1 && lost > present;
    if large_share || most {
        Verdict::Held
    } else {
        Verdict::Gone
    }
}

/// Everything that is known of the streams of all proxies.
#[derive(Debug)]
pub(super) struct Fleet {
    /// From the loss of a proxy until it is judged.
    patience: Duration,
    proxies: BTreeMap<ProxyKey, Entry>,
    /// How many have an open stream.
    present: usize,
    /// Proxies that will be judged, by when.
    deadlines: BTreeSet<(Instant, ProxyKey)>,
    held: BTreeSet<ProxyKey>,
    /// Who returned lately: when, and since when it had been missed.
    returns: VecDeque<(Instant, Instant)>,
}

#[derive(Debug, Default)]
struct Entry {
    open: BTreeSet<u64>,
    /// Since when it has no stream, if it ever was let in.
    missing: Option<Missing>,
    admitted: bool,
    registered: bool,
    said_goodbye: bool,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Instant,
    deadline: Option<Instant>,
}

/// A proxy that is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) id: ProxyKey,
    /// It brought its resource.
    pub(super) registered: bool,
}

/// Proxies that were judged at one time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) gone: Vec<Gone>,
    pub(super) held: Vec<ProxyKey>,
    /// How many are missed and connected now, for messages.
    pub(super) missing: usize,
    pub(super) present: usize,
}

impl Fleet {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            proxies: BTreeMap::new(),
            present: 0,
            deadlines: BTreeSet::new(),
            held: BTreeSet::new(),
            returns: VecDeque::new(),
        }
    }

    /// A proxy that was there when this control plane, or the one before it, was stopped: it has to come back.
    pub(super) fn expect(&mut self, id: ProxyKey, registered: bool, said_goodbye: bool, now: Instant) {
        let entry = self.proxies.entry(id.clone()).or_default();
        if !entry.open.is_empty() || entry.missing.is_some() {
            return;
        }
        entry.admitted = true;
        entry.registered = registered;
        entry.said_goodbye = said_goodbye;
        self.miss(&id, now);
    }

    /// A stream began; whether it is let in is still open. `registered`: the proxy brought its resource.
    pub(super) fn begin(&mut self, id: &ProxyKey, stream: u64, registered: bool) {
        let entry = self.proxies.entry(id.clone()).or_default();
        self.present += usize::from(entry.open.is_empty());
        entry.open.insert(stream);
        if !entry.admitted {
            entry.registered = registered;
        }
    }

    /// A proxy was let in.
    pub(super) fn admit(&mut self, id: &ProxyKey, registered: bool, now: Instant) {
        let Some(entry) = self.proxies.get_mut(id) else { return };
        entry.admitted = true;
        entry.registered = registered;
        entry.said_goodbye = false;
        if let Some(missing) = entry.missing.take() {
            if let Some(deadline) = missing.deadline {
                self.deadlines.remove(&(deadline, id.clone()));
            }
            self.held.remove(id);
            self.returns.push_back((now, missing.since));
            let is_old = |(when, _): &(Instant, Instant)| *when + self.patience < now;
            while self.returns.front().is_some_and(is_old) {
                self.returns.pop_front();
            }
        }
        self.judge_held_again(now);
    }

    /// A stream was refused.
    pub(super) fn refuse(&mut self, id: &ProxyKey, stream: u64, now: Instant) {
        self.close(id, stream, now, false);
    }

    /// A stream ended that had been let in, or may have been.
    pub(super) fn end(&mut self, id: &ProxyKey, stream: u64, now: Instant) {
        self.close(id, stream, now, true);
    }

    /// A proxy that is missed shows that it lives, though it cannot be let in: it is waited for anew.
    pub(super) fn lives(&mut self, id: &ProxyKey, now: Instant) {
        let Some(entry) = self.proxies.get_mut(id).filter(|entry| !entry.said_goodbye) else {
            return;
        };
        let Some(missing) = &mut entry.missing else { return };
        if let Some(deadline) = missing.deadline.take() {
            missing.since = now;
            self.deadlines.remove(&(deadline, id.clone()));
            self.judge_at(id, now + self.patience);
        }
    }

    fn close(&mut self, id: &ProxyKey, stream: u64, now: Instant, admitted: bool) {
        let Some(entry) = self.proxies.get_mut(id) else { return };
        if !entry.open.remove(&stream) {
            return;
        }
        entry.admitted |= admitted;
        if !entry.open.is_empty() {
            return;
        }
        self.present -= 1;
        match (entry.admitted, entry.missing) {
            (true, None) => self.miss(id, now),
            (false, None) => {
                self.proxies.remove(id);
            }
            (_, Some(_)) => {}
        }
    }

    fn miss(&mut self, id: &ProxyKey, now: Instant) {
        let deadline = now + self.patience;
        if let Some(entry) = self.proxies.get_mut(id) {
            entry.missing = Some(Missing {
                since: now,
                deadline: Some(deadline),
            });
            self.deadlines.insert((deadline, id.clone()));
        }
    }

    /// A proxy said goodbye. One that is held is judged again.
    pub(super) fn goodbye(&mut self, id: &ProxyKey, now: Instant) {
        let Some(entry) = self.proxies.get_mut(id) else { return };
        entry.said_goodbye = true;
        if self.held.remove(id) {
            self.judge_at(id, now + self.patience);
        }
    }

    /// What a proxy left behind could not be removed, or it has come back and may still be refused: it is judged again then.
    pub(super) fn judge_later(&mut self, gone: Gone, now: Instant, pause: Duration) {
        let entry = self.proxies.entry(gone.id.clone()).or_default();
        if !entry.admitted && entry.missing.is_none() {
            entry.admitted = true;
            entry.registered = gone.registered;
            // It was judged already, whatever happens to others meanwhile.
            entry.said_goodbye = true;
            entry.missing = Some(Missing {
                since: now,
                deadline: None,
            });
            self.judge_at(&gone.id, now + pause);
        }
    }

    /// Whether a proxy brought its resource.
    pub(super) fn is_registered(&self, id: &ProxyKey) -> bool {
        self.proxies.get(id).is_some_and(|entry| entry.registered)
    }

    /// Whether a proxy has a stream.
    pub(super) fn is_open(&self, id: &ProxyKey) -> bool {
        self.proxies.get(id).is_some_and(|entry| !entry.open.is_empty())
    }

    fn judge_at(&mut self, id: &ProxyKey, deadline: Instant) {
        if let Some(missing) = self.proxies.get_mut(id).and_then(|entry| entry.missing.as_mut())
            && missing.deadline.is_none()
        {
            missing.deadline = Some(deadline);
            self.deadlines.insert((deadline, id.clone()));
        }
    }

    /// Somebody came: held proxies are given time to follow, and then judged again.
    fn judge_held_again(&mut self, now: Instant) {
        let deadline = now + self.patience;
        for id in std::mem::take(&mut self.held) {
            self.judge_at(&id, deadline);
        }
    }

    /// When to call [`Fleet::judge`] next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(when, _)| *when)
    }

    /// Judges those whose time has come. Who is gone is forgotten.
    pub(super) fn judge(&mut self, now: Instant) -> Judged {
        let mut judged = Judged {
            present: self.present,
            ..Judged::default()
        };
        let mut expired = Vec::new();
        while let Some((deadline, id)) = self.deadlines.pop_first() {
            if deadline > now {
                self.deadlines.insert((deadline, id));
                break;
            }
            expired.push(id);
        }
        if expired.is_empty() {
            return judged;
        }
        let mut missed: Vec<Instant> = self
            .proxies
            .values()
            .filter(|entry| !entry.said_goodbye)
            .filter_map(|entry| Some(entry.missing?.since))
            .collect();
        missed.sort_unstable();
        judged.missing = missed.len();
        for id in expired {
            let Some(entry) = self.proxies.get_mut(&id) else {
                continue;
            };
            let Some(missing) = entry.missing.as_mut() else {
                continue;
            };
            missing.deadline = None;
            let (since, registered) = (missing.since, entry.registered);
            let gone = |id| Gone { id, registered };
            if !entry.open.is_empty() {
                // It has come back, and may still be refused.
                self.judge_at(&id, now + self.patience);
                continue;
            }
            if entry.said_goodbye {
                judged.gone.push(gone(id));
                continue;
            }
            let lost = in_same_moment(&missed, since);
            let returned = self.returns.iter().filter(|(_, lost)| is_same_moment(*lost, since));
            let (returned, last) = returned.fold((0, None), |(count, _), (when, _)| (count + 1, Some(*when)));
            // They are still coming back one after the other: it may be among the next ones.
            if let Some(last) = last.filter(|last| lost + returned > A_FEW && *last + self.patience > now) {
                self.judge_at(&id, last + self.patience);
                continue;
            }
            match judge(lost, self.present) {
                Verdict::Gone => judged.gone.push(gone(id)),
                Verdict::Held => judged.held.push(id),
            }
        }
        for gone in &judged.gone {
            self.proxies.remove(&gone.id);
        }
        self.held.extend(judged.held.iter().cloned());
        judged
    }
}

fn is_same_moment(one: Instant, other: Instant) -> bool {
    one.max(other) - one.min(other) <= SAME_MOMENT
}

/// How many of these sorted points in time are in the same moment.
fn in_same_moment(sorted: &[Instant], moment: Instant) -> usize {
    let first = sorted.partition_point(|other| *other + SAME_MOMENT < moment);
    let end = sorted.partition_point(|other| *other <= moment + SAME_MOMENT);
    end.saturating_sub(first)
}

#[cfg(test)]
mod tests;
