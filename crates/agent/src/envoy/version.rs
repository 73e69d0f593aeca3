//! `envoy --version`.

use crate::bootstrap::EnvoyVersion;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// A cold start of a 100 MB binary from a slow disk fits.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The binary does not behave like Envoy.
#[derive(Debug, thiserror::Error)]
#[error("{} --version: {reason}; is this an Envoy binary for this machine?", binary.display())]
pub(crate) struct VersionError {
    binary: PathBuf,
    reason: String,
}

/// Runs the binary for its version.
pub(crate) async fn ask_version(binary: &Path) -> Result<EnvoyVersion, VersionError> {
    let error = |reason: String| VersionError {
        binary: binary.to_owned(),
        reason,
    };
    let output = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(TIMEOUT, output)
        .await
        .map_err(|_| error(format!("no answer within {} s", TIMEOUT.as_secs())))?
        .map_err(|io| error(format!("cannot be run ({io})")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).ok_or_else(|| {
        let shown: String = String::from_utf8_lossy(if text.trim().is_empty() {
            &output.stderr
        } else {
            &output.stdout
        })
        .trim()
        .chars()
        .take(500)
        .collect();
        error(format!("{}, unexpected output {shown:?}", output.status))
    })
}

/// `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`
fn parse(output: &str) -> Option<EnvoyVersion> {
    let build = output.lines().find_map(|line| line.split_once("version:"))?.1.trim();
    match build.split('/').collect::<Vec<_>>().as_slice() {
        [_commit, version, _tree, _mode, _ssl] => Some(EnvoyVersion::new((*version).to_owned(), build.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::parse;

    #[test]
    fn five_parts_are_needed() {
        let version = parse("\nenvoy  version: c4ba/1.40.0/Clean/RELEASE/BoringSSL\n\n").unwrap();
        assert_eq!(version.version, "1.40.0");
        assert_eq!(version.build, "c4ba/1.40.0/Clean/RELEASE/BoringSSL");
        assert!(parse("version: 1.40.0").is_none());
        assert!(parse("").is_none());
    }
}
