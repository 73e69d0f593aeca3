//! Waiting for a state of the outside world that nobody announces.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Repeats `check` until it succeeds. `what` completes the sentence "waited in vain for …".
///
/// # Errors
/// The last error of `check` once `limit` has passed.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut check: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("waited in vain for {what}"));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}
