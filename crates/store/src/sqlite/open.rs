//! Opening the file: permissions, durability settings, exclusive use.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};

use super::{SqliteOptions, failure};
use crate::StoreError;

const PAGE_BYTES: u32 = 4096;
/// What the write-ahead log is cut back to after it was folded into the database.
const MAX_IDLE_LOG_BYTES: u32 = 16 * 1024 * 1024;

pub(super) async fn connect(path: &Path, options: &SqliteOptions) -> Result<SqliteConnection, StoreError> {
    prepare_files(path)?;
    let mut connect = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(options.busy_timeout)
        .page_size(PAGE_BYTES)
        // Locks out other processes for as long as this one runs, whose writes the snapshot would not know of. The
        // kernel drops the lock when the process ends in whatever way. Also does without the -shm file.
        .locking_mode(SqliteLockingMode::Exclusive)
        .journal_mode(SqliteJournalMode::Wal)
        // One fsync for each commit: what was acknowledged survives power loss.
        .synchronous(SqliteSynchronous::Full)
        // Owners are cascaded in memory, where the feed sees it.
        .foreign_keys(false)
        .pragma("journal_size_limit", MAX_IDLE_LOG_BYTES.to_string())
        .disable_statement_logging();
    if let Some(bytes) = options.max_bytes {
        connect = connect.pragma("max_page_count", (bytes / u64::from(PAGE_BYTES)).max(1).to_string());
    }
    connect.connect().await.map_err(|error| failure::of(path, &error))
}

/// Makes sure that the file exists and nobody else can read it: it holds CA keys. SQLite gives the files beside it
/// the same mode.
///
/// Must not open an existing file, because closing any descriptor of it would drop the locks that SQLite holds in
/// this process.
fn prepare_files(path: &Path) -> Result<(), StoreError> {
    if !path.exists() {
        mark_unfinished(path)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => sync_folder(path).map_err(|error| cannot_open(path, &error)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check_existing(path),
        Err(error) => Err(open_failure(path, &error)),
    }
}

fn open_failure(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { path: path.to_owned() },
        ErrorKind::StorageFull => StoreError::Full { path: path.to_owned() },
        _ => cannot_open(path, error),
    }
}

/// Stands beside a database that was begun and has no content yet. Without it an empty file was not left by us.
fn unfinished(path: &Path) -> PathBuf {
    beside(path, "-new")
}

fn mark_unfinished(path: &Path) -> Result<(), StoreError> {
    let result = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(unfinished(path));
    match result {
        Ok(_) => Ok(()),
        // Creating the database itself fails for the same reason, and says it better.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(open_failure(path, &error)),
    }
}

/// Called when the database has its content.
pub(super) fn finished(path: &Path) {
    match fs::remove_file(unfinished(path)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(file = %unfinished(path).display(), %error, "cannot be removed");
        }
        _ => {}
    }
}

fn check_existing(path: &Path) -> Result<(), StoreError> {
    let metadata = fs::metadata(path).map_err(|error| cannot_open(path, &error))?;
    if !metadata.is_file() {
        let detail = "it is not a regular file".to_owned();
        return Err(StoreError::CannotOpen {
            path: path.to_owned(),
            detail,
        });
    }
    if metadata.len() == 0 && !unfinished(path).exists() {
        return Err(StoreError::Empty { path: path.to_owned() });
    }
    // The first also for root, whom the kernel would let write: somebody wanted this file to stay as it is.
    if metadata.permissions().readonly() || !is_writable(path) {
        return Err(StoreError::ReadOnly { path: path.to_owned() });
    }
    for file in [
        path.to_owned(),
        beside(path, "-wal"),
        beside(path, "-shm"),
        beside(path, "-journal"),
    ] {
        make_private(&file);
    }
    Ok(())
}

/// Whether this user may write the file, and add the log to its folder. Asked without opening anything.
fn is_writable(path: &Path) -> bool {
    // The log is put beside the file itself, not beside a link to it.
    let real = fs::canonicalize(path);
    let real = real.as_deref().unwrap_or(path);
    [Some(real), real.parent()]
        .into_iter()
        .flatten()
        .all(|path| access(path, Access::WRITE_OK).is_ok())
}

fn make_private(file: &Path) {
    let Ok(metadata) = fs::metadata(file) else { return };
    if metadata.permissions().mode() & 0o077 == 0 {
        return;
    }
    match fs::set_permissions(file, Permissions::from_mode(0o600)) {
        Ok(()) => {
            tracing::warn!(file = %file.display(), "database was accessible to other users; its mode is now 0600")
        }
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "database is accessible to other users: run chmod 600 on it");
        }
    }
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes the new name durable; SQLite does this for its log, but takes the database file to be there already.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn cannot_open(path: &Path, error: &io::Error) -> StoreError {
    let detail = match (error.kind(), path.parent()) {
        (ErrorKind::NotFound, Some(folder)) => format!("folder {} does not exist", folder.display()),
        _ => error.to_string(),
    };
    StoreError::CannotOpen {
        path: path.to_owned(),
        detail,
    }
}
