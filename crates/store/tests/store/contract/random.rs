//! Random transactions: the store does what a naive model does, and the feed tells the same story.

use std::collections::BTreeMap;

use meshspan_model::kind::Kind;
use meshspan_model::resource::{Resource, ResourceKey};
use meshspan_store::{StoreError, Write};
use proptest::prelude::*;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::feed::Replica;
use crate::fixture::Fixture;

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    spec: Value,
    status: Option<Value>,
    owner: Option<ResourceKey>,
    versions: (u64, u64),
    times: (OffsetDateTime, OffsetDateTime),
}

type Model = BTreeMap<ResourceKey, Entry>;

/// The same rules, in the plainest form.
fn apply(model: &Model, writes: &[Write], now: OffsetDateTime) -> Result<Model, StoreError> {
    let mut model = model.clone();
    for write in writes {
        let key = write.key();
        let exists = model.contains_key(&key);
        match write {
            Write::Create { .. } if exists => return Err(StoreError::AlreadyExists { key }),
            Write::Create { resource, owner } | Write::Upsert { resource, owner } if !exists => {
                if let Some(owner) = owner.clone().filter(|owner| !model.contains_key(owner)) {
                    return Err(StoreError::MissingOwner { key, owner });
                }
                let (spec, owner) = (resource.spec.clone(), owner.clone());
                model.insert(
                    key,
                    Entry {
                        spec,
                        status: None,
                        owner,
                        versions: (1, 0),
                        times: (now, now),
                    },
                );
            }
            Write::Remove { .. } if !exists => {}
            _ if !exists => return Err(StoreError::NotFound { key }),
            Write::Create { resource, .. } | Write::Upsert { resource, .. } | Write::Update { resource, .. } => {
                let entry = model.get_mut(&key).unwrap();
                if let Write::Update {
                    expected: Some(expected),
                    ..
                } = write
                {
                    expect(&key, *expected, entry.versions.0)?;
                }
                if entry.spec != resource.spec {
                    entry.spec = resource.spec.clone();
                    entry.versions.0 += 1;
                    entry.times.1 = now;
                }
            }
            Write::PutStatus { status, expected, .. } => {
                let entry = model.get_mut(&key).unwrap();
                if let Some(expected) = expected {
                    expect(&key, *expected, entry.versions.1)?;
                }
                if entry.status.as_ref() != Some(status) {
                    entry.status = Some(status.clone());
                    entry.versions.1 += 1;
                }
            }
            Write::Delete { .. } | Write::Remove { .. } => {
                if let Write::Delete {
                    expected: Some(expected),
                    ..
                } = write
                {
                    expect(&key, *expected, model[&key].versions.0)?;
                }
                model.remove(&key);
                loop {
                    let left = model.len();
                    let keys: Vec<_> = model.keys().cloned().collect();
                    model.retain(|_, entry| entry.owner.as_ref().is_none_or(|owner| keys.contains(owner)));
                    if model.len() == left {
                        break;
                    }
                }
            }
        }
    }
    Ok(model)
}

fn expect(key: &ResourceKey, expected: u64, actual: u64) -> Result<(), StoreError> {
    if expected == actual {
        Ok(())
    } else {
        Err(StoreError::Conflict {
            key: key.clone(),
            expected,
            actual,
        })
    }
}

fn any_key() -> impl Strategy<Value = ResourceKey> {
    let kinds = prop_oneof![Just(Kind::Mesh), Just(Kind::Dataplane), Just(Kind::DataplaneInsight)];
    (
        kinds,
        prop_oneof![Just("a"), Just("b")],
        prop_oneof![Just("a"), Just("b")],
    )
        .prop_map(|(kind, mesh, name)| ResourceKey::new(kind, mesh, name))
}

fn any_write() -> impl Strategy<Value = Write> {
    let owner = prop::option::of(any_key());
    let expected = prop::option::weighted(0.3, 0..4_u64);
    (0..10, any_key(), owner, expected, 0..3_u64).prop_map(|(step, key, owner, expected, value)| {
        let resource = Resource::new(key.kind, key.mesh.clone(), key.name.clone(), json!({ "value": value }));
        match step {
            0..=2 => Write::Create { resource, owner },
            3 => Write::Update { resource, expected },
            4..=6 => Write::Upsert { resource, owner },
            7 => Write::PutStatus {
                key,
                status: json!({ "value": value }),
                expected,
            },
            8 => Write::Delete { key, expected },
            _ => Write::Remove { key },
        }
    })
}

/// Transactions, and after each whether the subscriber gets to read.
fn any_run() -> impl Strategy<Value = Vec<(Vec<Write>, bool)>> {
    prop::collection::vec(
        (prop::collection::vec(any_write(), 1..4), prop::bool::weighted(0.2)),
        1..60,
    )
}

async fn check(fixture: Fixture, run: Vec<(Vec<Write>, bool)>) {
    let mut model = Model::new();
    let mut subscription = fixture.store.subscribe();
    let mut replica = Replica::of(subscription.snapshot());
    for (writes, read) in run {
        let now = fixture.clock.advance();
        let outcome = fixture.store.apply(writes.clone()).await;
        match apply(&model, &writes, now) {
            Ok(next) => {
                outcome.unwrap();
                model = next;
            }
            Err(error) => assert_eq!(outcome.unwrap_err(), error),
        }
        let stored: Model = fixture
            .store
            .list_all()
            .into_iter()
            .map(|stored| {
                let resource = &stored.resource;
                let entry = Entry {
                    spec: resource.spec.clone(),
                    status: resource.status.clone(),
                    owner: stored.owner.clone(),
                    versions: (stored.spec_version, stored.status_version),
                    times: (resource.creation_time, resource.modification_time),
                };
                (resource.key(), entry)
            })
            .collect();
        assert_eq!(stored, model);
        while let Some(batch) = read.then(|| subscription.try_next()).flatten() {
            replica.follow(&batch);
        }
    }
    while let Some(batch) = subscription.try_next() {
        replica.follow(&batch);
    }
    assert!(replica.content().eq(fixture.store.snapshot().iter()));
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn memory_does_what_the_model_does(run in any_run()) {
        block_on(async { check(Fixture::memory().await, run).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn sqlite_does_what_the_model_does(run in any_run()) {
        block_on(async { check(Fixture::sqlite().await, run).await });
    }
}
