//! The trait that every store implements.

use std::sync::Arc;

use futures::future::BoxFuture;
use meshspan_model::kind::Kind;
use meshspan_model::resource::ResourceKey;

use crate::{Applied, Backup, Snapshot, StoreError, Stored, Subscription, Write};

/// The resources of one control plane. Shared as `Arc<dyn Store>`.
///
/// Reads are served from memory and never wait for a write to become durable; a write is visible to reads and to
/// the feed exactly when it is durable.
pub trait Store: Send + Sync {
    /// Carries out `writes` in order as one transaction: all of them, or none and the error of the first that failed.
    /// Later writes see the effect of earlier ones. Returns when the outcome is durable and visible.
    ///
    /// Dropping the future does not take the transaction back: it may still be carried out.
    ///
    /// # Errors
    /// What the writes ask cannot be ([`StoreError::AlreadyExists`], [`StoreError::NotFound`],
    /// [`StoreError::Conflict`], [`StoreError::MissingOwner`]), or the medium fails (the others). Nothing has changed
    /// then; a failed medium is tried again with the next call.
    fn apply(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Applied, StoreError>>;

    /// Everything as of now. Costs the same for any number of resources, and never changes afterwards.
    fn snapshot(&self) -> Snapshot;

    /// Follows all changes from now on; what was there before is in [`Subscription::snapshot`].
    fn subscribe(&self) -> Subscription;

    /// A copy of everything, for a file that [`SqliteStore`](crate::SqliteStore) can open. Writes wait meanwhile.
    ///
    /// # Errors
    /// [`StoreError::InMemory`] of a store without a file, or those of the medium.
    fn backup(&self) -> BoxFuture<'_, Result<Backup, StoreError>> {
        Box::pin(std::future::ready(Err(StoreError::InMemory)))
    }

    /// One resource.
    fn get(&self, key: &ResourceKey) -> Option<Arc<Stored>> {
        self.snapshot().get(key).cloned()
    }

    /// The resources of one kind, in one mesh or in all, ordered by mesh and name.
    fn list(&self, kind: Kind, mesh: Option<&str>) -> Vec<Arc<Stored>> {
        self.snapshot().list(kind, mesh).cloned().collect()
    }

    /// All resources, ordered by kind, mesh and name.
    fn list_all(&self) -> Vec<Arc<Stored>> {
        self.snapshot().iter().cloned().collect()
    }
}
