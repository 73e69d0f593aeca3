//! All resources at one moment, as an immutable value, and the difference between two such moments.

use std::cmp::Ordering;
use std::sync::Arc;

use meshspan_model::kind::Kind;
use meshspan_model::resource::{Resource, ResourceKey};
use rpds::RedBlackTreeMapSync;

/// A resource with what the store knows about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The resource; its times are set by the store.
    pub resource: Arc<Resource>,
    /// 1 when created, plus 1 with each change of labels or payload.
    pub spec_version: u64,
    /// 0 without a status, plus 1 with each change of the status.
    pub status_version: u64,
    /// The resource whose deletion deletes this one.
    pub owner: Option<ResourceKey>,
}

/// What happened to one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which resource.
    pub key: ResourceKey,
    /// As it was; `None` if it was created.
    pub before: Option<Arc<Stored>>,
    /// As it is; `None` if it was deleted.
    pub after: Option<Arc<Stored>>,
}

/// All resources as of one revision. Cloning it copies two pointers; it never changes.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) resources: RedBlackTreeMapSync<ResourceKey, Arc<Stored>>,
}

impl Snapshot {
    /// Counts the transactions that changed something since the store was opened; 0 for what it was opened with.
    /// Not kept across restarts.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One resource.
    pub fn get(&self, key: &ResourceKey) -> Option<&Arc<Stored>> {
        self.resources.get(key)
    }

    /// The resources of one kind, in one mesh or in all, ordered by mesh and name.
    pub fn list<'a>(&'a self, kind: Kind, mesh: Option<&'a str>) -> impl Iterator<Item = &'a Arc<Stored>> + 'a {
        let first = ResourceKey {
            kind,
            mesh: mesh.unwrap_or_default().to_owned(),
            name: String::new(),
        };
        self.resources
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind && mesh.is_none_or(|mesh| key.mesh == mesh))
            .map(|(_, stored)| stored)
    }

    /// All resources, ordered by kind, mesh and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Stored>> {
        self.resources.values()
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.resources.size()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// What turns `older` into this snapshot, ordered by key. Walks both; entries they share are skipped by address.
    pub fn changes_since(&self, older: &Snapshot) -> Vec<Change> {
        let mut changes = Vec::new();
        let (mut old, mut new) = (older.resources.iter().peekable(), self.resources.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old_key, _)), Some((new_key, _))) => old_key.cmp(new_key),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            let Some((key, _)) = before.or(after) else {
                return changes;
            };
            let (before, after) = (before.map(|(_, stored)| stored), after.map(|(_, stored)| stored));
            let shared = matches!((before, after), (Some(before), Some(after)) if Arc::ptr_eq(before, after));
            if !shared && before != after {
                changes.push(Change {
                    key: key.clone(),
                    before: before.cloned(),
                    after: after.cloned(),
                });
            }
        }
    }
}
