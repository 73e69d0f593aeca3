//! ZoneEgress (`spec/resources.md` §2.4).

use serde::{Deserialize, Serialize};

use super::dataplane::{Admin, DEFAULT_ADMIN_PORT, check_dial_address};
use super::{Spec, check_port, number};
use crate::kind::Kind;
use crate::violation::Violations;

/// `kuma.io/service` of zone egresses, in the certificates that they show in every mesh.
pub const EGRESS_SERVICE: &str = "zone-egress";

/// The proxy through which a zone is left: to services outside the mesh, and to other zones where the mesh says so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneEgress {
    /// Its zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Addresses and ports.
    pub networking: Networking,
}

/// `networking`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Networking {
    /// Where Envoy listens and the proxies of the zone dial.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Where Envoy listens and the proxies of the zone dial.
    #[serde(deserialize_with = "number::u32")]
    pub port: u32,
    /// Envoy's admin interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
}

impl ZoneEgress {
    /// Where the proxies of its zone dial, if they can.
    pub fn address(&self) -> Option<(&str, u32)> {
        let Networking { address, port, .. } = &self.networking;
        (!address.is_empty() && *port != 0).then_some((address.as_str(), *port))
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

impl Spec for ZoneEgress {
    const KIND: Kind = Kind::ZoneEgress;

    fn validate(&self, root: &str, violations: &mut Violations) {
        let root = format!("{root}networking");
        let Networking { address, port, .. } = &self.networking;
        check_port(*port, format!("{root}.port"), violations);
        if !address.is_empty() {
            check_dial_address(address, &format!("{root}.address"), violations);
        }
        if *port != 0 && self.admin_port() == *port && address.starts_with("127.") {
            violations.add(format!("{root}.admin.port"), "is also the port of the egress");
        }
    }
}
