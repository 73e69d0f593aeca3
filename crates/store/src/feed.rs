//! The change feed: one publisher, any number of subscribers, none of which can hold up the publisher.
//!
//! The latest snapshot lies in a `watch` channel, the last few batches in a `broadcast` ring. The publisher sets the
//! snapshot first and sends the batch second; a subscriber joins the ring first and looks at the snapshot second. So
//! it can miss nothing, and skips by revision what the snapshot already contains. One that fell out of the ring takes
//! the latest snapshot and compares it with the last it had seen: it is told the difference as one batch, and the
//! memory spent on it is at most one old snapshot.

use std::sync::Arc;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};

use crate::{Change, Snapshot};

/// What one transaction changed, or several of them if the subscriber had fallen behind.
#[derive(Clone, Debug)]
pub struct ChangeBatch {
    /// The revision that these changes lead to.
    pub revision: u64,
    /// At most one change for a key, ordered by key. Never empty, unless `folded`.
    pub changes: Vec<Change>,
    /// True if several transactions were folded into one because the subscriber was too far behind. What came and
    /// went in between is not seen; the changes still lead exactly from the last state to the new one.
    pub folded: bool,
    snapshot: Snapshot,
}

impl ChangeBatch {
    /// Everything as of [`ChangeBatch::revision`].
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// The sending end, owned by a store.
#[derive(Debug)]
pub(crate) struct Feed {
    latest: watch::Sender<Snapshot>,
    batches: broadcast::Sender<Arc<ChangeBatch>>,
}

impl Feed {
    pub(crate) fn new(initial: Snapshot, capacity: usize) -> Self {
        Self {
            latest: watch::Sender::new(initial),
            batches: broadcast::Sender::new(capacity.clamp(1, 1 << 20)),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.latest.borrow().clone()
    }

    /// Makes `snapshot` the current one. Must be called by one writer at a time, with revisions that count up by one.
    pub(crate) fn publish(&self, snapshot: Snapshot, changes: Vec<Change>) {
        let revision = snapshot.revision();
        self.latest.send_replace(snapshot.clone());
        // Fails only without subscribers.
        let _ = self.batches.send(Arc::new(ChangeBatch {
            revision,
            changes,
            folded: false,
            snapshot,
        }));
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        let batches = self.batches.subscribe();
        let latest = self.latest.subscribe();
        let seen = latest.borrow().clone();
        Subscription { seen, latest, batches }
    }
}

/// The receiving end. It is always consistent: [`Subscription::snapshot`] is the state after the last batch received,
/// and the next batch leads on from exactly there.
#[derive(Debug)]
pub struct Subscription {
    seen: Snapshot,
    latest: watch::Receiver<Snapshot>,
    batches: broadcast::Receiver<Arc<ChangeBatch>>,
}

impl Subscription {
    /// The state that this subscriber has been told of so far; at first, the state it subscribed to.
    pub fn snapshot(&self) -> &Snapshot {
        &self.seen
    }

    /// Waits for the next batch; `None` when the store is gone and everything has been received. Safe to cancel.
    pub async fn next(&mut self) -> Option<Arc<ChangeBatch>> {
        loop {
            match self.batches.recv().await {
                Ok(batch) => {
                    if let Some(batch) = self.accept(batch) {
                        return Some(batch);
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    if let Some(batch) = self.fold() {
                        return Some(batch);
                    }
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// The next batch if there is one already: to drain a burst after [`Subscription::next`].
    pub fn try_next(&mut self) -> Option<Arc<ChangeBatch>> {
        loop {
            match self.batches.try_recv() {
                Ok(batch) => {
                    if let Some(batch) = self.accept(batch) {
                        return Some(batch);
                    }
                }
                Err(TryRecvError::Lagged(_)) => {
                    if let Some(batch) = self.fold() {
                        return Some(batch);
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    fn accept(&mut self, batch: Arc<ChangeBatch>) -> Option<Arc<ChangeBatch>> {
        if batch.revision <= self.seen.revision() {
            return None;
        }
        self.seen = batch.snapshot.clone();
        Some(batch)
    }

    fn fold(&mut self) -> Option<Arc<ChangeBatch>> {
        let snapshot = self.latest.borrow().clone();
        if snapshot.revision() == self.seen.revision() {
            return None;
        }
        let changes = snapshot.changes_since(&self.seen);
        self.seen = snapshot.clone();
        Some(Arc::new(ChangeBatch {
            revision: snapshot.revision(),
            changes,
            folded: true,
            snapshot,
        }))
    }
}
