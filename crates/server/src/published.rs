//! A value that many follow, each with what changed since it looked last. Whoever is slow costs one merged set of names, never
//! a queue, and nobody compares the whole.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

/// What changed, mergeable with what changed later.
pub(crate) trait Changed: Clone + Default {
    /// Adds later changes.
    fn merge(&mut self, later: &Self);
    /// True if nothing changed.
    fn is_empty(&self) -> bool;
}

/// The end that publishes. Dropping it ends all who follow. Values are cheap to clone.
#[derive(Debug, Default)]
pub(crate) struct Published<T, C> {
    current: T,
    followers: Vec<Weak<Shared<T, C>>>,
}

/// An end that follows.
#[derive(Debug)]
pub struct Following<T, C>(Arc<Shared<T, C>>);

#[derive(Debug)]
struct Shared<T, C> {
    state: Mutex<State<T, C>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<T, C> {
    latest: T,
    changes: C,
    ended: bool,
}

impl<T, C> Shared<T, C> {
    /// The state is valid after each statement that edits it, so a panic elsewhere while the lock was held harms nothing.
    fn lock(&self) -> MutexGuard<'_, State<T, C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone, C: Changed> Published<T, C> {
    /// The newest value.
    pub(crate) fn current(&self) -> &T {
        &self.current
    }

    /// True if somebody follows.
    pub(crate) fn is_followed(&self) -> bool {
        self.followers.iter().any(|follower| follower.strong_count() > 0)
    }

    /// Replaces the value.
    pub(crate) fn publish(&mut self, value: T, changes: &C) {
        self.current = value;
        self.followers.retain(|follower| {
            let Some(follower) = follower.upgrade() else {
                return false;
            };
            let mut state = follower.lock();
            state.latest = self.current.clone();
            state.changes.merge(changes);
            drop(state);
            follower.changed.notify_one();
            true
        });
    }

    /// The value now, and an end that hears of what changes from now on.
    pub(crate) fn follow(&mut self) -> (T, Following<T, C>) {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                latest: self.current.clone(),
                changes: C::default(),
                ended: false,
            }),
            changed: Notify::new(),
        });
        self.followers.retain(|follower| follower.strong_count() > 0);
        self.followers.push(Arc::downgrade(&shared));
        (self.current.clone(), Following(shared))
    }
}

impl<T, C> Drop for Published<T, C> {
    fn drop(&mut self) {
        for follower in self.followers.iter().filter_map(Weak::upgrade) {
            follower.lock().ended = true;
            follower.changed.notify_one();
        }
    }
}

impl<T: Clone, C: Changed> Following<T, C> {
    /// Waits for a change; `None` when there will be no more. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Option<(T, C)> {
        loop {
            {
                let mut state = self.0.lock();
                if !state.changes.is_empty() {
                    let changes = std::mem::take(&mut state.changes);
                    return Some((state.latest.clone(), changes));
                }
                if state.ended {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    impl Changed for BTreeSet<u8> {
        fn merge(&mut self, later: &Self) {
            self.extend(later);
        }

        fn is_empty(&self) -> bool {
            BTreeSet::is_empty(self)
        }
    }

    #[tokio::test]
    async fn a_slow_follower_gets_the_newest_value_and_all_names() {
        let mut published = Published::<&str, BTreeSet<u8>>::default();
        published.publish("before", &BTreeSet::from([9]));
        let (first, mut following) = published.follow();
        assert_eq!(first, "before");
        published.publish("one", &BTreeSet::from([1]));
        published.publish("two", &BTreeSet::from([2]));
        assert_eq!(following.next().await, Some(("two", BTreeSet::from([1, 2]))));
        published.publish("three", &BTreeSet::from([3]));
        drop(published);
        assert_eq!(following.next().await, Some(("three", BTreeSet::from([3]))));
        assert_eq!(following.next().await, None);
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut published = Published::<u8, BTreeSet<u8>>::default();
        drop(published.follow());
        published.publish(1, &BTreeSet::from([1]));
        assert!(published.followers.is_empty());
    }
}
