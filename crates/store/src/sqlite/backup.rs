//! A consistent copy of the database while it is in use. Nobody else can make one: the file is locked.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::failure;
use super::open::beside;
use crate::{Backup, StoreError};

/// Copies the database of `connection`, between two transactions, and checks the copy. The file has no name any longer when
/// this returns, so that it ends with whoever reads it.
///
/// # Errors
/// Those of the medium, [`StoreError::Corrupt`] among them.
pub(super) async fn copy(connection: &mut SqliteConnection, path: &Path) -> Result<Backup, StoreError> {
    let target = beside(path, "-backup");
    let copied = copy_to(&target, connection, path).await;
    match (copied, fs::remove_file(&target)) {
        (Ok(_), Err(error)) => Err(backend(
            path,
            &format!("{} cannot be removed: {error}", target.display()),
        )),
        (copied, _) => copied,
    }
}

async fn copy_to(target: &Path, connection: &mut SqliteConnection, path: &Path) -> Result<Backup, StoreError> {
    let failed = |error| failure::of(path, &error);
    match fs::remove_file(target) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(backend(path, &format!("{} is in the way: {error}", target.display())));
        }
        _ => {}
    }
    // SQLite takes an empty file, and would make one that everybody may read.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(target)
        .map_err(|error| backend(path, &format!("{} cannot be created: {error}", target.display())))?;
    let Some(name) = target.to_str() else {
        return Err(backend(path, &"its path is not UTF-8, so that SQLite cannot copy it"));
    };
    sqlx::query("VACUUM INTO ?1")
        .bind(name)
        .execute(connection)
        .await
        .map_err(failed)?;
    check(target, path).await?;
    let file = File::open(target).map_err(|error| backend(path, &error))?;
    let bytes = file.metadata().map_err(|error| backend(path, &error))?.len();
    Ok(Backup { file, bytes })
}

async fn check(copy: &Path, path: &Path) -> Result<(), StoreError> {
    let failed = |error| failure::of(path, &error);
    let options = SqliteConnectOptions::new()
        .filename(copy)
        .read_only(true)
        // Nobody writes it: no locks and no files beside it.
        .immutable(true)
        .disable_statement_logging();
    let mut connection = options.connect().await.map_err(failed)?;
    let found: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
    connection.close().await.map_err(failed)?;
    match found.as_str() {
        "ok" => Ok(()),
        problem => Err(StoreError::Corrupt {
            path: path.to_owned(),
            detail: format!("a copy of it is damaged: {problem}"),
        }),
    }
}

fn backend(path: &Path, detail: &dyn std::fmt::Display) -> StoreError {
    StoreError::Backend {
        path: path.to_owned(),
        detail: detail.to_string(),
    }
}
