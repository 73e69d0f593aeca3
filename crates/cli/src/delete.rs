//! `meshspan delete`.

use std::collections::BTreeMap;

use anyhow::bail;
use clap::Args;
use meshspan_model::{Kind, ResourceKey};

use crate::client::{Client, item};
use crate::console::Console;
use crate::documents;
use crate::get::{DEFAULT_MESH, KindParser};
use crate::run::Outcome;

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Kind: singular, plural or short name
    #[arg(value_name = "TYPE", value_parser = KindParser, hide_possible_values = true, requires = "name", required_unless_present = "files")]
    pub kind: Option<Kind>,
    /// Name as `meshspan get` shows it
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Mesh of the resource
    #[arg(short, long, value_name = "MESH", default_value = DEFAULT_MESH)]
    pub mesh: String,
    /// Delete what the file, folder or standard input (-) describes; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE", conflicts_with_all = ["kind", "name", "mesh"])]
    pub files: Vec<String>,
    /// Resources that do not exist are no failure
    #[arg(long)]
    pub ignore_not_found: bool,
}

/// Carries out `delete`.
///
/// # Errors
/// When the files cannot be read (then nothing was deleted), or the control plane cannot be reached.
pub async fn delete(args: &DeleteArgs, client: &Client, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let keys = match (&args.kind, &args.name) {
        (Some(kind), Some(name)) => vec![ResourceKey::new(*kind, &args.mesh, name)],
        _ => keys_of_files(&args.files, console)?,
    };
    let mut outcome = Outcome::Done;
    for key in keys {
        match client.delete(&item(key.kind, &key.mesh, &key.name)).await {
            Ok(Some(warnings)) => {
                writeln!(console.out, "{key} deleted")?;
                for warning in warnings {
                    writeln!(console.err, "warning: {key}: {warning}")?;
                }
            }
            Ok(None) if args.ignore_not_found => writeln!(console.out, "{key} not found")?,
            Ok(None) => {
                outcome = Outcome::SomeFailed;
                writeln!(console.err, "{key} failed: not found")?;
            }
            Err(error) if error.is_connection_problem() => bail!(error),
            Err(error) => {
                outcome = Outcome::SomeFailed;
                writeln!(console.err, "{key} failed: {error}")?;
            }
        }
    }
    Ok(outcome)
}

/// In reverse, so that what was created first, and meshes of all, go last.
fn keys_of_files(files: &[String], console: &mut Console<'_>) -> anyhow::Result<Vec<ResourceKey>> {
    let documents = documents::read(files, &BTreeMap::new(), console.input)?;
    let mut keys: Vec<_> = documents.iter().rev().map(|document| document.resource.key()).collect();
    keys.sort_by_key(|key| key.kind == Kind::Mesh);
    Ok(keys)
}
