//! Stores what was derived, beside the engine's other work: a store that is slow, full or hangs delays nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use meshspan_model::ResourceKey;
use meshspan_store::{Store, StoreError, Write};
use tokio::time::Instant;

/// Time until a write that the store could not take is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Derived writes, of which the newest of a resource counts. A status and a payload are independent, and the payload comes
/// first.
type Batch = BTreeMap<(ResourceKey, bool), Write>;

/// Writes that wait, and the transaction under way. Bounded by the number of resources: of each, only the newest waits.
pub(super) struct Writer {
    store: Arc<dyn Store>,
    waiting: Batch,
    /// Ends with what the store could not take.
    running: Option<BoxFuture<'static, Batch>>,
    retry_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            waiting: Batch::new(),
            running: None,
            retry_at: None,
        }
    }

    /// Adds newly derived writes; older ones of the same resources that still wait are pointless now.
    pub(super) fn add(&mut self, writes: Vec<Write>) {
        self.waiting
            .extend(writes.into_iter().map(|write| (place(&write), write)));
    }

    /// Stores what waits, for ever. Safe to cancel: what is under way is taken up by the next call.
    pub(super) async fn work(&mut self) {
        loop {
            if let Some(running) = &mut self.running {
                let mut failed = running.await;
                self.running = None;
                if !failed.is_empty() {
                    self.retry_at = Some(Instant::now() + RETRY);
                    failed.append(&mut self.waiting);
                    self.waiting = failed;
                }
            }
            if let Some(retry_at) = self.retry_at {
                tokio::time::sleep_until(retry_at).await;
                self.retry_at = None;
            }
            if self.waiting.is_empty() {
                std::future::pending::<()>().await;
            }
            let batch = std::mem::take(&mut self.waiting);
            self.running = Some(store_all(self.store.clone(), batch).boxed());
        }
    }
}

fn place(write: &Write) -> (ResourceKey, bool) {
    (write.key(), matches!(write, Write::PutStatus { .. }))
}

/// Stores all at once, and returns what has to be tried again. A resource that changed meanwhile is left out, and the rest is
/// one transaction again: its change is already on the feed, and what follows from it will be derived then.
async fn store_all(store: Arc<dyn Store>, mut batch: Batch) -> Batch {
    while !batch.is_empty() {
        let error = match store.apply(batch.values().cloned().collect()).await {
            Ok(_) => return Batch::new(),
            Err(error) => error,
        };
        let outdated = match &error {
            StoreError::Conflict { key, .. }
            | StoreError::NotFound { key }
            | StoreError::AlreadyExists { key }
            | StoreError::MissingOwner { key, .. } => take(&mut batch, key),
            _ => Batch::new(),
        };
        if outdated.is_empty() {
            tracing::error!(
                resources = batch.len(),
                %error,
                "cannot store what was derived; proxies keep being served, storing is tried again"
            );
            return batch;
        }
        tracing::debug!(%error, "changed meanwhile; derived again with the change");
    }
    batch
}

/// Takes all writes of a resource out of a batch.
fn take(batch: &mut Batch, key: &ResourceKey) -> Batch {
    let taken = [false, true].map(|is_status| batch.remove_entry(&(key.clone(), is_status)));
    taken.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use meshspan_model::{Kind, Resource};
    use meshspan_store::MemoryStore;
    use serde_json::json;

    use super::*;

    fn mesh(name: &str) -> Resource {
        Resource::new(Kind::Mesh, "", name, json!({}))
    }

    #[tokio::test]
    async fn what_changed_meanwhile_is_left_out_and_the_rest_stored_in_one_transaction() {
        let store = Arc::new(MemoryStore::new());
        for name in ["b", "c"] {
            store.apply(vec![Write::create(mesh(name))]).await.unwrap();
        }
        let mut changes = store.subscribe();
        let mut writer = Writer::new(store.clone());
        let update = |name: &str, expected| Write::Update {
            resource: mesh(name).with_label("edited", "yes"),
            expected: Some(expected),
        };
        let absent = ResourceKey::new(Kind::MeshService, "b", "absent");
        writer.add(vec![
            Write::create(mesh("a")),
            update("b", 77),
            update("c", 1),
            Write::create(mesh("c-exists")),
            Write::put_status(absent, json!({})),
            Write::create(mesh("z")),
        ]);
        store.apply(vec![Write::create(mesh("c-exists"))]).await.unwrap();
        changes.next().await.unwrap();
        tokio::select! {
            () = writer.work() => {}
            batch = changes.next() => {
                let names = batch.unwrap().changes.iter().map(|change| change.key.name.clone()).collect::<Vec<_>>();
                assert_eq!(names, ["a", "c", "z"]);
            }
        }
        assert!(writer.waiting.is_empty());
    }

    #[tokio::test]
    async fn of_a_resource_only_the_newest_write_waits() {
        let mut writer = Writer::new(Arc::new(MemoryStore::new()));
        let key = mesh("a").key();
        writer.add(vec![Write::create(mesh("a")), Write::put_status(key.clone(), json!(1))]);
        writer.add(vec![Write::put_status(key.clone(), json!(2))]);
        let waiting: Vec<_> = writer.waiting.values().cloned().collect();
        assert_eq!(waiting, [Write::create(mesh("a")), Write::put_status(key, json!(2))]);
    }
}
