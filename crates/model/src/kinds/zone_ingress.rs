//! ZoneIngress (`spec/resources.md` §2.4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::dataplane::{Admin, DEFAULT_ADMIN_PORT, check_dial_address};
use super::{Spec, check_port, is_default, number};
use crate::kind::Kind;
use crate::violation::Violations;

/// The proxy through which other zones enter a zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneIngress {
    /// Its zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Addresses and ports.
    pub networking: Networking,
    /// Legacy services behind it; not used with MeshServices.
    #[serde(alias = "available_services", skip_serializing_if = "Vec::is_empty")]
    pub available_services: Vec<AvailableService>,
}

/// `networking`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Networking {
    /// Where Envoy listens.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Where Envoy listens.
    #[serde(deserialize_with = "number::u32")]
    pub port: u32,
    /// Where other zones dial.
    #[serde(alias = "advertised_address", skip_serializing_if = "String::is_empty")]
    pub advertised_address: String,
    /// Where other zones dial.
    #[serde(
        alias = "advertised_port",
        skip_serializing_if = "is_default",
        deserialize_with = "number::u32"
    )]
    pub advertised_port: u32,
    /// Envoy's admin interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
}

/// A legacy service behind an ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AvailableService {
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Healthy instances.
    #[serde(deserialize_with = "number::u32")]
    pub instances: u32,
    /// Mesh.
    pub mesh: String,
    /// External service.
    #[serde(alias = "external_service", skip_serializing_if = "is_default")]
    pub external_service: bool,
}

impl ZoneIngress {
    /// Where other zones dial, if it can be reached from other zones at all.
    pub fn public_address(&self) -> Option<(&str, u32)> {
        let Networking {
            advertised_address,
            advertised_port,
            ..
        } = &self.networking;
        (!advertised_address.is_empty() && *advertised_port != 0)
            .then_some((advertised_address.as_str(), *advertised_port))
    }

    /// Port of Envoy's admin interface.
    pub fn admin_port(&self) -> u32 {
        self.networking
            .admin
            .map(|admin| admin.port)
            .filter(|port| *port != 0)
            .unwrap_or(DEFAULT_ADMIN_PORT)
    }
}

impl Spec for ZoneIngress {
    const KIND: Kind = Kind::ZoneIngress;

    fn warn(&self, root: &str, warnings: &mut Vec<String>) {
        if self.public_address().is_none() {
            warnings.push(format!(
                "{root}networking.advertisedAddress: is missing, so other zones cannot enter through this ingress: set it, with \
                 advertisedPort, to what they call"
            ));
        }
    }

    fn validate(&self, root: &str, violations: &mut Violations) {
        let root = format!("{root}networking");
        check_port(self.networking.port, format!("{root}.port"), violations);
        if !self.networking.address.is_empty() {
            check_dial_address(&self.networking.address, &format!("{root}.address"), violations);
        }
        match (
            self.networking.advertised_address.as_str(),
            self.networking.advertised_port,
        ) {
            ("", 0) => {}
            ("", _) => violations.add(
                format!("{root}.advertisedAddress"),
                "must be defined together with advertisedPort",
            ),
            (_, 0) => violations.add(
                format!("{root}.advertisedPort"),
                "must be defined together with advertisedAddress",
            ),
            (address, port) => {
                check_dial_address(address, &format!("{root}.advertisedAddress"), violations);
                check_port(port, format!("{root}.advertisedPort"), violations);
            }
        }
        if self.networking.port != 0
            && self.admin_port() == self.networking.port
            && self.networking.address.starts_with("127.")
        {
            violations.add(format!("{root}.admin.port"), "is also the port of the ingress");
        }
    }
}
