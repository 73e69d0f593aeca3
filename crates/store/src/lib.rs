//! Where state is born: the resources of one control plane, kept durably and handed on through one change feed.
//!
//! What it does: transactions of writes with optimistic concurrency, spec and status versioned apart, owner cascade,
//! reads from an immutable [`Snapshot`], and a feed that tells every subscriber of each committed change in order.
//!
//! What it does not do: validate payloads, decide who may write, set labels or pick owners. Those are the callers'.
//!
//! Where to start: [`Store`] is the whole surface, [`Write`] what can be asked of it, [`Subscription`] how to follow
//! it. The rules of a transaction are pure and live in `transaction.rs`; [`MemoryStore`] and [`SqliteStore`] only
//! differ in what they do before a planned transaction becomes visible. Both pass the suite in
//! `tests/store/contract`.

mod backup;
mod error;
mod feed;
mod memory;
mod options;
mod snapshot;
mod sqlite;
mod store;
mod transaction;
mod write;

pub use backup::Backup;
pub use error::StoreError;
pub use feed::{ChangeBatch, Subscription};
pub use memory::MemoryStore;
pub use options::{Clock, StoreOptions, system_clock};
pub use snapshot::{Change, Snapshot, Stored};
pub use sqlite::{SkippedRow, SqliteOptions, SqliteStore};
pub use store::Store;
pub use write::{Applied, Write};
