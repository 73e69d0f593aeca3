//! The change feed: order, no gaps, no duplicates, and what happens to slow subscribers.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshspan_model::resource::ResourceKey;
use meshspan_store::{ChangeBatch, Snapshot, Store, Stored, Subscription, Write};
use serde_json::json;

use crate::fixture::{FEED_CAPACITY, Fixture, mesh, mesh_key, service, service_key};

/// A copy of a store's content that is kept up to date by the feed alone.
pub struct Replica(BTreeMap<ResourceKey, Arc<Stored>>);

impl Replica {
    pub fn of(snapshot: &Snapshot) -> Self {
        Self(
            snapshot
                .iter()
                .map(|stored| (stored.resource.key(), stored.clone()))
                .collect(),
        )
    }

    /// Takes over a batch, and checks that it leads on from here.
    pub fn follow(&mut self, batch: &ChangeBatch) {
        for change in &batch.changes {
            let before = match &change.after {
                Some(after) => self.0.insert(change.key.clone(), after.clone()),
                None => self.0.remove(&change.key),
            };
            assert_eq!(before, change.before, "{} at revision {}", change.key, batch.revision);
            assert_ne!(change.before, change.after);
        }
        assert!(
            self.content().eq(batch.snapshot().iter()),
            "revision {}",
            batch.revision
        );
    }

    pub fn content(&self) -> impl Iterator<Item = &Arc<Stored>> {
        self.0.values()
    }
}

async fn follow_until(subscription: &mut Subscription, replica: &mut Replica, revision: u64) {
    while subscription.snapshot().revision() < revision {
        let seen = subscription.snapshot().revision();
        let batch = subscription.next().await.unwrap();
        assert!(batch.revision > seen);
        assert!(batch.folded || batch.revision == seen + 1);
        replica.follow(&batch);
    }
}

pub async fn starts_with_a_snapshot_and_goes_on_in_order(fixture: Fixture) {
    fixture.store.apply(vec![Write::create(mesh("a", 1))]).await.unwrap();
    let mut subscription = fixture.store.subscribe();
    assert_eq!(subscription.snapshot().len(), 1);
    assert!(subscription.try_next().is_none());
    for value in 2..5 {
        fixture
            .store
            .apply(vec![Write::update(mesh("a", value))])
            .await
            .unwrap();
    }
    for (value, revision) in [(2, 2), (3, 3), (4, 4)] {
        let batch = subscription.next().await.unwrap();
        assert_eq!((batch.revision, batch.folded), (revision, false));
        let after = batch.changes[0].after.as_ref().unwrap();
        assert_eq!(after.resource.spec, json!({ "value": value }));
        assert_eq!(subscription.snapshot().revision(), revision);
    }
    assert!(subscription.try_next().is_none());
}

pub async fn says_what_was_before_and_after(fixture: Fixture) {
    let mut subscription = fixture.store.subscribe();
    let key = service_key("redis");
    fixture
        .store
        .apply(vec![Write::create(service("redis", 1))])
        .await
        .unwrap();
    fixture
        .store
        .apply(vec![Write::put_status(key.clone(), json!({ "a": 1 }))])
        .await
        .unwrap();
    fixture.store.apply(vec![Write::delete(key.clone())]).await.unwrap();

    let created = subscription.next().await.unwrap().changes[0].clone();
    let status = subscription.next().await.unwrap().changes[0].clone();
    let deleted = subscription.next().await.unwrap().changes[0].clone();
    assert_eq!((&created.key, &created.before), (&key, &None));
    assert_eq!(status.before, created.after);
    assert_eq!(status.after.as_ref().unwrap().resource.status, Some(json!({ "a": 1 })));
    assert_eq!((deleted.before, deleted.after), (status.after, None));
}

pub async fn is_silent_about_writes_that_change_nothing_or_fail(fixture: Fixture) {
    fixture.store.apply(vec![Write::create(mesh("a", 1))]).await.unwrap();
    let mut subscription = fixture.store.subscribe();
    fixture.store.apply(vec![Write::upsert(mesh("a", 1))]).await.unwrap();
    fixture
        .store
        .apply(vec![Write::create(mesh("b", 1)), Write::create(mesh("a", 1))])
        .await
        .unwrap_err();
    fixture.store.apply(vec![Write::create(mesh("c", 1))]).await.unwrap();
    let batch = subscription.next().await.unwrap();
    assert_eq!(batch.revision, 2);
    assert_eq!(
        batch
            .changes
            .iter()
            .map(|change| change.key.clone())
            .collect::<Vec<_>>(),
        [mesh_key("c")]
    );
}

pub async fn folds_for_a_subscriber_that_falls_behind(fixture: Fixture) {
    fixture
        .store
        .apply(vec![Write::create(mesh("gone", 1)), Write::create(mesh("a", 0))])
        .await
        .unwrap();
    let mut subscription = fixture.store.subscribe();
    let mut replica = Replica::of(subscription.snapshot());
    // Far more than the feed holds, while nobody reads: the writer does not wait.
    let commits = FEED_CAPACITY as u64 * 4;
    for value in 1..=commits {
        let fleeting = mesh(&format!("fleeting-{value}"), 1);
        fixture
            .store
            .apply(vec![Write::update(mesh("a", value)), Write::create(fleeting.clone())])
            .await
            .unwrap();
        fixture.store.apply(vec![Write::delete(fleeting.key())]).await.unwrap();
    }
    fixture
        .store
        .apply(vec![Write::delete(mesh_key("gone"))])
        .await
        .unwrap();

    let batch = subscription.next().await.unwrap();
    assert!(batch.folded);
    replica.follow(&batch);
    let changed: Vec<_> = batch.changes.iter().map(|change| change.key.clone()).collect();
    assert_eq!(
        changed,
        [mesh_key("a"), mesh_key("gone")],
        "what came and went is not seen"
    );
    assert_eq!(batch.changes[0].after.as_ref().unwrap().spec_version, commits + 1);
    assert!(subscription.try_next().is_none(), "nothing is told twice");

    let applied = fixture.store.apply(vec![Write::create(mesh("b", 1))]).await.unwrap();
    let batch = subscription.next().await.unwrap();
    assert!(!batch.folded);
    assert_eq!(batch.revision, applied.revision);
    replica.follow(&batch);
}

pub async fn ends_when_the_store_is_gone(fixture: Fixture) {
    let mut subscription = fixture.store.subscribe();
    fixture.store.apply(vec![Write::create(mesh("a", 1))]).await.unwrap();
    drop(fixture.store);
    assert_eq!(subscription.next().await.unwrap().revision, 1);
    assert!(subscription.next().await.is_none());
    assert_eq!(subscription.snapshot().len(), 1);
}

pub async fn subscribers_that_join_amid_writes_miss_nothing(fixture: Fixture) {
    const WRITERS: u64 = 4;
    const COMMITS: u64 = 25;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = fixture.store.clone();
            tokio::spawn(async move {
                for value in 0..COMMITS {
                    store
                        .apply(vec![Write::upsert(mesh(&format!("m-{writer}"), value))])
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    let followers: Vec<_> = (0..8)
        .map(|_| {
            let store: Arc<dyn Store> = fixture.store.clone();
            tokio::spawn(async move {
                let mut subscription = store.subscribe();
                let mut replica = Replica::of(subscription.snapshot());
                follow_until(&mut subscription, &mut replica, WRITERS * COMMITS).await;
                replica
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for follower in followers {
        let replica = follower.await.unwrap();
        assert!(replica.content().eq(fixture.store.snapshot().iter()));
    }
}
