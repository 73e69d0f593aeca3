//! `meshspan version`.

use clap::Args;
use meshspan_model::COMPATIBLE_VERSION;
use serde_json::Value;

use crate::args::ConnectionArgs;
use crate::console::Console;
use crate::run::{Outcome, connect};

/// Arguments of `version`.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Also where the control plane is and which instance answered
    #[arg(short = 'a', long)]
    pub detailed: bool,
}

/// Carries out `version`. A control plane that cannot be reached is no failure: the client's version is still an answer.
///
/// # Errors
/// When the configuration cannot be used.
pub async fn version(
    args: &VersionArgs,
    connection: &ConnectionArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let own = console.version;
    writeln!(
        console.out,
        "Client: Meshspan {own}, compatible with Kuma {COMPATIBLE_VERSION}"
    )?;
    let client = connect(connection)?;
    let index = match client.get("/").await {
        Ok(index) => index,
        Err(error) => {
            writeln!(console.err, "warning: {error}")?;
            return Ok(Outcome::Done);
        }
    };
    let text = |key: &str| index.get(key).and_then(Value::as_str).unwrap_or("unknown");
    let compatible = format!("{} {}", text("product"), text("version"));
    match index.get("meshspan").and_then(Value::as_str) {
        Some(own) => writeln!(console.out, "Server: Meshspan {own}, compatible with {compatible}")?,
        None => writeln!(console.out, "Server: {compatible}")?,
    }
    if args.detailed {
        writeln!(console.out, "  Address: {}", client.url())?;
        for (title, key) in [
            ("Hostname", "hostname"),
            ("Instance", "instanceId"),
            ("Cluster", "clusterId"),
        ] {
            writeln!(console.out, "  {title}: {}", text(key))?;
        }
    }
    Ok(Outcome::Done)
}
