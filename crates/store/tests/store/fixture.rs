//! Stores to test, and resources to put into them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use meshspan_model::kind::Kind;
use meshspan_model::resource::{Resource, ResourceKey};
use meshspan_store::{MemoryStore, SqliteOptions, SqliteStore, Store, StoreOptions};
use serde_json::json;
use tempfile::TempDir;
use time::OffsetDateTime;

/// Small, so that falling behind is easy.
pub const FEED_CAPACITY: usize = 8;

/// A clock that stands still until told to go on.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn now(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_700_000_000 + self.0.load(Ordering::SeqCst)).unwrap()
    }

    pub fn advance(&self) -> OffsetDateTime {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.now()
    }

    pub fn options(&self) -> StoreOptions {
        let clock = self.clone();
        StoreOptions {
            clock: Arc::new(move || clock.now()),
            feed_capacity: FEED_CAPACITY,
        }
    }
}

/// An empty store of some sort, with its clock and its folder.
pub struct Fixture {
    pub store: Arc<dyn Store>,
    pub clock: TestClock,
    _folder: Option<TempDir>,
}

impl Fixture {
    pub async fn memory() -> Self {
        let clock = TestClock::default();
        Self {
            store: Arc::new(MemoryStore::with_options(clock.options())),
            clock,
            _folder: None,
        }
    }

    pub async fn sqlite() -> Self {
        let clock = TestClock::default();
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions {
            store: clock.options(),
            ..SqliteOptions::new(folder.path().join("test.db"))
        };
        let store = SqliteStore::open(options).await.unwrap();
        Self {
            store: Arc::new(store),
            clock,
            _folder: Some(folder),
        }
    }
}

/// The SQLite store at `path`, with defaults.
pub async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions::new(path)).await.unwrap()
}

/// A mesh whose payload depends on `value`.
pub fn mesh(name: &str, value: u64) -> Resource {
    Resource::new(Kind::Mesh, "", name, json!({ "value": value }))
}

/// A data plane of mesh "default".
pub fn dataplane(name: &str) -> Resource {
    Resource::new(
        Kind::Dataplane,
        "default",
        name,
        json!({ "networking": { "address": "192.0.2.1" } }),
    )
}

/// A service of mesh "default".
pub fn service(name: &str, value: u64) -> Resource {
    Resource::new(Kind::MeshService, "default", name, json!({ "value": value }))
}

pub fn mesh_key(name: &str) -> ResourceKey {
    ResourceKey::new(Kind::Mesh, "", name)
}

pub fn service_key(name: &str) -> ResourceKey {
    ResourceKey::new(Kind::MeshService, "default", name)
}
