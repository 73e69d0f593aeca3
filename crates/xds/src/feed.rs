//! How a new snapshot reaches a connected stream.
//!
//! A feed holds at most one snapshot, the latest, and the union of what changed since the stream last looked. A stream
//! that is slow or waits for its proxy therefore costs one merged set of names, never a queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tonic::Status;

use crate::changes::Changes;
use crate::resource::Snapshot;

/// The control plane's end of one stream's feed. Dropping it ends the stream.
#[derive(Debug)]
pub struct ProxyFeed {
    shared: Arc<Shared>,
}

/// The stream's end of its feed.
#[derive(Debug)]
pub struct FeedReceiver {
    shared: Arc<Shared>,
}

/// Ends a stream from elsewhere than its publisher.
#[derive(Clone, Debug)]
pub struct FeedCloser {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    latest: Snapshot,
    changes: Changes,
    end: Option<Status>,
    receiver_gone: bool,
}

impl Shared {
    /// The state is valid after each statement that edits it, so a panic elsewhere while the lock was held harms nothing.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, reason: Status) {
        self.lock().end.get_or_insert(reason);
        self.changed.notify_one();
    }
}

impl ProxyFeed {
    /// A feed and its receiver. Nothing is served before the first [`publish`](Self::publish).
    pub fn new() -> (Self, FeedReceiver) {
        let state = State {
            latest: Snapshot::default(),
            changes: Changes::none(),
            end: None,
            receiver_gone: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Notify::new(),
        });
        (Self { shared: shared.clone() }, FeedReceiver { shared })
    }

    /// Hands over a new snapshot and what changed since the one published before; the first must say [`Changes::All`].
    /// Never waits. A snapshot without changes is not announced.
    pub fn publish(&self, snapshot: Snapshot, changes: Changes) {
        let mut state = self.shared.lock();
        state.latest = snapshot;
        state.changes.merge(changes);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Ends the stream with a reason that the proxy sees; the first reason counts.
    pub fn close(&self, reason: Status) {
        self.shared.close(reason);
    }

    /// Whether the stream has ended, so that publishing is of no use any more.
    pub fn is_closed(&self) -> bool {
        let state = self.shared.lock();
        state.receiver_gone || state.end.is_some()
    }
}

impl FeedCloser {
    /// As [`ProxyFeed::close`].
    pub fn close(&self, reason: Status) {
        self.shared.close(reason);
    }
}

impl Drop for ProxyFeed {
    fn drop(&mut self) {
        self.close(Status::unavailable("the control plane ended this stream; reconnect"));
    }
}

impl FeedReceiver {
    /// A handle that ends the stream.
    pub fn closer(&self) -> FeedCloser {
        FeedCloser {
            shared: self.shared.clone(),
        }
    }

    /// Waits for the next change: the latest snapshot and everything that changed since the last call.
    ///
    /// Safe to cancel: what was not returned is returned by the next call.
    ///
    /// # Errors
    /// The reason for which the control plane ends the stream.
    pub async fn next(&mut self) -> Result<(Snapshot, Changes), Status> {
        loop {
            if let Some(result) = self.take() {
                return result;
            }
            self.shared.changed.notified().await;
        }
    }

    fn take(&self) -> Option<Result<(Snapshot, Changes), Status>> {
        let mut state = self.shared.lock();
        if let Some(reason) = &state.end {
            return Some(Err(reason.clone()));
        }
        if state.changes.is_empty() {
            return None;
        }
        let changes = std::mem::replace(&mut state.changes, Changes::none());
        Some(Ok((state.latest.clone(), changes)))
    }
}

impl Drop for FeedReceiver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.receiver_gone = true;
        // The publisher may live on for long; the resources need not.
        state.latest = Snapshot::default();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::resource::Resource;
    use crate::resource_type::ResourceType::{Cluster, Endpoint};

    fn snapshot(version: &str) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.own.insert(Cluster, Resource::new("a", version, ""));
        snapshot
    }

    #[tokio::test]
    async fn a_busy_stream_gets_the_latest_snapshot_and_all_merged_changes() {
        let (feed, mut receiver) = ProxyFeed::new();
        feed.publish(snapshot("1"), Changes::from_iter([(Cluster, "a".into())]));
        feed.publish(
            snapshot("2"),
            Changes::from_iter([(Cluster, "a".into()), (Endpoint, "e".into())]),
        );
        let (latest, changes) = receiver.next().await.unwrap();
        assert_eq!(&**latest.get(Cluster, "a").unwrap().version(), "2");
        assert_eq!(
            changes,
            Changes::from_iter([(Cluster, "a".into()), (Endpoint, "e".into())])
        );

        feed.publish(snapshot("3"), Changes::All);
        feed.publish(snapshot("4"), Changes::from_iter([(Cluster, "a".into())]));
        assert_eq!(receiver.next().await.unwrap().1, Changes::All);
    }

    #[tokio::test]
    async fn a_waiting_stream_is_woken() {
        let (feed, mut receiver) = ProxyFeed::new();
        let waiting = tokio::spawn(async move { receiver.next().await.unwrap().1 });
        tokio::task::yield_now().await;
        feed.publish(snapshot("1"), Changes::All);
        assert_eq!(waiting.await.unwrap(), Changes::All);
    }

    #[tokio::test]
    async fn both_ends_learn_that_the_other_has_gone() {
        let (feed, mut receiver) = ProxyFeed::new();
        feed.close(Status::permission_denied("token revoked"));
        drop(feed);
        assert_eq!(receiver.next().await.unwrap_err().message(), "token revoked");

        let (feed, mut receiver) = ProxyFeed::new();
        receiver.closer().close(Status::unauthenticated("token expired"));
        assert!(feed.is_closed());
        assert_eq!(receiver.next().await.unwrap_err().message(), "token expired");

        let (feed, receiver) = ProxyFeed::new();
        assert!(!feed.is_closed());
        drop(receiver);
        assert!(feed.is_closed());
    }
}
