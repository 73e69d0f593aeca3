//! Logs of the processes of a network, for whoever has to find out what went wrong.

use std::fs::{self, File};
use std::io::{Read, Result, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How much of a log is looked at, in bytes.
const TAIL: u64 = 4096;

/// All logs below the folder of a network, sorted: `<host>/<process>.log`.
pub fn log_files(directory: &Path) -> Vec<PathBuf> {
    let entries = |path: &Path| {
        fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let mut files: Vec<PathBuf> = entries(directory)
        .flat_map(|host| entries(&host).collect::<Vec<_>>())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    files.sort();
    files
}

/// The last `lines` of each log.
pub fn log_ends(directory: &Path, lines: usize) -> String {
    let mut text = String::new();
    for file in log_files(directory) {
        let tail = log_tail(&file);
        let kept: Vec<&str> = tail.lines().collect();
        let kept = kept.get(kept.len().saturating_sub(lines)..).unwrap_or_default();
        text.push_str(&format!(
            "--- {}\n{}\n",
            file.strip_prefix(directory).unwrap_or(&file).display(),
            kept.join("\n")
        ));
    }
    text
}

/// The end of a log, or why it cannot be read.
pub(crate) fn log_tail(path: &Path) -> String {
    let read = || -> Result<String> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("({} cannot be read: {error})", path.display()))
}

/// Copies all logs to `to`, as `<host>/<process>.log`.
///
/// # Errors
/// A folder or file cannot be written.
pub(crate) fn keep_logs(directory: &Path, to: &Path) -> Result<()> {
    for file in log_files(directory) {
        let target = to.join(file.strip_prefix(directory).unwrap_or(&file));
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(&file, &target)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn the_end_of_each_log_is_shown_and_all_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().join("east-cp");
        fs::create_dir(&host).unwrap();
        fs::write(host.join("control-plane.log"), "one\ntwo\nthree\n").unwrap();
        fs::write(host.join("secret.token"), "x").unwrap();
        assert_eq!(
            log_ends(folder.path(), 2),
            "--- east-cp/control-plane.log\ntwo\nthree\n"
        );
        let kept = tempfile::tempdir().unwrap();
        keep_logs(folder.path(), kept.path()).unwrap();
        assert_eq!(log_files(kept.path()), [kept.path().join("east-cp/control-plane.log")]);
        assert_eq!(fs::read_dir(kept.path().join("east-cp")).unwrap().count(), 1);
    }
}
