//! The folder with what Envoy reads: its bootstrap and the copy of the token.

use anyhow::Context;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempDir};

const PREFIX: &str = "meshspan-dp-";
/// Locked for as long as its folder is in use; the kernel drops the lock however the agent ends.
const LOCK: &str = "lock";

/// Where `bootstrap.yaml` is.
pub(crate) enum ConfigFolder {
    /// `--config-dir`.
    Given(PathBuf),
    /// Removed when dropped.
    Temporary {
        /// The folder.
        folder: TempDir,
        /// Held, not read.
        _lock: File,
    },
}

impl ConfigFolder {
    pub(crate) fn open(given: Option<&Path>) -> anyhow::Result<Self> {
        match given.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .with_context(|| format!("--config-dir {} cannot be created", path.display()))?;
                Ok(Self::Given(path.to_owned()))
            }
            None => {
                let parent = std::env::temp_dir();
                if let Err(error) = remove_abandoned(&parent) {
                    tracing::debug!(folder = %parent.display(), %error, "cannot look for what an agent left that was killed");
                }
                Self::temporary(&parent).context("no temporary folder for bootstrap.yaml; give one with --config-dir")
            }
        }
    }

    fn temporary(parent: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        // Gets its name when it is locked, so that nobody sees it unlocked while it is in use.
        let lock = NamedTempFile::new_in(folder.path())?;
        lock.as_file().try_lock()?;
        let lock = lock.persist(folder.path().join(LOCK))?;
        Ok(Self::Temporary { folder, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary { folder, .. } => folder.path(),
        }
    }

    /// Writes the file readable by this user alone.
    pub(crate) fn write_bootstrap(&self, yaml: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.path().join("bootstrap.yaml");
        let write = || -> io::Result<()> {
            // Made with mode 0600.
            let mut file = NamedTempFile::new_in(self.path())?;
            file.write_all(yaml)?;
            file.persist(&path)?;
            Ok(())
        };
        write().with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }
}

/// Removes the folders of agents of this user that were killed: they hold tokens.
fn remove_abandoned(parent: &Path) -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // Not through links, which anybody may make there.
        let is_own = entry
            .metadata()
            .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user);
        let path = entry.path();
        if is_own
            && let Ok(lock) = File::open(path.join(LOCK))
            && lock.try_lock().is_ok()
        {
            tracing::debug!(folder = %path.display(), "an agent that was killed left this folder; it is removed");
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_killed_agent_left_goes_and_what_is_in_use_stays() {
        let parent = tempfile::tempdir().unwrap();
        let in_use = ConfigFolder::temporary(parent.path()).unwrap();
        let killed = parent.path().join(format!("{PREFIX}killed"));
        let starting = parent.path().join(format!("{PREFIX}starting"));
        let other = parent.path().join("other");
        for folder in [&killed, &starting, &other] {
            std::fs::create_dir(folder).unwrap();
        }
        for folder in [&killed, &other] {
            std::fs::write(folder.join(LOCK), "").unwrap();
            std::fs::write(folder.join("token.json"), "secret").unwrap();
        }
        remove_abandoned(parent.path()).unwrap();
        assert!(!killed.exists());
        assert!(in_use.path().exists() && starting.exists() && other.exists());
        let path = in_use.path().to_owned();
        drop(in_use);
        assert!(!path.exists());
    }
}
