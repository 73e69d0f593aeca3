//! Whether the files that are written are still the ones at their paths. A deleted file can be written on Unix, and what is
//! written is lost with the process.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::StoreError;

/// Device and number of a file.
type Identity = (u64, u64);

/// The database and its write-ahead log, as the connection has them open. Looked at by path: a descriptor of our own would
/// drop SQLite's locks when it is closed.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    log_path: PathBuf,
    database: Option<Identity>,
    /// `None` until there is one.
    log: Option<Identity>,
}

impl Files {
    /// Right after opening.
    pub(super) fn opened(path: &Path) -> Self {
        let mut log_path = OsString::from(path);
        log_path.push("-wal");
        let log_path = PathBuf::from(log_path);
        Self {
            database: identity(path),
            log: identity(&log_path),
            path: path.to_owned(),
            log_path,
        }
    }

    /// Called before something is written.
    ///
    /// # Errors
    /// [`StoreError::Gone`] if it would be lost.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        for (path, opened) in [(&self.path, self.database), (&self.log_path, self.log)] {
            if opened.is_some() && identity(path) != opened {
                return Err(StoreError::Gone { path: path.clone() });
            }
        }
        Ok(())
    }

    /// Called after something was written, by which SQLite may have made its log.
    pub(super) fn written(&mut self) {
        if self.log.is_none() {
            self.log = identity(&self.log_path);
        }
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
