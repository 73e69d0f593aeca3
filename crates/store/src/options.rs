//! What all stores take from outside: the clock and the length of the feed.

use std::fmt;
use std::sync::Arc;

use time::OffsetDateTime;

/// Tells the time of a write.
pub type Clock = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;

/// The clock of the machine.
pub fn system_clock() -> Clock {
    Arc::new(OffsetDateTime::now_utc)
}

/// Settings common to all stores.
#[derive(Clone)]
pub struct StoreOptions {
    /// Where creation and modification times come from.
    pub clock: Clock,
    /// How many batches a subscriber may be behind before they are folded into one for it.
    pub feed_capacity: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            clock: system_clock(),
            feed_capacity: 1024,
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("feed_capacity", &self.feed_capacity)
            .finish_non_exhaustive()
    }
}
