//! Envoy as a program: finding it, installing it, running it, and talking to its admin interface.

mod admin;
mod find;
mod install;
mod log_filter;
mod log_tail;
mod process;
mod version;

pub(crate) use admin::AdminAddress;
pub use find::{EnvoyNotFound, find_envoy, managed_envoy_path};
pub use install::{InstallError, install_envoy};
pub use process::EnvoyExited;
pub(crate) use process::{EnvoyCommand, EnvoyProcess};
pub(crate) use version::ask_version;

/// The Envoy version that this release is tested with and that `meshspan envoy install` installs.
pub const ENVOY_VERSION: &str = "1.40.0";
