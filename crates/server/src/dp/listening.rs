//! The listeners that the Envoys of connected proxies run, for the agents beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use meshspan_xds::StreamEvent;
use tokio::sync::Notify;

use crate::proxy_key::ProxyKey;

/// Of every proxy that is connected or whose agent listens in.
#[derive(Default)]
pub struct Listening(Mutex<BTreeMap<ProxyKey, Entry>>);

#[derive(Default)]
struct Entry {
    stream: u64,
    listeners: BTreeSet<Arc<str>>,
    /// Envoy has had every listener once that it should have.
    caught_up: bool,
    followers: Vec<Weak<Mailbox>>,
}

/// What one agent has not looked at yet.
#[derive(Default)]
struct Mailbox {
    news: Mutex<News>,
    changed: Notify,
}

#[derive(Default)]
struct News {
    caught_up: bool,
    listeners: ListenerNews,
}

/// Listeners that Envoy accepted and that were taken away since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ListenerNews {
    pub(super) accepted: BTreeSet<Arc<str>>,
    pub(super) removed: BTreeSet<Arc<str>>,
}

/// The end that an agent's stream reads.
pub(super) struct Follower(Arc<Mailbox>);

impl Listening {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ProxyKey, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened on the stream of a proxy.
    pub(super) fn event(&self, id: &ProxyKey, stream: u64, event: &StreamEvent) {
        let mut entries = self.lock();
        match event {
            StreamEvent::Listeners(holdings) => {
                let entry = entries.entry(id.clone()).or_default();
                if stream < entry.stream {
                    return;
                }
                if holdings.first {
                    entry.listeners.clear();
                    entry.caught_up = false;
                }
                entry.stream = stream;
                for name in &holdings.removed {
                    entry.listeners.remove(name);
                }
                entry.listeners.extend(holdings.added.iter().cloned());
                entry.notify(&holdings.added, &holdings.removed);
            }
            StreamEvent::CaughtUp => {
                if let Some(entry) = entries.get_mut(id).filter(|entry| entry.stream == stream) {
                    entry.caught_up = true;
                    entry.notify(&[], &[]);
                }
            }
            StreamEvent::Closed { .. } => {
                if let Some(entry) = entries.get_mut(id).filter(|entry| entry.stream == stream) {
                    entry.listeners.clear();
                    entry.caught_up = false;
                    entry.followers.retain(|follower| follower.strong_count() > 0);
                    if entry.followers.is_empty() {
                        entries.remove(id);
                    }
                }
            }
            _ => {}
        }
    }

    /// Follows the listeners of a proxy, beginning with those that it runs now.
    pub(super) fn follow(&self, id: &ProxyKey) -> Follower {
        let mut entries = self.lock();
        // Agents come and go rarely.
        entries.retain(|_, entry| {
            entry.followers.retain(|follower| follower.strong_count() > 0);
            entry.stream != 0 || !entry.followers.is_empty()
        });
        let entry = entries.entry(id.clone()).or_default();
        let mailbox = Arc::new(Mailbox::default());
        entry.followers.push(Arc::downgrade(&mailbox));
        let listeners: Vec<_> = entry.listeners.iter().cloned().collect();
        entry.notify(&listeners, &[]);
        Follower(mailbox)
    }
}

impl Entry {
    fn notify(&mut self, accepted: &[Arc<str>], removed: &[Arc<str>]) {
        self.followers.retain(|follower| {
            let Some(mailbox) = follower.upgrade() else {
                return false;
            };
            let mut news = mailbox.news.lock().unwrap_or_else(PoisonError::into_inner);
            news.caught_up |= self.caught_up;
            for name in removed {
                news.listeners.accepted.remove(name);
                news.listeners.removed.insert(name.clone());
            }
            for name in accepted {
                news.listeners.removed.remove(name);
                news.listeners.accepted.insert(name.clone());
            }
            drop(news);
            mailbox.changed.notify_one();
            true
        });
    }
}

impl Follower {
    /// Waits for news; at first until Envoy has all listeners that it should have. Safe to cancel.
    pub(super) async fn news(&mut self) -> ListenerNews {
        loop {
            self.0.changed.notified().await;
            let mut news = self.0.news.lock().unwrap_or_else(PoisonError::into_inner);
            if news.caught_up {
                return std::mem::take(&mut news.listeners);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use meshspan_xds::Holdings;

    use super::*;

    fn holds(listening: &Listening, stream: u64, first: bool, added: &[&str], removed: &[&str]) {
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        let holdings = Holdings {
            first,
            added: names(added),
            removed: names(removed),
        };
        listening.event(&id(), stream, &StreamEvent::Listeners(holdings));
    }

    fn id() -> ProxyKey {
        ProxyKey::sidecar("default", "web-1")
    }

    fn news(accepted: &[&str], removed: &[&str]) -> ListenerNews {
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        ListenerNews {
            accepted: names(accepted),
            removed: names(removed),
        }
    }

    #[tokio::test]
    async fn a_follower_hears_nothing_before_envoy_has_caught_up_and_then_what_changes() {
        let listening = Listening::default();
        let mut early = listening.follow(&id());
        holds(&listening, 1, true, &[], &[]);
        holds(&listening, 1, false, &["a", "b"], &[]);
        holds(&listening, 1, false, &[], &["b"]);
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, early.news()).await;
        assert!(waiting.is_err());
        listening.event(&id(), 1, &StreamEvent::CaughtUp);
        assert_eq!(early.news().await, news(&["a"], &["b"]));
        let mut late = listening.follow(&id());
        assert_eq!(late.news().await, news(&["a"], &[]));
        holds(&listening, 1, false, &["b"], &["a"]);
        assert_eq!(late.news().await, news(&["b"], &["a"]));
        assert_eq!(early.news().await, news(&["b"], &["a"]));
    }

    #[tokio::test]
    async fn of_a_proxy_that_left_nothing_is_kept_unless_its_agent_listens_in() {
        let listening = Listening::default();
        holds(&listening, 1, true, &["a"], &[]);
        let follower = listening.follow(&id());
        // The end of an old stream means nothing once a new one has begun.
        holds(&listening, 2, true, &["a"], &[]);
        listening.event(&id(), 1, &StreamEvent::Closed { graceful: false });
        assert!(listening.lock().values().all(|entry| !entry.listeners.is_empty()));
        listening.event(&id(), 2, &StreamEvent::Closed { graceful: false });
        assert!(listening.lock().values().all(|entry| entry.listeners.is_empty()));
        drop(follower);
        holds(&listening, 3, true, &[], &[]);
        listening.event(&id(), 3, &StreamEvent::Closed { graceful: false });
        assert!(listening.lock().is_empty());
    }
}
