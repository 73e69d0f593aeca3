//! Envoy, obtained if it is missing.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use meshspan_agent::find_envoy;

/// Makes sure that the agents will find an Envoy, and shows the progress of the installation. To be called outside of the namespaces,
/// which have no way to the internet.
pub(super) fn obtain() -> Result<()> {
    let Err(missing) = find_envoy(None) else { return Ok(()) };
    println!("There is no Envoy on this machine yet; installing it for you alone:");
    let program = std::env::current_exe().context("finding the running program")?;
    let status = Command::new(program)
        .args(["envoy", "install"])
        .status()
        .context("running meshspan envoy install")?;
    ensure!(
        status.success(),
        "Envoy could not be installed ({status}). Before that: {missing}"
    );
    find_envoy(None)
        .map(drop)
        .context("Envoy was installed but is not found")
}
