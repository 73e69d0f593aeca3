//! The rules of a transaction, as a pure function from a state and a list of writes to the next state.
//!
//! Stores plan first and make durable second, so both have the same rules and an error never has anything to undo.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshspan_model::resource::{Resource, ResourceKey};
use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};
use serde_json::Value;
use time::OffsetDateTime;

use crate::{Applied, Change, Snapshot, StoreError, Stored, Write};

/// The current resources, and who owns whom. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    snapshot: Snapshot,
    /// Owner → owned. An owner is fixed when a resource is created and must exist then, so there are no cycles.
    owned: RedBlackTreeMapSync<ResourceKey, RedBlackTreeSetSync<ResourceKey>>,
}

/// A transaction that keeps the rules, not yet durable.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The state after it.
    pub(crate) state: State,
    /// Its net effect, ordered by key; empty if `state` is the one it started from.
    pub(crate) changes: Vec<Change>,
}

impl Plan {
    pub(crate) fn applied(&self) -> Applied {
        Applied {
            revision: self.state.snapshot.revision,
            changes: self.changes.clone(),
        }
    }
}

impl State {
    /// The state of a store that was opened with these resources.
    pub(crate) fn load(resources: impl IntoIterator<Item = Stored>) -> Self {
        let mut state = Self::default();
        for stored in resources {
            state.put(stored.resource.key(), Arc::new(stored));
        }
        state
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Tries `writes` in order, at the time `now`.
    pub(crate) fn plan(&self, writes: Vec<Write>, now: OffsetDateTime) -> Result<Plan, StoreError> {
        let mut transaction = Transaction {
            state: self.clone(),
            before: BTreeMap::new(),
            now,
        };
        for write in writes {
            transaction.step(write)?;
        }
        Ok(transaction.finish())
    }

    fn put(&mut self, key: ResourceKey, stored: Arc<Stored>) {
        if let Some(owner) = &stored.owner {
            let mut owned = self.owned.get(owner).cloned().unwrap_or_default();
            owned.insert_mut(key.clone());
            self.owned.insert_mut(owner.clone(), owned);
        }
        self.snapshot.resources.insert_mut(key, stored);
    }

    fn remove(&mut self, key: &ResourceKey, stored: &Stored) {
        if let Some(owner) = &stored.owner
            && let Some(mut owned) = self.owned.get(owner).cloned()
        {
            owned.remove_mut(key);
            if owned.is_empty() {
                self.owned.remove_mut(owner);
            } else {
                self.owned.insert_mut(owner.clone(), owned);
            }
        }
        self.snapshot.resources.remove_mut(key);
    }
}

struct Transaction {
    state: State,
    /// What every touched key was before the transaction.
    before: BTreeMap<ResourceKey, Option<Arc<Stored>>>,
    now: OffsetDateTime,
}

impl Transaction {
    fn step(&mut self, write: Write) -> Result<(), StoreError> {
        let key = write.key();
        let current = self.state.snapshot.resources.get(&key).cloned();
        match (write, current) {
            (Write::Create { .. }, Some(_)) => Err(StoreError::AlreadyExists { key }),
            (Write::Create { resource, owner } | Write::Upsert { resource, owner }, None) => {
                self.create(key, resource, owner)
            }
            (Write::Upsert { resource, .. }, Some(current)) => {
                self.update(key, &current, resource);
                Ok(())
            }
            (Write::Update { resource, expected }, Some(current)) => {
                check(&key, expected, current.spec_version)?;
                self.update(key, &current, resource);
                Ok(())
            }
            (Write::PutStatus { status, expected, .. }, Some(current)) => {
                check(&key, expected, current.status_version)?;
                self.put_status(key, &current, status);
                Ok(())
            }
            (Write::Delete { expected, .. }, Some(current)) => {
                check(&key, expected, current.spec_version)?;
                self.delete(key);
                Ok(())
            }
            (Write::Remove { .. }, Some(_)) => {
                self.delete(key);
                Ok(())
            }
            (Write::Remove { .. }, None) => Ok(()),
            (Write::Update { .. } | Write::PutStatus { .. } | Write::Delete { .. }, None) => {
                Err(StoreError::NotFound { key })
            }
        }
    }

    fn create(&mut self, key: ResourceKey, given: Resource, owner: Option<ResourceKey>) -> Result<(), StoreError> {
        if let Some(owner) = &owner
            && !self.state.snapshot.resources.contains_key(owner)
        {
            return Err(StoreError::MissingOwner {
                key,
                owner: owner.clone(),
            });
        }
        let resource = Resource {
            status: None,
            creation_time: self.now,
            modification_time: self.now,
            ..given
        };
        self.put(
            key,
            Stored {
                resource: Arc::new(resource),
                spec_version: 1,
                status_version: 0,
                owner,
            },
        );
        Ok(())
    }

    fn update(&mut self, key: ResourceKey, current: &Stored, given: Resource) {
        let old = &current.resource;
        if old.labels == given.labels && old.spec == given.spec {
            return;
        }
        let resource = Resource {
            status: old.status.clone(),
            creation_time: old.creation_time,
            modification_time: self.now,
            ..given
        };
        let spec_version = current.spec_version.saturating_add(1);
        self.put(
            key,
            Stored {
                resource: Arc::new(resource),
                spec_version,
                ..current.clone()
            },
        );
    }

    fn put_status(&mut self, key: ResourceKey, current: &Stored, status: Value) {
        if current.resource.status.as_ref() == Some(&status) {
            return;
        }
        let resource = Resource {
            status: Some(status),
            ..Resource::clone(&current.resource)
        };
        let status_version = current.status_version.saturating_add(1);
        self.put(
            key,
            Stored {
                resource: Arc::new(resource),
                status_version,
                ..current.clone()
            },
        );
    }

    fn delete(&mut self, key: ResourceKey) {
        let mut doomed = vec![key];
        while let Some(key) = doomed.pop() {
            if let Some(owned) = self.state.owned.get(&key) {
                doomed.extend(owned.iter().cloned());
            }
            if let Some(stored) = self.state.snapshot.resources.get(&key).cloned() {
                self.state.remove(&key, &stored);
                self.before.entry(key).or_insert(Some(stored));
            }
        }
    }

    fn put(&mut self, key: ResourceKey, stored: Stored) {
        let previous = self.state.snapshot.resources.get(&key).cloned();
        self.before.entry(key.clone()).or_insert(previous);
        self.state.put(key, Arc::new(stored));
    }

    fn finish(mut self) -> Plan {
        let mut changes = Vec::with_capacity(self.before.len());
        for (key, before) in self.before {
            let after = self.state.snapshot.resources.get(&key).cloned();
            if before != after {
                changes.push(Change { key, before, after });
            }
        }
        if !changes.is_empty() {
            self.state.snapshot.revision = self.state.snapshot.revision.saturating_add(1);
        }
        Plan {
            state: self.state,
            changes,
        }
    }
}

fn check(key: &ResourceKey, expected: Option<u64>, actual: u64) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != actual => Err(StoreError::Conflict {
            key: key.clone(),
            expected,
            actual,
        }),
        _ => Ok(()),
    }
}
