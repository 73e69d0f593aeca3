//! The durable store: one SQLite file, written by one task, read into memory once.
//!
//! The file is opened for this process alone. All rows are loaded at open; from then on reads come from the snapshot
//! and the file is only written: transactions are planned in memory, put into the file, and published when the disk
//! has them. Commits that arrive while the disk is busy share the next write (`writer.rs`).
//!
//! Not a way to share state between control planes: that is what Postgres is for.

mod backup;
mod failure;
mod files;
mod open;
mod rows;
mod schema;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use tokio::sync::{mpsc, oneshot};

use crate::feed::Feed;
use crate::transaction::State;
use crate::{Applied, Backup, Snapshot, Store, StoreError, StoreOptions, Subscription, Write};
use writer::{Command, Writer};

pub use rows::SkippedRow;

/// Commits that may wait for the writer before further callers wait for a place in the queue.
const QUEUE: usize = 256;

/// Settings of a [`SqliteStore`].
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The database file (`KUMA_STORE_SQLITE_PATH`); created if it is missing, its folder is not.
    pub path: PathBuf,
    /// How long opening waits for another process to let go of the file.
    pub busy_timeout: Duration,
    /// The size in bytes, rounded down to pages of 4 KiB, beyond which writes fail with [`StoreError::Full`]; `None`
    /// leaves it to the disk.
    pub max_bytes: Option<u64>,
    /// What all stores have in common.
    pub store: StoreOptions,
}

impl SqliteOptions {
    /// The defaults for a file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            busy_timeout: Duration::from_secs(5),
            max_bytes: None,
            store: StoreOptions::default(),
        }
    }
}

/// Keeps everything in one SQLite file. What [`Store::apply`] has returned survives a crash of the process and of the
/// machine at any moment.
#[derive(Debug)]
pub struct SqliteStore {
    feed: Arc<Feed>,
    queue: mpsc::Sender<Command>,
    skipped: Vec<SkippedRow>,
}

impl SqliteStore {
    /// Opens or creates the file and starts the writer. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::CannotOpen`], [`StoreError::ReadOnly`], [`StoreError::InUse`], [`StoreError::Corrupt`],
    /// [`StoreError::Newer`], [`StoreError::Full`] or [`StoreError::Backend`], each naming the file.
    pub async fn open(options: SqliteOptions) -> Result<Self, StoreError> {
        let path = std::path::absolute(&options.path).map_err(|error| StoreError::CannotOpen {
            path: options.path.clone(),
            detail: error.to_string(),
        })?;
        let mut connection = open::connect(&path, &options).await?;
        schema::migrate(&mut connection, &path).await?;
        open::finished(&path);
        let (resources, skipped) = rows::load(&mut connection, &path).await?;
        for row in &skipped {
            tracing::warn!(
                kind = row.kind,
                mesh = row.mesh,
                name = row.name,
                "stored resource ignored: {}",
                row.reason
            );
        }
        let state = State::load(resources);
        let feed = Arc::new(Feed::new(state.snapshot().clone(), options.store.feed_capacity));
        let (queue, commands) = mpsc::channel(QUEUE);
        let writer = Writer::new(path, connection, state, feed.clone(), options.store.clock);
        tokio::spawn(writer.run(commands));
        Ok(Self { feed, queue, skipped })
    }

    /// The rows that were found at open and left alone, because this release cannot make sense of them.
    pub fn skipped(&self) -> &[SkippedRow] {
        &self.skipped
    }

    /// Carries out what is queued, folds the write-ahead log into the database and lets go of the file. Later writes
    /// fail with [`StoreError::Closed`]; reads go on. Dropping the store does the same without waiting for it.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Command::Close { done }).await.is_ok() {
            // An error means that another call closed it first.
            let _ = closed.await;
        }
        self.queue.closed().await;
    }
}

impl Store for SqliteStore {
    fn apply(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Applied, StoreError>> {
        async move {
            let (reply, outcome) = oneshot::channel();
            self.queue
                .send(Command::Apply { writes, reply })
                .await
                .map_err(|_| StoreError::Closed)?;
            outcome.await.map_err(|_| StoreError::Closed)?
        }
        .boxed()
    }

    fn backup(&self) -> BoxFuture<'_, Result<Backup, StoreError>> {
        async move {
            let (reply, outcome) = oneshot::channel();
            self.queue
                .send(Command::Backup { reply })
                .await
                .map_err(|_| StoreError::Closed)?;
            outcome.await.map_err(|_| StoreError::Closed)?
        }
        .boxed()
    }

    fn snapshot(&self) -> Snapshot {
        self.feed.snapshot()
    }

    fn subscribe(&self) -> Subscription {
        self.feed.subscribe()
    }
}
