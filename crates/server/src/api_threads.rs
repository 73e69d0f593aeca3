//! The API on threads of its own: however busy its callers keep it, diagnostics, zones and proxies are served beside it.

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// More than one peer can keep busy (see `listener`).
const FEWEST_THREADS: usize = 4;

/// Starts the threads. They end after `stop`, when the tasks on them have; those tasks are to be spawned in `tasks`.
///
/// # Errors
/// If the system gives no threads.
pub fn start(stop: CancellationToken, tasks: TaskTracker) -> Result<Handle> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads.max(FEWEST_THREADS))
        .thread_name("api")
        .enable_all()
        .build()
        .context("cannot start the threads of the API")?;
    let handle = runtime.handle().clone();
    // A runtime must not be dropped by a task.
    std::thread::Builder::new()
        .name("api".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                stop.cancelled().await;
                tasks.close();
                tasks.wait().await;
            });
        })
        .context("cannot start the threads of the API")?;
    Ok(handle)
}
