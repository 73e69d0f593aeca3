//! Reading and writing the file.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ConfigError, LOCAL_ADDRESS};
use crate::args::ConnectionArgs;
use crate::client::Endpoint;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Name of the control plane that exists without any file.
const LOCAL: &str = "local";

/// Content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Known control planes.
    pub control_planes: Vec<ControlPlane>,
    /// Known contexts; each has a control plane.
    pub contexts: Vec<Context>,
    /// The context in use.
    pub current_context: String,
}

/// A known control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlane {
    /// Its name here.
    pub name: String,
    /// How to reach it.
    pub coordinates: Coordinates,
}

/// How to reach a control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Coordinates {
    /// Its REST API.
    pub api_server: ApiServer,
}

/// A REST API.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiServer {
    /// Its address.
    pub url: String,
    /// PEM file with the CAs to trust.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca_cert_file: String,
    /// PEM file with the client's certificate.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_cert_file: String,
    /// PEM file with the client's key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_key_file: String,
    /// Whether any server certificate is accepted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip_verify: bool,
    /// `tokens`, or empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth_type: String,
    /// For `tokens`: `token`. Secret.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub auth_conf: BTreeMap<String, String>,
    /// Additional headers. May be secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// An additional header.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// Name of its control plane.
    pub control_plane: String,
}

impl Config {
    /// The configuration that exists without any file: a control plane on this machine.
    pub fn local() -> Self {
        let mut config = Self::default();
        let api_server = ApiServer {
            url: LOCAL_ADDRESS.to_owned(),
            ..ApiServer::default()
        };
        config.put(LOCAL, api_server);
        config.current_context = LOCAL.to_owned();
        config
    }

    /// Reads the file that the flags name; the local configuration where there is none (yet).
    ///
    /// # Errors
    /// When there is a file and it cannot be read.
    pub fn load(connection: &ConnectionArgs) -> Result<Self, ConfigError> {
        if connection.no_config {
            return Ok(Self::local());
        }
        if let Some(path) = &connection.config_file {
            return Ok(read(path)?.unwrap_or_else(Self::local));
        }
        for path in [own_path()?, kumactl_path()?] {
            if let Some(config) = read(&path)? {
                return Ok(config);
            }
        }
        Ok(Self::local())
    }

    /// Writes the file that the flags name, readable by its owner only. A crash leaves the old file or the new one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, connection: &ConnectionArgs) -> Result<PathBuf, ConfigError> {
        let path = match &connection.config_file {
            Some(path) => path.clone(),
            None => own_path()?,
        };
        let failed = |reason: String| ConfigError::Write {
            path: path.clone(),
            reason,
        };
        let text = serde_saphyr::to_string(self).map_err(|error| failed(error.to_string()))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let written = (|| {
            if let Some(folder) = folder {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            let mut temporary = path.clone().into_os_string();
            temporary.push(format!(".{}", std::process::id()));
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            let result = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
            let result = result.and_then(|()| fs::rename(&temporary, &path));
            if result.is_err() {
                // Nothing more can be done about it; the first error is the one that counts.
                drop(fs::remove_file(&temporary));
            }
            result
        })();
        written.map_err(|error| failed(error.to_string()))?;
        Ok(path)
    }

    /// The endpoint of a context, by default of the current one.
    ///
    /// # Errors
    /// When context or control plane do not exist, or the authentication is unknown.
    pub fn endpoint(&self, context: Option<&str>) -> Result<Endpoint, ConfigError> {
        let name = context.unwrap_or(&self.current_context);
        let context = self
            .contexts
            .iter()
            .find(|context| context.name == name)
            .ok_or_else(|| {
                let known: Vec<&str> = self.contexts.iter().map(|context| context.name.as_str()).collect();
                ConfigError::UnknownContext {
                    name: name.to_owned(),
                    known: known.join(", "),
                }
            })?;
        let control_plane = self.control_planes.iter().find(|cp| cp.name == context.control_plane);
        let control_plane = control_plane.ok_or_else(|| ConfigError::UnknownControlPlane {
            name: context.control_plane.clone(),
            context: name.to_owned(),
        })?;
        control_plane.coordinates.api_server.endpoint()
    }

    /// Adds or replaces a control plane and the context of the same name.
    pub fn put(&mut self, name: &str, api_server: ApiServer) {
        self.remove(name);
        self.control_planes.push(ControlPlane {
            name: name.to_owned(),
            coordinates: Coordinates { api_server },
        });
        self.contexts.push(Context {
            name: name.to_owned(),
            control_plane: name.to_owned(),
        });
    }

    /// Removes a control plane and its contexts; false if it is unknown.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.control_planes.len();
        self.control_planes.retain(|cp| cp.name != name);
        self.contexts.retain(|context| context.control_plane != name);
        self.control_planes.len() < before
    }
}

impl ApiServer {
    /// As the client wants it.
    ///
    /// # Errors
    /// When the authentication is unknown.
    pub fn endpoint(&self) -> Result<Endpoint, ConfigError> {
        let file = |path: &str| (!path.is_empty()).then(|| PathBuf::from(path));
        let token = match self.auth_type.as_str() {
            "" => None,
            "tokens" => self.auth_conf.get("token").cloned(),
            other => return Err(ConfigError::AuthType(other.to_owned())),
        };
        Ok(Endpoint {
            url: self.url.clone(),
            ca_cert_file: file(&self.ca_cert_file),
            client_cert_file: file(&self.client_cert_file),
            client_key_file: file(&self.client_key_file),
            skip_verify: self.skip_verify,
            headers: self.headers.iter().map(|h| (h.key.clone(), h.value.clone())).collect(),
            token,
        })
    }
}

fn own_path() -> Result<PathBuf, ConfigError> {
    Ok(home()?.join(".meshspan").join("config"))
}

fn kumactl_path() -> Result<PathBuf, ConfigError> {
    Ok(home()?.join(".kumactl").join("config"))
}

fn home() -> Result<PathBuf, ConfigError> {
    std::env::home_dir().ok_or(ConfigError::NoHome)
}

fn read(path: &Path) -> Result<Option<Config>, ConfigError> {
    let failed = |reason: String| ConfigError::Read {
        path: path.to_owned(),
        reason,
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    let mut text = String::new();
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    read.map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > MAX_FILE {
        return Err(failed(format!("it has more than {MAX_FILE} bytes")));
    }
    if text.trim().is_empty() {
        return Ok(None);
    }
    let config = serde_saphyr::from_str(&text)
        .map_err(|error| failed(error.render_with_formatter(&serde_saphyr::UserMessageFormatter)))?;
    Ok(Some(config))
}
