//! SQLite result codes to errors that say what to do (<https://www.sqlite.org/rescode.html>).

use std::path::Path;

use crate::StoreError;

const PERM: u32 = 3;
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const READONLY: u32 = 8;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
const AUTH: u32 = 23;
const NOTADB: u32 = 26;

/// What `error` means for the database at `path`.
pub(super) fn of(path: &Path, error: &sqlx::Error) -> StoreError {
    let path = path.to_owned();
    let code = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<u32>().ok());
    // The low byte is the primary code, the rest refines it.
    match code.map(|code| code & 0xff) {
        Some(BUSY | LOCKED) => StoreError::InUse { path },
        Some(READONLY) => StoreError::ReadOnly { path },
        Some(FULL) => StoreError::Full { path },
        Some(CORRUPT | NOTADB) => StoreError::Corrupt {
            path,
            detail: error.to_string(),
        },
        Some(CANTOPEN | PERM | AUTH) => StoreError::CannotOpen {
            path,
            detail: error.to_string(),
        },
        _ => StoreError::Backend {
            path,
            detail: error.to_string(),
        },
    }
}
