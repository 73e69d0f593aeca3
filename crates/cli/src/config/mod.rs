//! The file that remembers control planes, in kumactl's format (`spec/http-api.md` §7).
//!
//! It is `~/.meshspan/config`. As long as that does not exist, `~/.kumactl/config` is read instead; what is written goes to our own
//! file, so kumactl's is never changed.

mod commands;
mod file;

use std::path::PathBuf;

pub use commands::{ConfigArgs, configure};
pub use file::{ApiServer, Config, Context, ControlPlane, Coordinates, Header};

use crate::args::ConnectionArgs;
use crate::client::Endpoint;

/// Address of a control plane on this machine.
pub const LOCAL_ADDRESS: &str = "http://localhost:5681";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No home folder.
    #[error("there is no home folder to keep the configuration in: set HOME, or use --config-file or --no-config")]
    NoHome,
    /// The file cannot be read.
    #[error("configuration file {} cannot be read: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    /// The file cannot be written.
    #[error("configuration file {} cannot be written: {reason}", path.display())]
    Write { path: PathBuf, reason: String },
    /// The current context does not exist.
    #[error(
        "context {name:?} is not in the configuration (it has: {known}): choose one with `meshspan config control-planes switch --name`"
    )]
    UnknownContext { name: String, known: String },
    /// The context's control plane does not exist.
    #[error(
        "control plane {name:?} of context {context:?} is not in the configuration: add it with `meshspan config control-planes add`"
    )]
    UnknownControlPlane { name: String, context: String },
    /// An authentication that is not built.
    #[error("authentication type {0:?} of the configuration is not supported: use \"tokens\"")]
    AuthType(String),
}

/// Where to ask: `--address`, else the context of the configuration. Nothing of the file is sent to an address that is not from the file.
///
/// # Errors
/// When the configuration cannot be used.
pub fn endpoint(connection: &ConnectionArgs) -> Result<Endpoint, ConfigError> {
    let mut endpoint = match &connection.address {
        Some(address) => Endpoint {
            url: address.clone(),
            ..Endpoint::default()
        },
        None => Config::load(connection)?.endpoint(connection.context.as_deref())?,
    };
    if let Some(token) = &connection.token {
        endpoint.token = Some(token.clone());
    }
    if let Some(ca) = &connection.ca_cert_file {
        endpoint.ca_cert_file = Some(ca.clone());
    }
    endpoint.skip_verify |= connection.skip_verify;
    Ok(endpoint)
}
