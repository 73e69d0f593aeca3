//! Keeps an outbox up to date with the store and wakes the streams. One per control plane, shared by all peers.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use meshspan_model::{Resource, ResourceKey};
use meshspan_store::{ChangeBatch, Store, Subscription};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::outbox::Outbox;
use crate::outgoing::Direction;

/// How long mere counters of insights may wait for each other (`spec/zone-sync.md` §9.9).
const COUNTERS_WAIT: Duration = Duration::from_secs(10);

/// A shared outbox.
#[derive(Debug)]
pub(crate) struct Publisher {
    outbox: RwLock<Outbox>,
    changed: watch::Sender<u64>,
}

impl Publisher {
    /// Loads the store, then follows it until `cancel`. The outbox is complete when this returns.
    pub(crate) fn start(store: &dyn Store, direction: Direction, cancel: CancellationToken) -> Arc<Self> {
        let subscription = store.subscribe();
        let mut outbox = Outbox::new(direction);
        for stored in subscription.snapshot().iter() {
            offer(&mut outbox, &stored.resource.key(), Some(&stored.resource));
        }
        let changed = watch::Sender::new(outbox.end());
        let publisher = Arc::new(Self {
            outbox: RwLock::new(outbox),
            changed,
        });
        let follower = Arc::clone(&publisher);
        tokio::spawn(async move {
            tokio::select! {
                () = follower.follow(subscription) => {}
                () = cancel.cancelled() => {}
            }
        });
        publisher
    }

    /// The outbox, for the time of one computation.
    pub(crate) fn outbox(&self) -> RwLockReadGuard<'_, Outbox> {
        self.outbox.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes after each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn follow(&self, mut subscription: Subscription) {
        let mut waiting: BTreeMap<ResourceKey, Arc<Resource>> = BTreeMap::new();
        let mut due = None;
        loop {
            let timer = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                batch = subscription.next() => {
                    let Some(batch) = batch else { return };
                    self.publish(&batch, &mut waiting);
                    if due.is_none() && !waiting.is_empty() {
                        due = Some(Instant::now() + COUNTERS_WAIT);
                    }
                }
                () = timer => {
                    due = None;
                    self.update(std::mem::take(&mut waiting).iter().map(|(key, resource)| (key, Some(&**resource))));
                }
            }
        }
    }

    fn publish(&self, batch: &ChangeBatch, waiting: &mut BTreeMap<ResourceKey, Arc<Resource>>) {
        let mut now = Vec::with_capacity(batch.changes.len());
        for change in &batch.changes {
            let after = change.after.as_ref().map(|stored| &stored.resource);
            let before = change.before.as_ref().map(|stored| &stored.resource);
            match (before, after) {
                (Some(before), Some(after)) if only_counters_differ(before, after) => {
                    waiting.insert(change.key.clone(), Arc::clone(after));
                }
                _ => {
                    waiting.remove(&change.key);
                    now.push((&change.key, after.map(|resource| &**resource)));
                }
            }
        }
        self.update(now.into_iter());
    }

    fn update<'a>(&self, changes: impl Iterator<Item = (&'a ResourceKey, Option<&'a Resource>)>) {
        let mut outbox = self.outbox.write().unwrap_or_else(PoisonError::into_inner);
        for (key, after) in changes {
            offer(&mut outbox, key, after);
        }
        let end = outbox.end();
        drop(outbox);
        self.changed
            .send_if_modified(|position| std::mem::replace(position, end) != end);
    }
}

fn offer(outbox: &mut Outbox, key: &ResourceKey, after: Option<&Resource>) {
    if let Err(reason) = outbox.apply(key, after) {
        tracing::error!(resource = %key, %reason, "resource cannot be synchronised");
    }
}

/// True for two states of an insight that tell the same of connections and rejections.
fn only_counters_differ(before: &Resource, after: &Resource) -> bool {
    after.kind.info().is_insight
        && before.labels == after.labels
        && without_counters(&before.spec) == without_counters(&after.spec)
}

fn without_counters(insight: &Value) -> Value {
    let mut insight = insight.clone();
    let subscriptions = insight.get_mut("subscriptions").and_then(Value::as_array_mut);
    for subscription in subscriptions.into_iter().flatten().filter_map(Value::as_object_mut) {
        subscription.remove("generation");
        if let Some(status) = subscription.get_mut("status").and_then(Value::as_object_mut) {
            status.retain(|field, _| field == "rejections");
        }
    }
    insight
}

#[cfg(test)]
mod tests {
    use meshspan_model::Kind;
    use serde_json::json;

    use super::*;

    #[test]
    fn counters_wait_and_connections_do_not() {
        let insight = |sent: &str, disconnected: Option<&str>| {
            let spec = json!({"subscriptions": [{"id": "a", "disconnectTime": disconnected, "status": {"total": {"responsesSent": sent}}}]});
            Resource::new(Kind::DataplaneInsight, "default", "web", spec)
        };
        assert!(only_counters_differ(&insight("1", None), &insight("2", None)));
        assert!(!only_counters_differ(
            &insight("1", None),
            &insight("1", Some("2026-11-23T18:00:00Z"))
        ));
        let service = |port| {
            Resource::new(
                Kind::MeshService,
                "default",
                "web",
                json!({"subscriptions": [{"generation": port}]}),
            )
        };
        assert!(!only_counters_differ(&service(1), &service(2)));
    }
}
