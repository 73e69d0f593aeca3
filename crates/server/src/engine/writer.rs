//! Stores what was derived, beside the engine's other work: a store that is slow, full or hangs delays nothing else.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use meshspan_store::{Store, StoreError, Write};
use tokio::time::Instant;

/// Time until a write that the store could not take is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Writes that wait, and the transaction under way. Bounded by the number of resources: of each, only the newest waits.
pub(super) struct Writer {
    store: Arc<dyn Store>,
    waiting: Vec<Write>,
    /// Ends with what the store could not take.
    running: Option<BoxFuture<'static, Vec<Write>>>,
    retry_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            waiting: Vec::new(),
            running: None,
            retry_at: None,
        }
    }

    /// Adds newly derived writes; older ones of the same resources that still wait are pointless now.
    pub(super) fn add(&mut self, writes: Vec<Write>) {
        self.waiting.retain(|old| !writes.iter().any(|new| replaces(new, old)));
        self.waiting.extend(writes);
    }

    /// Stores what waits, for ever. Safe to cancel: what is under way is taken up by the next call.
    pub(super) async fn work(&mut self) {
        loop {
            if let Some(running) = &mut self.running {
                let failed = running.await;
                self.running = None;
                if !failed.is_empty() {
                    self.retry_at = Some(Instant::now() + RETRY);
                    let newer = std::mem::replace(&mut self.waiting, failed);
                    self.add(newer);
                }
            }
            if let Some(retry_at) = self.retry_at {
                tokio::time::sleep_until(retry_at).await;
                self.retry_at = None;
            }
            if self.waiting.is_empty() {
                std::future::pending::<()>().await;
            }
            let writes = std::mem::take(&mut self.waiting);
            self.running = Some(store_all(self.store.clone(), writes).boxed());
        }
    }
}

/// True if a derived write makes an older one of the same resource pointless. A status and a payload are independent.
fn replaces(new: &Write, old: &Write) -> bool {
    let is_status = |write: &Write| matches!(write, Write::PutStatus { .. });
    new.key() == old.key() && is_status(new) == is_status(old)
}

/// Stores all at once or, if that fails, each alone. A resource that changed meanwhile is left alone: its change is
/// already on the feed, and what follows from it will be derived then.
async fn store_all(store: Arc<dyn Store>, writes: Vec<Write>) -> Vec<Write> {
    if writes.len() > 1 && store.apply(writes.clone()).await.is_ok() {
        return Vec::new();
    }
    let mut failed = Vec::new();
    // One that fails must not hold up the others.
    for write in writes {
        let key = write.key();
        match store.apply(vec![write.clone()]).await {
            Ok(_) => {}
            Err(
                StoreError::Conflict { .. }
                | StoreError::NotFound { .. }
                | StoreError::AlreadyExists { .. }
                | StoreError::MissingOwner { .. },
            ) => {
                tracing::debug!(resource = %key, "changed meanwhile; derived again with the change");
            }
            Err(error) => {
                tracing::error!(resource = %key, %error, "cannot store what was derived; proxies keep being served, storing is tried again");
                failed.push(write);
            }
        }
    }
    failed
}
