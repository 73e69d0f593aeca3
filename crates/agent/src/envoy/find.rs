//! Which Envoy binary to run.

use super::ENVOY_VERSION;
use rustix::fs::{Access, access};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// No usable Envoy binary.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyNotFound {
    /// The file that was named is not there, or not executable.
    #[error("Envoy binary {}: {reason} (--binary-path, KUMA_DATAPLANE_RUNTIME_BINARY_PATH)", path.display())]
    Explicit {
        /// As given.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nothing in the usual places.
    #[error(
        "no Envoy binary: there is no `envoy` in PATH{}; run `meshspan envoy install`, \
         or name one with --binary-path", managed_hint(.managed)
    )]
    Nowhere {
        /// Where the managed copy would be; `None` if the user has no cache folder.
        managed: Option<PathBuf>,
    },
}

/// Looks at `explicit` alone if it is given; else for `envoy` in `PATH`, then for the managed copy of [`ENVOY_VERSION`].
/// An `explicit` name without a slash is searched in `PATH`.
pub fn find_envoy(explicit: Option<&Path>) -> Result<PathBuf, EnvoyNotFound> {
    let path_variable = std::env::var_os("PATH").unwrap_or_default();
    find_in(explicit, &path_variable, managed_envoy_path(ENVOY_VERSION))
}

/// Where `meshspan envoy install` puts `version`: `$XDG_CACHE_HOME` or `~/.cache`, then `meshspan/envoy/<version>/envoy`.
/// `None` if neither variable names an absolute folder.
pub fn managed_envoy_path(version: &str) -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("meshspan").join("envoy").join(version).join("envoy"))
}

fn find_in(explicit: Option<&Path>, path_variable: &OsStr, managed: Option<PathBuf>) -> Result<PathBuf, EnvoyNotFound> {
    let in_path = |name: &Path| {
        std::env::split_paths(path_variable)
            .map(|folder| folder.join(name))
            .find(|file| unusable(file).is_none())
    };
    if let Some(path) = explicit {
        let is_bare_name = path.components().count() == 1 && !path.is_absolute();
        if is_bare_name && let Some(found) = in_path(path) {
            return Ok(found);
        }
        return match unusable(path) {
            None => Ok(path.to_owned()),
            Some(reason) => Err(EnvoyNotFound::Explicit {
                path: path.to_owned(),
                reason,
            }),
        };
    }
    in_path(Path::new("envoy"))
        .or_else(|| managed.clone().filter(|file| unusable(file).is_none()))
        .ok_or(EnvoyNotFound::Nowhere { managed })
}

fn unusable(file: &Path) -> Option<&'static str> {
    match std::fs::metadata(file) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Some("cannot be reached: this user may not enter a folder on the way to it")
        }
        Err(_) => Some("does not exist"),
        Ok(metadata) if !metadata.is_file() => Some("is not a file"),
        Ok(_) if access(file, Access::EXEC_OK).is_err() => Some("is not executable for this user"),
        Ok(_) => None,
    }
}

fn managed_hint(managed: &Option<PathBuf>) -> String {
    match managed {
        Some(path) => match unusable(path) {
            Some(reason) => format!(", and {} {reason}", path.display()),
            None => String::new(),
        },
        None => " (and neither XDG_CACHE_HOME nor HOME names a folder for a managed copy)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn executable(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[test]
    fn path_comes_before_the_managed_copy() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        let managed = dir.path().join("cache/envoy");
        let find = || find_in(None, bin.as_os_str(), Some(managed.clone()));
        let missing = find().unwrap_err().to_string();
        assert!(
            missing.contains("meshspan envoy install") && missing.contains("cache/envoy"),
            "{missing}"
        );
        executable(&managed);
        assert_eq!(find().unwrap(), managed);
        executable(&bin.join("envoy"));
        assert_eq!(find().unwrap(), bin.join("envoy"));
    }

    #[test]
    fn an_explicit_binary_is_not_replaced_by_another() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        executable(&bin.join("envoy"));
        let find = |path: &Path| find_in(Some(path), bin.as_os_str(), None);
        assert!(
            find(&dir.path().join("absent"))
                .unwrap_err()
                .to_string()
                .contains("does not exist")
        );
        std::fs::write(dir.path().join("plain"), "").unwrap();
        assert!(
            find(&dir.path().join("plain"))
                .unwrap_err()
                .to_string()
                .contains("not executable")
        );
        let locked = dir.path().join("locked");
        executable(&locked.join("envoy"));
        std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o000)).unwrap();
        let may_enter_all = rustix::process::geteuid().is_root();
        let error = find(&locked.join("envoy")).map(drop).map_err(|error| error.to_string());
        assert!(
            may_enter_all
                || error
                    .as_ref()
                    .is_err_and(|text| text.contains("may not enter a folder")),
            "{error:?}"
        );
        std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o700)).unwrap();
        assert!(find(&bin).unwrap_err().to_string().contains("not a file"));
        assert_eq!(find(Path::new("envoy")).unwrap(), bin.join("envoy"));
    }
}
