//! The `meshspan` binary, run as its users run it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Prefixes of variables that change what the binary does. Those of whoever starts a mesh must not reach its processes.
const OUR_VARIABLES: [&str; 3] = ["KUMA_", "KMESH_", "MESHSPAN_"];

/// Path of a `meshspan` binary.
#[derive(Debug, Clone)]
pub struct Program(PathBuf);

impl Program {
    /// The binary at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A command line of it; nothing in the environment configures it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.0);
        command.args(arguments);
        for (name, _) in std::env::vars_os() {
            if OUR_VARIABLES
                .iter()
                .any(|prefix| name.to_string_lossy().starts_with(prefix))
            {
                command.env_remove(name);
            }
        }
        command
    }
}
