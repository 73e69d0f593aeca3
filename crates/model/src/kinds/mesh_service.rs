//! MeshService (`spec/resources.md` §2.7): a service of one zone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::dataplane::{Dataplane, Inbound, PROTOCOLS};
use super::{Spec, check_port, is_default};
use crate::kind::Kind;
use crate::violation::Violations;

/// A service of one zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshService {
    /// Whether it has healthy proxies; computed by the owning zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Its proxies.
    pub selector: Selector,
    /// Its ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// What its certificates say; computed by the owning zone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<ServiceIdentityRef>,
}

/// Whether a service has healthy proxies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// At least one healthy proxy.
    Available,
    /// None.
    #[default]
    Unavailable,
}

/// Selects the proxies of a service; at most one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// All pairs must be on one inbound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataplane_tags: Option<BTreeMap<String, String>>,
    /// One proxy by core name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataplane_ref: Option<DataplaneRef>,
    /// All pairs must be labels of the Dataplane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataplane_labels: Option<MatchLabels>,
}

/// A Dataplane by core name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataplaneRef {
    /// Its name.
    pub name: String,
}

/// Labels that all must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MatchLabels {
    /// The labels.
    pub match_labels: BTreeMap<String, String>,
}

impl MatchLabels {
    /// True if every pair is among `labels`.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// One port of a MeshService.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The number that clients use.
    pub port: u32,
    /// The inbound: its number or name; absent means `port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<TargetPort>,
    /// How the traffic is treated; `tcp` by default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app_protocol: String,
}

/// An inbound by number or name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be the number of a port, or the name of an inbound")]
pub enum TargetPort {
    /// Its port.
    Number(u32),
    /// Its name.
    Name(String),
}

impl MeshService {
    /// True if it selects the Dataplane of this name and these labels. An empty selector selects nothing.
    pub fn selects(&self, name: &str, labels: &BTreeMap<String, String>, dataplane: &Dataplane) -> bool {
        let selector = &self.selector;
        if let Some(reference) = &selector.dataplane_ref {
            return reference.name == name;
        }
        if let Some(wanted) = &selector.dataplane_labels {
            return !wanted.match_labels.is_empty() && wanted.matches(labels);
        }
        let Some(tags) = selector.dataplane_tags.as_ref().filter(|tags| !tags.is_empty()) else {
            return false;
        };
        let mut inbounds = dataplane.networking.inbound.iter();
        inbounds.any(|inbound| tags.iter().all(|(key, value)| inbound.tags.get(key) == Some(value)))
    }
}

impl Port {
    /// The inbound that it means: by number or by name. A number falls back to nothing else; without `targetPort` the
    /// port's own number counts.
    pub fn target(&self) -> TargetPort {
        self.target_port.clone().unwrap_or(TargetPort::Number(self.port))
    }
}

impl TargetPort {
    /// True if the inbound is meant.
    pub fn is(&self, inbound: &Inbound) -> bool {
        match self {
            TargetPort::Number(number) => inbound.port == *number,
            TargetPort::Name(name) => inbound.name == *name,
        }
    }
}

/// One identity that a service's certificates show.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceIdentityRef {
    /// `ServiceTag`, or `SpiffeID` from newer zones.
    #[serde(rename = "type")]
    pub identity_type: String,
    /// The service tag or SPIFFE id.
    pub value: String,
}

/// Type of [`ServiceIdentityRef`] made of a `kuma.io/service` value.
pub const SERVICE_TAG: &str = "ServiceTag";
/// Type of [`ServiceIdentityRef`] made of a SPIFFE id.
pub const SPIFFE_ID: &str = "SpiffeID";

/// Status of a MeshService; of the local control plane only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshServiceStatus {
    /// Hostnames.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Virtual IPs; the first one feeds DNS.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vips: Vec<Vip>,
    /// Whether its proxies have certificates.
    pub tls: TlsStatus,
    /// What each hostname generator did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hostname_generators: Vec<HostnameGeneratorStatus>,
    /// Its proxies.
    pub dataplane_proxies: DataplaneProxies,
    /// Beyond the reference: what keeps clients from being served, with the remedy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// One hostname.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Address {
    /// The hostname.
    pub hostname: String,
    /// `HostnameGenerator`.
    pub origin: String,
    /// Which generator made it.
    pub hostname_generator_ref: CoreNameRef,
}

/// A resource by core name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CoreNameRef {
    /// Its core name.
    pub core_name: String,
}

/// One virtual IP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vip {
    /// The address.
    pub ip: String,
}

/// `status.tls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsStatus {
    /// Whether clients may require mTLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<TlsReadiness>,
}

/// Whether all proxies of a service have certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsReadiness {
    /// All have.
    Ready,
    /// Some have not.
    NotReady,
}

/// What a hostname generator did for a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostnameGeneratorStatus {
    /// The generator.
    pub hostname_generator_ref: CoreNameRef,
    /// Its outcome.
    pub conditions: Vec<Condition>,
}

/// A statement about a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub condition_type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

impl Condition {
    /// One that is met (`Ok`) or not, with a reason and a message.
    pub fn new(condition_type: &str, outcome: Result<(&str, String), (&str, String)>) -> Self {
        let (status, (reason, message)) = match outcome {
            Ok(met) => ("True", met),
            Err(unmet) => ("False", unmet),
        };
        Self {
            condition_type: condition_type.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
        }
    }

    /// True if what its type says holds.
    pub fn is_met(&self) -> bool {
        self.status == "True"
    }
}

/// Counts of the proxies of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataplaneProxies {
    /// Connected to the control plane.
    #[serde(skip_serializing_if = "is_default")]
    pub connected: u32,
    /// Ready on every port.
    #[serde(skip_serializing_if = "is_default")]
    pub healthy: u32,
    /// Selected.
    #[serde(skip_serializing_if = "is_default")]
    pub total: u32,
}

impl Port {
    /// The name, else the number as text.
    pub fn section(&self) -> String {
        section(&self.name, self.port)
    }
}

/// Section name of a port: its name, else its number.
pub fn section(name: &str, port: u32) -> String {
    if name.is_empty() {
        port.to_string()
    } else {
        name.to_owned()
    }
}

impl Spec for MeshService {
    const KIND: Kind = Kind::MeshService;

    fn set_defaults(&mut self) {
        self.state.get_or_insert_default();
        for port in &mut self.ports {
            if port.app_protocol.is_empty() {
                "tcp".clone_into(&mut port.app_protocol);
            }
        }
    }

    fn validate(&self, root: &str, violations: &mut Violations) {
        let Selector {
            dataplane_tags,
            dataplane_ref,
            dataplane_labels,
        } = &self.selector;
        let given = usize::from(dataplane_tags.is_some())
            + usize::from(dataplane_ref.is_some())
            + usize::from(dataplane_labels.is_some());
        if given > 1 {
            violations.add(
                format!("{root}selector"),
                "must have at most one of dataplaneTags, dataplaneRef, dataplaneLabels",
            );
        }
        if dataplane_ref
            .as_ref()
            .is_some_and(|reference| reference.name.is_empty())
        {
            violations.add(format!("{root}selector.dataplaneRef.name"), "must be defined");
        }
        if self.identities.len() > MAX_IDENTITIES {
            violations.add(
                format!("{root}identities"),
                format!(
                    "has {} entries, at most {MAX_IDENTITIES} are allowed: select fewer services",
                    self.identities.len()
                ),
            );
        }
        let lengths = self.identities.iter().map(|identity| identity.value.len());
        if let Some((index, length)) = lengths.enumerate().find(|(_, length)| *length > MAX_IDENTITY_BYTES) {
            violations.add(
                format!("{root}identities[{index}].value"),
                format!("has {length} bytes, at most {MAX_IDENTITY_BYTES} are allowed"),
            );
        }
        let ports = self
            .ports
            .iter()
            .map(|port| (port.name.as_str(), port.port, port.app_protocol.as_str()));
        validate_ports(ports, &format!("{root}ports"), violations);
        for (index, port) in self.ports.iter().enumerate() {
            match &port.target_port {
                Some(TargetPort::Number(number)) => {
                    check_port(*number, format!("{root}ports[{index}].targetPort"), violations)
                }
                Some(TargetPort::Name(name)) if name.is_empty() => {
                    violations.add(format!("{root}ports[{index}].targetPort"), "cannot be empty");
                }
                Some(TargetPort::Name(_)) | None => {}
            }
        }
    }
}

/// Most ports of one service: each is a listener and a cluster of every proxy, and of the ingresses.
pub const MAX_PORTS: usize = 100;

/// Most identities of one service; each client compares a certificate with all of them.
pub const MAX_IDENTITIES: usize = 1000;
/// Longest identity, in bytes: that of a SPIFFE id.
pub const MAX_IDENTITY_BYTES: usize = 2048;

/// Checks a list of (name, number, protocol): not too many, numbers in range, numbers and names unique, protocols known.
pub(crate) fn validate_ports<'a>(
    ports: impl Iterator<Item = (&'a str, u32, &'a str)> + Clone,
    path: &str,
    violations: &mut Violations,
) {
    let count = ports.clone().count();
    if count > MAX_PORTS {
        violations.add(
            path,
            format!("has {count} ports, at most {MAX_PORTS} are allowed: make another service of the others"),
        );
        // Not one violation for each of them as well.
        return;
    }
    let (mut names, mut numbers) = (BTreeMap::new(), BTreeMap::new());
    for (index, (name, number, protocol)) in ports.enumerate() {
        check_port(number, format!("{path}[{index}].port"), violations);
        if let Some(first) = numbers.insert(number, index) {
            violations.add(
                format!("{path}[{index}].port"),
                format!("{number} is also the port of {path}[{first}]"),
            );
        }
        if !name.is_empty() {
            if let Err(reason) = crate::name::check_subdomain(name) {
                violations.add(format!("{path}[{index}].name"), reason);
            }
            if let Some(first) = names.insert(name, index) {
                violations.add(
                    format!("{path}[{index}].name"),
                    format!("\"{name}\" is also the name of {path}[{first}]"),
                );
            }
        }
        if !protocol.is_empty() && !PROTOCOLS.contains(&protocol) {
            violations.add(
                format!("{path}[{index}].appProtocol"),
                format!(
                    "unknown protocol \"{protocol}\", must be one of {}",
                    PROTOCOLS.join(", ")
                ),
            );
        }
    }
}
