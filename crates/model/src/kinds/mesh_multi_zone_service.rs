//! MeshMultiZoneService (`spec/resources.md` §2.8, §4): one name and one address for a service of many zones.

use serde::{Deserialize, Serialize};

use super::Spec;
use super::mesh_service::{Address, Condition, HostnameGeneratorStatus, MatchLabels, Vip, section, validate_ports};
use crate::kind::Kind;
use crate::violation::Violations;

/// A service that spans zones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshMultiZoneService {
    /// The MeshServices that it unites.
    pub selector: Selector,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// `selector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// MeshServices by label.
    pub mesh_service: MatchLabels,
}

/// One port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// Its name; matched with the names of the services' ports where given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The number that clients use.
    pub port: u32,
    /// How the traffic is treated; `tcp` by default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app_protocol: String,
}

/// Status; computed in each zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshMultiZoneServiceStatus {
    /// Hostnames.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Virtual IPs; the first one feeds DNS.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vips: Vec<Vip>,
    /// The services that match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mesh_services: Vec<MatchedMeshService>,
    /// What each hostname generator did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hostname_generators: Vec<HostnameGeneratorStatus>,
    /// Whatever keeps a service from being reached, with the remedy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// On the global, beyond the reference: each zone's view; the fields above are then their union.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<ZoneView>,
}

/// What one zone makes of the service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneView {
    /// The zone.
    pub zone: String,
    /// Hostnames there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Virtual IPs there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vips: Vec<Vip>,
    /// What keeps a service from being reached from there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A service that matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct MatchedMeshService {
    /// Display name.
    pub name: String,
    /// Kubernetes namespace, or "".
    pub namespace: String,
    /// Zone.
    pub zone: String,
    /// Mesh.
    pub mesh: String,
}

impl Port {
    /// The name, else the number as text.
    pub fn section(&self) -> String {
        section(&self.name, self.port)
    }
}

impl Spec for MeshMultiZoneService {
    const KIND: Kind = Kind::MeshMultiZoneService;

    fn set_defaults(&mut self) {
        for port in &mut self.ports {
            if port.app_protocol.is_empty() {
                "tcp".clone_into(&mut port.app_protocol);
            }
        }
    }

    fn validate(&self, root: &str, violations: &mut Violations) {
        if self.selector.mesh_service.match_labels.is_empty() {
            violations.add(format!("{root}selector.meshService.matchLabels"), "cannot be empty");
        }
        if self.ports.is_empty() {
            violations.add(format!("{root}ports"), "cannot be empty");
        }
        let ports = self
            .ports
            .iter()
            .map(|port| (port.name.as_str(), port.port, port.app_protocol.as_str()));
        validate_ports(ports, &format!("{root}ports"), violations);
    }
}
