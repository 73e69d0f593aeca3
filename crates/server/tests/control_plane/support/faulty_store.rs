//! A store whose disk can be full or slow.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use meshspan_store::{Applied, MemoryStore, Snapshot, Store, StoreError, Subscription, Write};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::PATIENCE;

/// Reads always work, as with every store.
pub struct FaultyStore {
    /// What is written here is written whatever the fault.
    pub inner: Arc<MemoryStore>,
    full: AtomicBool,
    disk: Arc<Mutex<()>>,
    asked: watch::Sender<Vec<Write>>,
}

impl FaultyStore {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::new(MemoryStore::new()),
            full: AtomicBool::new(false),
            disk: Arc::default(),
            asked: watch::Sender::new(Vec::new()),
        })
    }

    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// Lets writes wait, in order, until the guard is dropped.
    pub async fn stall(&self) -> OwnedMutexGuard<()> {
        self.disk.clone().lock_owned().await
    }

    /// Waits until such a write is asked for, or was since the last [`FaultyStore::forget`].
    pub async fn asked(&self, is_it: impl Fn(&Write) -> bool) {
        let mut asked = self.asked.subscribe();
        tokio::time::timeout(PATIENCE, asked.wait_for(|writes| writes.iter().any(&is_it)))
            .await
            .expect("the write is asked for")
            .unwrap();
    }

    /// Forgets what was asked for.
    pub fn forget(&self) {
        self.asked.send_replace(Vec::new());
    }
}

impl Store for FaultyStore {
    fn apply(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Applied, StoreError>> {
        self.asked.send_modify(|asked| asked.extend(writes.iter().cloned()));
        if self.full.load(Ordering::SeqCst) {
            let path = PathBuf::from("test.db");
            return async { Err(StoreError::Full { path }) }.boxed();
        }
        let (inner, disk) = (self.inner.clone(), self.disk.clone());
        // A transaction that was asked for is carried out even if nobody waits for it any more.
        let task = tokio::spawn(async move {
            let _disk = disk.lock().await;
            inner.apply(writes).await
        });
        async { task.await.unwrap() }.boxed()
    }

    fn snapshot(&self) -> Snapshot {
        self.inner.snapshot()
    }

    fn subscribe(&self) -> Subscription {
        self.inner.subscribe()
    }
}
