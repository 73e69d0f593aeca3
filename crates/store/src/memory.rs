//! The store that forgets: for tests, demos and `KUMA_STORE_TYPE=memory`.

use std::sync::{Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt, ready};

use crate::feed::Feed;
use crate::transaction::State;
use crate::{Applied, Snapshot, Store, StoreError, StoreOptions, Subscription, Write};

/// Keeps everything in memory and nothing across restarts.
#[derive(Debug)]
pub struct MemoryStore {
    options: StoreOptions,
    state: Mutex<State>,
    feed: Feed,
}

impl MemoryStore {
    /// An empty store with the system clock.
    pub fn new() -> Self {
        Self::with_options(StoreOptions::default())
    }

    /// An empty store.
    pub fn with_options(options: StoreOptions) -> Self {
        let state = State::default();
        let feed = Feed::new(state.snapshot().clone(), options.feed_capacity);
        Self {
            options,
            state: Mutex::new(state),
            feed,
        }
    }

    fn commit(&self, writes: Vec<Write>) -> Result<Applied, StoreError> {
        // A panic while planning cannot leave a half-changed state behind: it is replaced as a whole.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = state.plan(writes, (self.options.clock)())?;
        let applied = plan.applied();
        if !plan.changes.is_empty() {
            *state = plan.state;
            self.feed.publish(state.snapshot().clone(), plan.changes);
        }
        Ok(applied)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn apply(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<Applied, StoreError>> {
        ready(self.commit(writes)).boxed()
    }

    fn snapshot(&self) -> Snapshot {
        self.feed.snapshot()
    }

    fn subscribe(&self) -> Subscription {
        self.feed.subscribe()
    }
}
