//! The documents with which proxies start, and the ones that every mesh of this crate begins with.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// The ports to which interception redirects.
const REDIRECT_INBOUND: u16 = 15006;
const REDIRECT_OUTBOUND: u16 = 15001;

/// A port of a workload.
#[derive(Debug, Clone)]
pub(super) struct Inbound<'a> {
    pub name: &'a str,
    pub port: u16,
    pub protocol: &'a str,
    pub service: &'a str,
    /// Where the application listens if it is not where others dial.
    pub service_address: Option<Ipv4Addr>,
    /// Whether an application is there to be probed.
    pub probed: bool,
}

/// An explicit destination of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Where its Envoy listens for it, on [`crate::Machine::private_address`].
    pub port: u16,
    /// Name of the MeshMultiZoneService.
    pub service: String,
    /// Port of the MeshMultiZoneService.
    pub service_port: u16,
}

/// A Dataplane.
pub(super) struct Dataplane<'a> {
    pub mesh: &'a str,
    pub name: &'a str,
    pub address: Ipv4Addr,
    pub labels: &'a BTreeMap<String, String>,
    pub inbounds: Vec<Inbound<'a>>,
    pub intercepted: bool,
    pub outbounds: &'a [Outbound],
    pub outbound_address: Ipv4Addr,
    pub admin_port: u16,
}

impl Dataplane<'_> {
    pub fn document(&self) -> Value {
        let inbounds: Vec<Value> = self.inbounds.iter().map(Inbound::document).collect();
        let outbound = |outbound: &Outbound| {
            json!({
                "address": self.outbound_address.to_string(),
                "port": outbound.port,
                "backendRef": { "kind": "MeshMultiZoneService", "name": outbound.service, "port": outbound.service_port },
            })
        };
        let outbounds: Vec<Value> = self.outbounds.iter().map(outbound).collect();
        let interception = json!({
            "redirectPortInbound": REDIRECT_INBOUND,
            "redirectPortOutbound": REDIRECT_OUTBOUND,
            "ipFamilyMode": "IPv4",
        });
        json!({
            "type": "Dataplane",
            "mesh": self.mesh,
            "name": self.name,
            "labels": self.labels,
            "networking": {
                "address": self.address.to_string(),
                "inbound": inbounds,
                "outbound": outbounds,
                "transparentProxying": self.intercepted.then_some(interception),
                "admin": { "port": self.admin_port },
            },
        })
    }
}

impl Inbound<'_> {
    fn document(&self) -> Value {
        json!({
            "name": self.name,
            "port": self.port,
            "serviceAddress": self.service_address.map(|address| address.to_string()).unwrap_or_default(),
            "tags": { "kuma.io/service": self.service, "kuma.io/protocol": self.protocol },
            // Often, so that the death of the application is seen fast.
            "serviceProbe": self.probed.then(|| json!({ "interval": "250ms", "timeout": "500ms", "tcp": {} })),
        })
    }
}

/// A ZoneIngress that other zones reach at its own address.
pub(super) fn zone_ingress(name: &str, address: Ipv4Addr, port: u16, admin_port: u16) -> Value {
    json!({
        "type": "ZoneIngress",
        "name": name,
        "networking": {
            "address": address.to_string(),
            "port": port,
            "advertisedAddress": address.to_string(),
            "advertisedPort": port,
            "admin": { "port": admin_port },
        },
    })
}

/// A ZoneEgress of which the proxies of its zone know the address.
pub(super) fn zone_egress(name: &str, address: Ipv4Addr, port: u16, admin_port: u16) -> Value {
    json!({
        "type": "ZoneEgress",
        "name": name,
        "networking": {
            "address": address.to_string(),
            "port": port,
            "admin": { "port": admin_port },
        },
    })
}

/// A mesh with mutual TLS between all zones.
pub(super) fn mesh(name: &str) -> Value {
    json!({
        "type": "Mesh",
        "name": name,
        "meshServices": { "mode": "Exclusive" },
        "mtls": { "enabledBackend": "ca-1", "backends": [{ "name": "ca-1", "type": "builtin" }] },
    })
}

/// Everyone of a mesh may talk to everyone.
pub(super) fn allow_all(mesh: &str) -> Value {
    json!({
        "type": "MeshTrafficPermission",
        "mesh": mesh,
        "name": "allow-all",
        "spec": { "targetRef": { "kind": "Mesh" }, "from": [{ "targetRef": { "kind": "Mesh" }, "default": { "action": "Allow" } }] },
    })
}
