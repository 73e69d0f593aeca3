//! MeshAccessLog (`spec/policies.md` §2.12): which requests and connections are logged, where and how.

pub mod format;
mod operators;
mod otel;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::policy::values::{Endpoint, check_endpoint};
use crate::policy::{Conf as PolicyConf, Place, PolicyKind, PolicySpec};
use crate::violation::Violations;

pub use operators::PLAIN_OPERATORS;
pub use otel::{Body, OtelKeyValue, OtelValue};

/// Access logs.
pub type MeshAccessLog = PolicySpec<Conf>;

/// Most backends of one conf.
pub const MAX_BACKENDS: usize = 16;
/// Most fields of one JSON format, and most attributes of one OpenTelemetry backend.
pub const MAX_FIELDS: usize = 128;
/// Port of an OpenTelemetry collector that names none: OTLP over gRPC.
pub const OTEL_PORT: u16 = 4317;

/// The socket on which the agent of a proxy takes records for TCP backends, in the proxy's working folder. `None` if there
/// is no such folder, or its path is too long for a socket.
pub fn sink_socket(workdir: &str) -> Option<String> {
    /// `sun_path` of Linux, without the NUL at its end.
    const MAX_SOCKET_PATH: usize = 107;
    let path = format!("{workdir}/access-log.sock");
    (workdir.starts_with('/') && path.len() <= MAX_SOCKET_PATH).then_some(path)
}

/// Access logs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conf {
    /// Where they go; empty switches them off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backends: Option<Vec<Backend>>,
}

/// Where access logs go. Only the field that `kind` names counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: BackendType,
    /// [`BackendType::Tcp`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpBackend>,
    /// [`BackendType::File`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileBackend>,
    /// [`BackendType::OpenTelemetry`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_telemetry: Option<OtelBackend>,
}

/// What a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackendType {
    /// A TCP connection that takes lines.
    Tcp,
    /// A file on the proxy's host.
    File,
    /// An OpenTelemetry collector.
    OpenTelemetry,
}

/// A TCP connection that takes lines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpBackend {
    /// `host:port`.
    pub address: String,
    /// What is written; the default of the protocol if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// A file on the proxy's host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileBackend {
    /// Absolute path.
    pub path: String,
    /// What is written; the default of the protocol if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// An OpenTelemetry collector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OtelBackend {
    /// `host` or `host:port`, OTLP over gRPC.
    pub endpoint: String,
    /// Attributes of each record, with formats as values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Vec<KeyValue>>,
    /// Body of each record; the default line of the protocol if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Format {
    /// Which of the fields counts.
    #[serde(rename = "type")]
    pub kind: FormatType,
    /// [`FormatType::Plain`]: a format, without the end of the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<String>,
    /// [`FormatType::Json`]: a format for each field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Vec<KeyValue>>,
    /// Leaves out what has no value, instead of writing `-` or `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omit_empty_values: Option<bool>,
}

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FormatType {
    /// A line of text.
    Plain,
    /// A line with a JSON object.
    Json,
}

/// A field and the format of its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyValue {
    /// Its name.
    pub key: String,
    /// Its format.
    pub value: String,
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshAccessLog;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        let path = place.field("backends");
        let Some(backends) = &self.backends else {
            violations.add(path, "must be defined; [] switches access logs off");
            return;
        };
        if backends.len() > MAX_BACKENDS {
            violations.add(
                &path,
                format!("has {} items, must have no more than {MAX_BACKENDS}", backends.len()),
            );
        }
        for (index, backend) in backends.iter().enumerate() {
            backend.check(&format!("{path}[{index}]"), violations);
        }
    }

    fn warn(&self, place: &Place<'_>, warnings: &mut Vec<String>) {
        for (index, backend) in self.backends.iter().flatten().enumerate() {
            let backend_path = format!("{}[{index}]", place.field("backends"));
            for (field, format) in [
                ("tcp", backend.tcp.as_ref().and_then(|tcp| tcp.format.as_ref())),
                ("file", backend.file.as_ref().and_then(|file| file.format.as_ref())),
            ] {
                let fields = format.and_then(|format| format.json.as_deref()).unwrap_or_default();
                warn_of_repeated(fields, &format!("{backend_path}.{field}.format.json"), warnings);
            }
        }
    }
}

/// An object has each field once: the last one counts.
fn warn_of_repeated(fields: &[KeyValue], path: &str, warnings: &mut Vec<String>) {
    let mut keys = BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        if !keys.insert(&field.key) {
            warnings.push(format!(
                "{path}[{index}].key: \"{}\" stands there more than once; the last one counts",
                field.key
            ));
        }
    }
}

impl Backend {
    fn check(&self, path: &str, violations: &mut Violations) {
        match (self.kind, &self.tcp, &self.file, &self.open_telemetry) {
            (BackendType::Tcp, Some(tcp), ..) => tcp.check(&format!("{path}.tcp"), violations),
            (BackendType::File, _, Some(file), _) => file.check(&format!("{path}.file"), violations),
            (BackendType::OpenTelemetry, .., Some(otel)) => otel.check(&format!("{path}.openTelemetry"), violations),
            (BackendType::Tcp, ..) => violations.add(format!("{path}.tcp"), "must be defined with type Tcp"),
            (BackendType::File, ..) => violations.add(format!("{path}.file"), "must be defined with type File"),
            (BackendType::OpenTelemetry, ..) => violations.add(
                format!("{path}.openTelemetry"),
                "must be defined with type OpenTelemetry",
            ),
        }
    }
}

impl TcpBackend {
    fn check(&self, path: &str, violations: &mut Violations) {
        if Endpoint::parse(&self.address).is_none_or(|endpoint| endpoint.port.is_none()) {
            violations.add(
                format!("{path}.address"),
                format!(
                    "is \"{}\", must be a host and a port without a scheme, for example \"logs.example:514\"",
                    self.address
                ),
            );
        }
        if let Some(format) = &self.format {
            format.check(&format!("{path}.format"), violations);
        }
    }
}

/// Longest path that Linux takes.
const MAX_PATH: usize = 4095;

impl FileBackend {
    fn check(&self, path: &str, violations: &mut Violations) {
        let usable = self.path.starts_with('/')
            && !self.path.ends_with('/')
            && !self.path.contains('\0')
            && self.path.len() <= MAX_PATH;
        if !usable {
            violations.add(
                format!("{path}.path"),
                format!(
                    "is \"{}\", must be the absolute path of a file, such as /dev/stdout or /var/log/access.log",
                    self.path
                ),
            );
        }
        if let Some(format) = &self.format {
            format.check(&format!("{path}.format"), violations);
        }
    }
}

impl OtelBackend {
    fn check(&self, path: &str, violations: &mut Violations) {
        check_endpoint(Some(&self.endpoint), format!("{path}.endpoint"), violations);
        check_fields(
            self.attributes.as_deref().unwrap_or_default(),
            &format!("{path}.attributes"),
            violations,
        );
        if let Some(body) = &self.body {
            body.check(&format!("{path}.body"), violations);
        }
    }
}

impl Format {
    fn check(&self, path: &str, violations: &mut Violations) {
        match self.kind {
            FormatType::Plain => {
                let path = format!("{path}.plain");
                match self.plain.as_deref() {
                    None | Some("") => violations.add(path, "must be defined with type Plain"),
                    Some(plain) => check_format(plain, &path, violations),
                }
            }
            FormatType::Json => {
                let path = format!("{path}.json");
                match self.json.as_deref() {
                    None | Some([]) => violations.add(path, "must be defined with type Json"),
                    Some(fields) => check_fields(fields, &path, violations),
                }
            }
        }
    }
}

fn check_fields(fields: &[KeyValue], path: &str, violations: &mut Violations) {
    if fields.len() > MAX_FIELDS {
        violations.add(
            path,
            format!("has {} items, must have no more than {MAX_FIELDS}", fields.len()),
        );
    }
    for (index, field) in fields.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if field.key.is_empty() {
            violations.add(format!("{path}.key"), "must be defined");
        }
        if field.value.is_empty() {
            violations.add(format!("{path}.value"), "must be defined");
        }
        check_format(&field.value, &format!("{path}.value"), violations);
    }
}

fn check_format(written: &str, path: &str, violations: &mut Violations) {
    if let Err(error) = format::parse(written) {
        violations.add(path, error.to_string());
    }
}
