//! Tests that run in namespaces.
//!
//! The test harness starts threads before a test can do anything, and a process with threads cannot enter a user namespace. So the test
//! runs its own program again, filtered to itself, inside new namespaces, and reports the outcome:
//!
//! ```no_run
//! use meshspan_lab::{Lab, isolated};
//!
//! // The body of a test function:
//! isolated(|| async {
//!     let lab = Lab::new().await?;
//!     let east = lab.host("east", [10, 1, 0, 1].into()).await?;
//!     anyhow::ensure!(east.connect(([10, 2, 0, 1], 80).into()).await.is_err());
//!     Ok(())
//! });
//! ```
//!
//! Programs of the own crate are started on hosts by `env!("CARGO_BIN_EXE_<name>")`.

use std::future::Future;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::isolation::{enter_stage, isolated_command, probe};

/// A test that takes longer is ended, so that a hang is a failure with a name.
pub const LIMIT: Duration = Duration::from_secs(300);

/// Runs `body` in namespaces of its own and panics with its error. To be the only statement of a `#[test]` function.
///
/// Without root and without user namespaces it panics as well and says why: such a test must not pass unseen.
pub fn isolated<F, T>(body: F)
where
    F: FnOnce() -> T,
    T: Future<Output = Result<()>>,
{
    isolated_for(LIMIT, body);
}

/// As [`isolated`], for a test that may take as long as `limit`.
#[allow(clippy::panic, reason = "the way in which a test fails")]
pub fn isolated_for<F, T>(limit: Duration, body: F)
where
    F: FnOnce() -> T,
    T: Future<Output = Result<()>>,
{
    let outcome = match enter_stage() {
        Ok(Some(_)) => run_inside(limit, body),
        Ok(None) => run_again(&test_name(std::any::type_name::<F>())),
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        panic!("{error:?}");
    }
}

fn run_inside<F, T>(limit: Duration, body: F) -> Result<()>
where
    F: FnOnce() -> T,
    T: Future<Output = Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        match tokio::time::timeout(limit, body()).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("the test took longer than {} seconds", limit.as_secs()),
        }
    })
}

/// Held by the test of this program that has the machine for itself.
static ALONE: Mutex<()> = Mutex::new(());

/// One after the other: tests count lost requests, and the start of another lab keeps all processors and the kernel's
/// network busy for a second at a time.
fn run_again(test: &str) -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let program = std::env::current_exe().context("finding the test program")?;
    let output = isolated_command(program.into())
        .args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .stdin(Stdio::null())
        .output()
        .context("running `setpriv` (install the package util-linux)")?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if !output.status.success() {
        // Tell a machine without namespaces from a failed test.
        probe()?;
        bail!("in namespaces: {}\n{said}", output.status);
    }
    if !said.contains("1 passed") {
        bail!("the test program has no test {test:?}; isolated() must be called directly in the test function\n{said}");
    }
    print!("{said}");
    Ok(())
}

/// `crate::module::test::{{closure}}` → `module::test`, which is what the test harness calls it.
fn test_name(closure: &str) -> String {
    let path = closure.split("::{{closure}}").next().unwrap_or(closure);
    path.split_once("::").map_or(path, |(_, name)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::test_name;

    #[test]
    fn names_of_tests() {
        assert_eq!(test_name("network::faults::heals::{{closure}}"), "faults::heals");
        assert_eq!(test_name("network::heals::{{closure}}"), "heals");
    }
}
