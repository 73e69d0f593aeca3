//! What can be asked of a store, and what came of it.

use meshspan_model::resource::{Resource, ResourceKey};
use serde_json::Value;

use crate::Change;

/// One step of a transaction.
///
/// Labels and payload are written by the first three, the status by [`Write::PutStatus`] alone: `status` and both
/// times of a given [`Resource`] are ignored. A step that would change nothing does nothing: no new version, no
/// event, no new modification time.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Stores a resource that does not exist yet. It starts without a status and is deleted together with `owner`,
    /// which must exist; the owner is fixed for the life of the resource.
    Create {
        /// Header and payload.
        resource: Resource,
        /// The resource it cannot outlive.
        owner: Option<ResourceKey>,
    },
    /// Replaces labels and payload of an existing resource.
    Update {
        /// Header and payload.
        resource: Resource,
        /// The [`spec_version`](crate::Stored::spec_version) that the change is based on; `None` takes any.
        expected: Option<u64>,
    },
    /// Update where it exists, whatever its version, else create. `owner` only matters when it creates.
    Upsert {
        /// Header and payload.
        resource: Resource,
        /// The resource it cannot outlive.
        owner: Option<ResourceKey>,
    },
    /// Replaces the status of an existing resource.
    PutStatus {
        /// Whose status.
        key: ResourceKey,
        /// The new status.
        status: Value,
        /// The [`status_version`](crate::Stored::status_version) that the change is based on (0: no status yet);
        /// `None` takes any.
        expected: Option<u64>,
    },
    /// Deletes an existing resource and all that it owns.
    Delete {
        /// Which one.
        key: ResourceKey,
        /// The [`spec_version`](crate::Stored::spec_version) that must be the current one; `None` takes any.
        expected: Option<u64>,
    },
    /// Delete where it exists, else nothing: what [`Write::Upsert`] is to creation.
    Remove {
        /// Which one.
        key: ResourceKey,
    },
}

impl Write {
    /// [`Write::Create`] without an owner.
    pub fn create(resource: Resource) -> Self {
        Self::Create { resource, owner: None }
    }

    /// [`Write::Update`] of any version.
    pub fn update(resource: Resource) -> Self {
        Self::Update {
            resource,
            expected: None,
        }
    }

    /// [`Write::Upsert`] without an owner.
    pub fn upsert(resource: Resource) -> Self {
        Self::Upsert { resource, owner: None }
    }

    /// [`Write::PutStatus`] over any version.
    pub fn put_status(key: ResourceKey, status: Value) -> Self {
        Self::PutStatus {
            key,
            status,
            expected: None,
        }
    }

    /// [`Write::Delete`] of any version.
    pub fn delete(key: ResourceKey) -> Self {
        Self::Delete { key, expected: None }
    }

    /// The resource it is about.
    pub fn key(&self) -> ResourceKey {
        match self {
            Self::Create { resource, .. } | Self::Update { resource, .. } | Self::Upsert { resource, .. } => {
                resource.key()
            }
            Self::PutStatus { key, .. } | Self::Delete { key, .. } | Self::Remove { key } => key.clone(),
        }
    }
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The revision of the first snapshot that contains it.
    pub revision: u64,
    /// Its net effect, at most one change for a key, ordered by key; cascaded deletions included. Empty if all that
    /// was asked already held.
    pub changes: Vec<Change>,
}
