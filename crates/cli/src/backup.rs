//! `meshspan cp backup`: a copy of what a running control plane stores.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use tempfile::{Builder, NamedTempFile};

use crate::args::ConnectionArgs;
use crate::client::ClientError;
use crate::console::Console;
use crate::run::{Outcome, connect};

/// Arguments of `cp backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where to write the copy; an older one is replaced once the new one is complete
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Where the control plane gives out its copy.
const PATH: &str = "/_backup";
/// What the copy is called there.
const MEDIA_TYPE: &str = "application/vnd.sqlite3";

/// Carries out `cp backup`. Nothing stands at the place of the file until the copy is complete and on the disk, and nobody
/// else may read it: it holds all keys.
///
/// # Errors
/// When the control plane cannot be reached or refuses, the copy breaks off, or the file cannot be written.
pub async fn backup(
    args: &BackupArgs,
    connection: &ConnectionArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let client = connect(connection)?;
    let mut partial = beside(&args.file)?;
    let bytes = match client.download(PATH, MEDIA_TYPE, partial.as_file_mut()).await {
        Err(error) if is_unknown(&error) => bail!(
            "the control plane at {} cannot be copied by this command: it is another program, or an older version",
            client.url()
        ),
        downloaded => downloaded?,
    };
    let unwritten = || format!("cannot write {}", args.file.display());
    partial.as_file().sync_all().with_context(unwritten)?;
    // Says why, and takes the partial file away.
    partial
        .persist(&args.file)
        .map_err(|failed| failed.error)
        .with_context(unwritten)?;
    writeln!(
        console.out,
        "copied the store of {} to {} ({bytes} bytes); it holds all keys, as do ca.pem, tls-cert.pem and tls-key.pem in the \
         control plane's work folder, which belong to a backup as well",
        client.url(),
        args.file.display(),
    )?;
    Ok(Outcome::Done)
}

fn is_unknown(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Api(error)) if error.is_unknown_path())
}

/// A file of mode 0600 in the folder of `file`, so that it can take its place at once. Goes with its value.
fn beside(file: &Path) -> anyhow::Result<NamedTempFile> {
    if file.is_dir() {
        bail!("{} is a folder: name the file that is to be written", file.display());
    }
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Builder::new()
        .prefix(".meshspan-backup-")
        .tempfile_in(folder)
        .with_context(|| format!("cannot write to folder {}", folder.display()))
}
