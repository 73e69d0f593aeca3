//! How each story begins: a mesh, and the logs if it ends badly.

use std::time::Duration;

use anyhow::{Context, Result};
use meshspan_demo::{Deployment, DeploymentOptions, Network, Program, log_ends};
use meshspan_lab::ISOLATED_LIMIT;

/// How many lines of each log a failure shows.
const SHOWN_LINES: usize = 15;

/// The binary under test.
pub fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_meshspan"))
}

/// Tells `story` on a mesh with these zones.
pub async fn on_stage(zones: &[&str], story: impl AsyncFnOnce(&mut Deployment) -> Result<()>) -> Result<()> {
    on_stage_with(zones, &DeploymentOptions::default(), story).await
}

/// As [`on_stage`], with settings of control planes.
pub async fn on_stage_with(
    zones: &[&str],
    options: &DeploymentOptions<'_>,
    story: impl AsyncFnOnce(&mut Deployment) -> Result<()>,
) -> Result<()> {
    let network = Network::lab().await?;
    let told = async {
        let mut mesh = Deployment::start_with(network.clone(), program(), zones, options).await?;
        story(&mut mesh).await
    };
    told.await
        .with_context(|| format!("logs:\n{}", log_ends(network.directory(), SHOWN_LINES)))
}

/// How often a story repeats what it is about, on the mesh that it has: `E2E_REPEAT`, once unless it is set.
pub fn rounds() -> u32 {
    let Ok(count) = std::env::var("E2E_REPEAT") else {
        return 1;
    };
    count
        .parse()
        .unwrap_or_else(|_| panic!("E2E_REPEAT is not a number: {count}"))
}

/// The time that so many rounds may take: for each of them what other stories have in all.
pub fn limit(rounds: u32) -> Duration {
    ISOLATED_LIMIT * rounds
}

/// Says in the output of a failed test how far the story went.
pub fn chapter(title: &str) {
    println!("== {title}");
}
