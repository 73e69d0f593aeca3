//! Storing what a peer sent, on both sides.

use std::time::Duration;

use meshspan_store::{Store, StoreError};
use tokio::time::sleep;

use crate::proto::discovery::DeltaDiscoveryResponse;
use crate::receiver::{Delivery, Receiver};

/// Pause before a response that the store did not take is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Stores a response. While the store takes no writes, because its disk is full for example, it is tried again and again, for a
/// peer does not repeat what was rejected; nothing more is taken of this peer meanwhile. Safe to cancel.
///
/// # Errors
/// Where trying again cannot help: the owner of the resources, their zone, was deleted, or the store is closed.
pub(crate) async fn store(
    receiver: &Receiver,
    store: &dyn Store,
    response: &DeltaDiscoveryResponse,
    report: impl Fn(&StoreError),
) -> Result<Delivery, StoreError> {
    loop {
        let delivery = receiver.receive(response, &store.snapshot());
        match store.apply(delivery.writes.clone()).await {
            Ok(_) => return Ok(delivery),
            Err(error @ (StoreError::MissingOwner { .. } | StoreError::Closed)) => return Err(error),
            Err(error) => {
                report(&error);
                sleep(RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt as _;
    use futures::future::BoxFuture;
    use meshspan_model::{Kind, Resource};
    use meshspan_store::{Applied, MemoryStore, Snapshot, Subscription, Write};
    use serde_json::json;

    use super::*;
    use crate::node::About;
    use crate::wire;

    /// A store whose disk is full for some writes.
    struct Full {
        store: MemoryStore,
        failures: AtomicUsize,
    }

    impl Store for Full {
        fn apply(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Applied, StoreError>> {
            let fails = |left: usize| left.checked_sub(1);
            match self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails) {
                Ok(_) => async { Err(StoreError::Full { path: "/x".into() }) }.boxed(),
                Err(_) => self.store.apply(writes),
            }
        }

        fn snapshot(&self) -> Snapshot {
            self.store.snapshot()
        }

        fn subscribe(&self) -> Subscription {
            self.store.subscribe()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_full_disk_does_not_take_is_stored_when_there_is_space() {
        let disk = Full {
            store: MemoryStore::new(),
            failures: AtomicUsize::new(3),
        };
        let mut receiver = Receiver::of_global("east", About::default(), std::sync::Arc::new(|_| Ok(())));
        receiver.subscribe(&disk.snapshot());
        let mesh = Resource::new(Kind::Mesh, "", "default", json!({}));
        let response = DeltaDiscoveryResponse {
            type_url: "Mesh".to_owned(),
            resources: vec![wire::encode(&mesh, true).unwrap()],
            ..DeltaDiscoveryResponse::default()
        };
        let reported = AtomicUsize::new(0);
        let report = |_: &StoreError| {
            reported.fetch_add(1, Ordering::Relaxed);
        };
        let delivery = store(&receiver, &disk, &response, report).await.unwrap();
        assert!(receiver.applied(&delivery).error_detail.is_none());
        assert_eq!(disk.list(Kind::Mesh, None).len(), 1);
        assert_eq!(reported.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_belongs_to_a_deleted_zone_is_not_tried_for_ever() {
        let disk = MemoryStore::new();
        let mesh = Resource::new(Kind::Mesh, "", "default", json!({}));
        disk.apply(vec![Write::create(mesh)]).await.unwrap();
        let mut receiver = Receiver::of_zone("west", About::default(), std::sync::Arc::new(|_, _| Ok(())));
        receiver.subscribe(&disk.snapshot());
        let name = meshspan_model::name::synced("default", "redis", Some("west"), None);
        let service = Resource::new(Kind::MeshService, "default", &name, json!({"ports": []}))
            .with_label(meshspan_model::labels::DISPLAY_NAME, "redis");
        let response = DeltaDiscoveryResponse {
            type_url: "MeshService".to_owned(),
            resources: vec![wire::encode(&service, true).unwrap()],
            ..DeltaDiscoveryResponse::default()
        };
        let stored = store(&receiver, &disk, &response, |_| {}).await;
        assert!(matches!(stored, Err(StoreError::MissingOwner { .. })), "{stored:?}");
    }
}
