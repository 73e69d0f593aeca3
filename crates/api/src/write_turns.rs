//! Callers that write one resource take turns. A PUT names no version that it rests on, so that it must not fail because
//! others write too.

use std::hash::{BuildHasher as _, RandomState};

use meshspan_model::ResourceKey;
use tokio::sync::{Mutex, MutexGuard};

/// More than requests that are stored at once; resources that share a turn only wait for each other.
const TURNS: usize = 256;

/// The turns of all resources.
#[derive(Debug)]
pub struct WriteTurns {
    hasher: RandomState,
    turns: Vec<Mutex<()>>,
}

impl Default for WriteTurns {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            turns: std::iter::repeat_with(Mutex::default).take(TURNS).collect(),
        }
    }
}

impl WriteTurns {
    /// Waits until nobody before us writes this resource; our turn lasts until the guard is dropped.
    pub(crate) async fn take(&self, key: &ResourceKey) -> Option<MutexGuard<'_, ()>> {
        let hash = usize::try_from(self.hasher.hash_one(key)).unwrap_or_default();
        Some(self.turns.get(hash % TURNS)?.lock().await)
    }
}
