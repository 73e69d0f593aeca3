//! MeshExternalService (`spec/resources.md` §2.9): a service outside the mesh.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::mesh_service::{Address, Condition, HostnameGeneratorStatus, Vip};
use super::{Spec, check_port, is_default};
use crate::kind::Kind;
use crate::violation::Violations;

pub mod tls;

pub use tls::Tls;

/// Values of `match.protocol`.
pub const PROTOCOLS: [&str; 4] = ["tcp", "grpc", "http", "http2"];
/// Highest `endpoints[].priority`, as in Envoy.
pub const MAX_PRIORITY: u32 = 128;
const UNIX: &str = "unix:";
const OWN_HOST: &str = "must not be the host of the egress itself, where its own admin interface is: use an address of another host, or another address of this one";

/// A service outside the mesh, with a name and an address in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshExternalService {
    /// What clients in the mesh dial.
    #[serde(rename = "match")]
    pub matched: Match,
    /// A plugin that answers for endpoints and TLS; there is none here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension: Option<Extension>,
    /// Where the service is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// TLS that the proxy adds on the way to the endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// `match`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Match {
    /// What gives it its names.
    #[serde(rename = "type")]
    pub match_type: MatchType,
    /// The number that clients use.
    pub port: u32,
    /// How the traffic is treated: one of [`PROTOCOLS`], `tcp` by default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
}

/// What gives a service its names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchType {
    /// HostnameGenerators.
    #[default]
    HostnameGenerator,
}

/// `extension`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extension {
    /// Name of the plugin.
    #[serde(rename = "type")]
    pub extension_type: String,
    /// Its settings.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub config: Value,
}

/// One place where the service is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// An IP address or a DNS name.
    pub address: String,
    /// Its port.
    pub port: u32,
    /// Endpoints with a higher number get traffic only when those with lower ones fail; 0 by default (2.14).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
}

/// Status; computed in each zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshExternalServiceStatus {
    /// Its virtual IP: one, where other services have a list.
    #[serde(skip_serializing_if = "is_default")]
    pub vip: Vip,
    /// Hostnames.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// What each hostname generator did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hostname_generators: Vec<HostnameGeneratorStatus>,
    /// Beyond the reference: what keeps clients from being served, with the remedy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl MeshExternalService {
    /// Section of its only port, which has no name: its number.
    pub fn section(&self) -> String {
        self.matched.port.to_string()
    }

    /// TLS, if it is switched on.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref().filter(|tls| tls.enabled)
    }

    /// The name that the service's certificate is asked for and checked by: `tls.verification.serverName`, else the first
    /// endpoint if that is a DNS name.
    pub fn server_name(&self) -> Option<&str> {
        let given = self
            .tls
            .as_ref()
            .and_then(|tls| tls.verification.as_ref()?.server_name.as_deref());
        let name = given.or_else(|| {
            let first = self.endpoints.first()?.address.as_str();
            first.parse::<IpAddr>().is_err().then_some(first)
        });
        // Neither certificates nor handshakes have the final dot.
        name.map(|name| name.strip_suffix('.').unwrap_or(name))
    }
}

impl Match {
    fn validate(&self, path: &str, violations: &mut Violations) {
        check_port(self.port, format!("{path}.port"), violations);
        if !PROTOCOLS.contains(&self.protocol.as_str()) {
            violations.add(
                format!("{path}.protocol"),
                format!("is \"{}\", must be one of {}", self.protocol, PROTOCOLS.join(", ")),
            );
        }
    }
}

impl Extension {
    fn validate(&self, path: &str, violations: &mut Violations) {
        let message = match self.extension_type.as_str() {
            "" => "must not be empty".to_owned(),
            name => format!(
                "is \"{name}\", but this control plane has no extensions; remove extension and say where the service is in endpoints"
            ),
        };
        violations.add(format!("{path}.type"), message);
    }
}

impl Endpoint {
    fn validate(&self, path: &str, violations: &mut Violations) {
        let address = self.address.as_str();
        let complaint = match address.parse::<IpAddr>() {
            Ok(ip) if ip.to_canonical().is_unspecified() || ip.to_canonical().is_multicast() => {
                Some("must be an address that can be dialled")
            }
            Ok(ip) if ip.to_canonical().is_loopback() => Some(OWN_HOST),
            Err(_) if is_localhost(address) => Some(OWN_HOST),
            Ok(_) => None,
            Err(_) if address.starts_with(UNIX) => {
                Some("must be an IP address or a DNS name: paths of Unix sockets are not supported")
            }
            Err(_) if !is_dns_name(address) => Some("must be an IP address or a DNS name"),
            Err(_) => None,
        };
        match complaint {
            Some(_) if address.is_empty() => violations.add(format!("{path}.address"), "must be defined"),
            Some(complaint) => violations.add(format!("{path}.address"), format!("is \"{address}\", {complaint}")),
            None => {}
        }
        check_port(self.port, format!("{path}.port"), violations);
        if let Some(priority) = self.priority.filter(|priority| *priority > MAX_PRIORITY) {
            violations.add(
                format!("{path}.priority"),
                format!("is {priority}, must be no more than {MAX_PRIORITY}"),
            );
        }
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// DNS names outside the mesh have what name servers answer: underscores, upper case and a final dot too.
fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let number = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    !number && name.len() <= crate::name::MAX_NAME && name.split('.').all(label)
}

impl Spec for MeshExternalService {
    const KIND: Kind = Kind::MeshExternalService;

    fn set_defaults(&mut self) {
        if self.matched.protocol.is_empty() {
            "tcp".clone_into(&mut self.matched.protocol);
        }
    }

    fn warn(&self, root: &str, warnings: &mut Vec<String>) {
        if self.endpoints.is_empty() {
            warnings.push(format!(
                "{root}endpoints: is empty, so that clients get no answer (503)"
            ));
        }
        match &self.tls {
            Some(tls) if !tls.enabled => {
                warnings.push(format!("{root}tls: has no effect unless {root}tls.enabled is true"));
            }
            Some(tls) => tls.warn(self.server_name(), &format!("{root}tls"), warnings),
            None => {}
        }
    }

    fn validate(&self, root: &str, violations: &mut Violations) {
        self.matched.validate(&format!("{root}match"), violations);
        if let Some(extension) = &self.extension {
            // Whether endpoints and TLS are right would be for the extension to say.
            return extension.validate(&format!("{root}extension"), violations);
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            endpoint.validate(&format!("{root}endpoints[{index}]"), violations);
        }
        if let Some(tls) = &self.tls {
            tls.validate(&format!("{root}tls"), violations);
        }
    }
}
