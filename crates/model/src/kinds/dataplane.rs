//! Dataplane (`spec/resources.md` §2.2).

mod conflicts;
mod legacy;
mod own_listeners;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::zone_egress::EGRESS_SERVICE;
use super::{Spec, check_port, is_default, number};
use crate::duration::GoDuration;
use crate::kind::Kind;
use crate::labels::{TAG_PROTOCOL, TAG_SERVICE};
use crate::violation::Violations;

pub mod limits;

/// A data plane proxy and the workload behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dataplane {
    /// Addresses and ports.
    pub networking: Networking,
    /// Legacy Prometheus override, kept as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Value>,
    /// Deprecated virtual probes, kept as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<Value>,
}

/// `networking`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Networking {
    /// Where Envoy listens: IP or DNS name.
    pub address: String,
    /// Where others dial, if different.
    #[serde(alias = "advertised_address", skip_serializing_if = "String::is_empty")]
    pub advertised_address: String,
    /// Ports of the workload.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inbound: Vec<Inbound>,
    /// Explicit destinations, without transparent proxying.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outbound: Vec<Outbound>,
    /// Present on gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// Present when traffic is intercepted.
    #[serde(alias = "transparent_proxying", skip_serializing_if = "Option::is_none")]
    pub transparent_proxying: Option<TransparentProxying>,
    /// Envoy's admin interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
}

/// One port of the workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Inbound {
    /// Referred to by MeshService `targetPort` and policies.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The port that others dial.
    #[serde(deserialize_with = "number::u32")]
    pub port: u32,
    /// The application's port; 0 means `port`.
    #[serde(
        alias = "service_port",
        skip_serializing_if = "is_default",
        deserialize_with = "number::u32"
    )]
    pub service_port: u32,
    /// The application's address; empty means the inbound's.
    #[serde(alias = "service_address", skip_serializing_if = "String::is_empty")]
    pub service_address: String,
    /// The listener's address; empty means `networking.address`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Tags; `kuma.io/service` is required.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Whether the workload answers.
    #[serde(skip_serializing_if = "is_default")]
    pub state: InboundState,
    /// Legacy twin of `state`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<InboundHealth>,
    /// How the agent finds out whether the workload answers.
    #[serde(alias = "service_probe", skip_serializing_if = "Option::is_none")]
    pub service_probe: Option<ServiceProbe>,
}

/// State of an inbound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InboundState {
    /// Takes traffic.
    #[default]
    Ready,
    /// Takes no traffic.
    NotReady,
    /// Selected by no service.
    Ignored,
}

/// Legacy twin of [`InboundState`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InboundHealth {
    /// Takes traffic.
    pub ready: bool,
}

/// A probe of the workload; its presence makes the inbound start `NotReady`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceProbe {
    /// Time between probes; default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// Time for one probe; default 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// Failures in a row until not ready; default 1.
    #[serde(
        alias = "unhealthy_threshold",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "number::option_u32"
    )]
    pub unhealthy_threshold: Option<u32>,
    /// Successes in a row until ready; default 1.
    #[serde(
        alias = "healthy_threshold",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "number::option_u32"
    )]
    pub healthy_threshold: Option<u32>,
    /// A TCP connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpProbe>,
}

/// `serviceProbe.tcp`, always empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpProbe {}

/// One explicit destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Outbound {
    /// Where Envoy listens for the application; empty means 127.0.0.1.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Where Envoy listens for the application.
    #[serde(deserialize_with = "number::u32")]
    pub port: u32,
    /// The destination.
    #[serde(alias = "backend_ref", skip_serializing_if = "Option::is_none")]
    pub backend_ref: Option<OutboundBackendRef>,
    /// Legacy destination.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A destination of an explicit outbound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutboundBackendRef {
    /// `MeshService`, `MeshExternalService` or `MeshMultiZoneService`.
    pub kind: String,
    /// Display name in the proxy's mesh; in its own zone and namespace for MeshServices.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Labels that all must match; the oldest match wins.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Port of the destination.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "number::u32")]
    pub port: u32,
}

/// `networking.gateway`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gateway {
    /// Tags; `kuma.io/service` is required.
    pub tags: BTreeMap<String, String>,
    /// Delegated (default) or built in.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub gateway_type: GatewayType,
}

/// Type of a gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GatewayType {
    /// A third-party gateway beside the proxy.
    #[default]
    Delegated,
    /// Envoy is the gateway.
    Builtin,
}

/// `networking.transparentProxying`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TransparentProxying {
    /// Port to which inbound traffic is redirected.
    #[serde(
        alias = "redirect_port_inbound",
        skip_serializing_if = "is_default",
        deserialize_with = "number::u32"
    )]
    pub redirect_port_inbound: u32,
    /// Port to which outbound traffic is redirected.
    #[serde(
        alias = "redirect_port_outbound",
        skip_serializing_if = "is_default",
        deserialize_with = "number::u32"
    )]
    pub redirect_port_outbound: u32,
    /// IP families that are intercepted.
    #[serde(alias = "ip_family_mode", skip_serializing_if = "is_default")]
    pub ip_family_mode: IpFamilyMode,
    /// Legacy services reached by instance address.
    #[serde(alias = "direct_access_services", skip_serializing_if = "Vec::is_empty")]
    pub direct_access_services: Vec<String>,
    /// Legacy services that may be reached.
    #[serde(alias = "reachable_services", skip_serializing_if = "Vec::is_empty")]
    pub reachable_services: Vec<String>,
    /// Destinations that may be reached; absent means all.
    #[serde(alias = "reachable_backends", skip_serializing_if = "Option::is_none")]
    pub reachable_backends: Option<ReachableBackends>,
}

/// IP families of interception.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpFamilyMode {
    /// As `DualStack`.
    #[default]
    UnSpecified,
    /// Both families.
    DualStack,
    /// IPv4 only.
    IPv4,
    /// IPv6 only.
    IPv6,
}

/// `reachableBackends`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReachableBackends {
    /// The destinations.
    pub refs: Vec<ReachableBackendRef>,
}

/// One reachable destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReachableBackendRef {
    /// `MeshService`, `MeshExternalService` or `MeshMultiZoneService`.
    pub kind: String,
    /// Display name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Kubernetes namespace; needs `name`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Port; absent means all.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "number::option_u32")]
    pub port: Option<u32>,
    /// Labels that all must match; instead of `name`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// `networking.admin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Admin {
    /// Port on loopback; 0 means 9901.
    #[serde(deserialize_with = "number::u32")]
    pub port: u32,
}

/// Protocols that `kuma.io/protocol` and `appProtocol` may name.
pub const PROTOCOLS: &[&str] = &["grpc", "http", "http2", "kafka", "tcp", "tls"];

/// Default port of Envoy's admin interface.
pub const DEFAULT_ADMIN_PORT: u32 = 9901;

impl Dataplane {
    /// The address that others dial.
    pub fn dial_address(&self) -> &str {
        match self.networking.advertised_address.as_str() {
            "" => &self.networking.address,
            advertised => advertised,
        }
    }

    /// Port of Envoy's admin interface.
    pub fn admin_port(&self) -> u32 {
        self.networking
            .admin
            .map(|admin| admin.port)
            .filter(|port| *port != 0)
            .unwrap_or(DEFAULT_ADMIN_PORT)
    }

    /// All tags of all inbounds and of the gateway, each with its values.
    pub fn tags(&self) -> BTreeMap<String, std::collections::BTreeSet<String>> {
        let mut all: BTreeMap<String, std::collections::BTreeSet<String>> = BTreeMap::new();
        let inbounds = self.networking.inbound.iter().map(|inbound| &inbound.tags);
        for (key, value) in inbounds
            .chain(self.networking.gateway.iter().map(|gateway| &gateway.tags))
            .flatten()
        {
            all.entry(key.clone()).or_default().insert(value.clone());
        }
        all
    }
}

impl Inbound {
    /// The service tag, or "".
    pub fn service(&self) -> &str {
        self.tags.get(TAG_SERVICE).map_or("", String::as_str)
    }

    /// The protocol tag, `tcp` by default.
    pub fn protocol(&self) -> &str {
        self.tags.get(TAG_PROTOCOL).map_or("tcp", String::as_str)
    }

    /// The application's port.
    pub fn workload_port(&self) -> u32 {
        if self.service_port == 0 {
            self.port
        } else {
            self.service_port
        }
    }

    /// Name of the section: the inbound's name, else its port.
    pub fn section(&self) -> String {
        if self.name.is_empty() {
            self.port.to_string()
        } else {
            self.name.clone()
        }
    }

    /// True if it takes traffic: `state` Ready and `health` not false.
    pub fn is_ready(&self) -> bool {
        self.state == InboundState::Ready && self.health.is_none_or(|health| health.ready)
    }
}

/// Why no MeshService is generated for a value of `kuma.io/service`, with the remedy; `None` if one is, or for no value.
pub fn names_no_service(service: &str) -> Option<String> {
    (!service.is_empty() && crate::name::check_label(service).is_err()).then(|| {
        format!(
            "{TAG_SERVICE} \"{service}\" cannot be the name of a MeshService, so none is made for it: use lower case letters, digits \
             and '-', at most 63, or write a MeshService whose spec.selector.dataplaneTags has this value"
        )
    })
}

impl Spec for Dataplane {
    const KIND: Kind = Kind::Dataplane;

    fn warn(&self, root: &str, warnings: &mut Vec<String>) {
        for (index, inbound) in self.networking.inbound.iter().enumerate() {
            if let Some(problem) = names_no_service(inbound.service()) {
                warnings.push(format!("{root}networking.inbound[{index}].tags: {problem}"));
            }
        }
        if self.networking.transparent_proxying.is_some() && !self.networking.outbound.is_empty() {
            warnings.push(format!(
                "{root}networking.outbound: is ignored beside networking.transparentProxying, which reaches every destination"
            ));
        }
    }

    fn validate(&self, root: &str, violations: &mut Violations) {
        let networking = &self.networking;
        let root = format!("{root}networking");
        check_dial_address(&networking.address, &format!("{root}.address"), violations);
        if !networking.advertised_address.is_empty() {
            check_dial_address(
                &networking.advertised_address,
                &format!("{root}.advertisedAddress"),
                violations,
            );
        }
        if networking.inbound.is_empty() && networking.gateway.is_none() {
            violations.add(&root, "must have at least one inbound, or be a gateway");
        }
        limits::check(self, &root, violations);
        for (index, inbound) in networking.inbound.iter().enumerate().take(limits::MAX_INBOUNDS) {
            self.validate_inbound(inbound, &format!("{root}.inbound[{index}]"), violations);
        }
        for (index, outbound) in networking.outbound.iter().enumerate().take(limits::MAX_OUTBOUNDS) {
            validate_outbound(outbound, &format!("{root}.outbound[{index}]"), violations);
        }
        if let Some(gateway) = &networking.gateway {
            if !networking.inbound.is_empty() {
                violations.add(format!("{root}.gateway"), "a gateway cannot have inbounds");
            }
            if gateway.gateway_type == GatewayType::Builtin && !networking.outbound.is_empty() {
                violations.add(format!("{root}.gateway"), "a built-in gateway cannot have outbounds");
            }
            let tags = format!("{root}.gateway.tags");
            validate_tags(&gateway.tags, &tags, violations);
            if let Some(protocol) = gateway.tags.get(TAG_PROTOCOL).filter(|protocol| *protocol != "tcp") {
                violations.add(
                    format!("{tags}[\"{TAG_PROTOCOL}\"]"),
                    format!("is \"{protocol}\", must be tcp, or absent: a gateway speaks for itself"),
                );
            }
        }
        legacy::check(self, violations);
        if let Some(transparent) = &networking.transparent_proxying {
            let path = format!("{root}.transparentProxying");
            for (port, name) in [
                (transparent.redirect_port_inbound, "redirectPortInbound"),
                (transparent.redirect_port_outbound, "redirectPortOutbound"),
            ] {
                if port > 65535 {
                    violations.add(format!("{path}.{name}"), format!("is {port}, must be at most 65535"));
                }
            }
            for (index, reference) in transparent
                .reachable_backends
                .iter()
                .flat_map(|backends| &backends.refs)
                .enumerate()
            {
                let path = format!("{path}.reachableBackends.refs[{index}]");
                if reference.name.is_empty() == reference.labels.is_empty() {
                    violations.add(&path, "must have either a name or labels");
                }
                if !reference.namespace.is_empty() && reference.name.is_empty() {
                    violations.add(format!("{path}.namespace"), "needs a name");
                }
                check_backend_kind(&reference.kind, &format!("{path}.kind"), violations);
            }
        }
        let admin = self.admin_port();
        if admin > 65535 {
            violations.add(
                format!("{root}.admin.port"),
                format!("is {admin}, must be at most 65535"),
            );
        }
        let collides =
            |address: &str, port: u32| port == admin && address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let inbound = networking
            .inbound
            .iter()
            .any(|inbound| collides(self.inbound_address(inbound), inbound.port));
        let outbound = networking
            .outbound
            .iter()
            .any(|outbound| collides(outbound.listen_address(), outbound.port));
        if inbound || outbound {
            violations.add(
                format!("{root}.admin.port"),
                format!("{admin} is also the port of an inbound or outbound on loopback"),
            );
        }
    }
}

impl Outbound {
    /// Where Envoy listens.
    pub fn listen_address(&self) -> &str {
        if self.address.is_empty() {
            "127.0.0.1"
        } else {
            &self.address
        }
    }
}

impl Dataplane {
    /// The address of an inbound's listener.
    pub fn inbound_address<'a>(&'a self, inbound: &'a Inbound) -> &'a str {
        if inbound.address.is_empty() {
            &self.networking.address
        } else {
            &inbound.address
        }
    }

    /// Where peers dial an inbound, as IP or DNS name: the advertised address before all others (`spec/measured.md`), and
    /// `networking.address` for one that listens on all addresses.
    pub fn peer_address<'a>(&'a self, inbound: &'a Inbound) -> &'a str {
        let is_of_all = |address: &str| {
            address
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.to_canonical().is_unspecified())
        };
        if !self.networking.advertised_address.is_empty() {
            &self.networking.advertised_address
        } else if inbound.address.is_empty() || is_of_all(&inbound.address) {
            &self.networking.address
        } else {
            &inbound.address
        }
    }

    fn validate_inbound(&self, inbound: &Inbound, path: &str, violations: &mut Violations) {
        check_port(inbound.port, format!("{path}.port"), violations);
        if inbound.service_port > 65535 {
            violations.add(
                format!("{path}.servicePort"),
                format!("is {}, must be at most 65535", inbound.service_port),
            );
        }
        for (address, field) in [
            (&inbound.address, "address"),
            (&inbound.service_address, "serviceAddress"),
        ] {
            check_listen_address(address, &format!("{path}.{field}"), violations);
        }
        if !inbound.service_address.is_empty()
            && inbound.service_address == self.inbound_address(inbound)
            && inbound.workload_port() == inbound.port
        {
            violations.add(
                format!("{path}.serviceAddress"),
                "with servicePort is the address and port on which Envoy listens itself",
            );
        }
        validate_tags(&inbound.tags, &format!("{path}.tags"), violations);
        if let Some(probe) = &inbound.service_probe {
            let path = format!("{path}.serviceProbe");
            for (duration, field) in [(probe.interval, "interval"), (probe.timeout, "timeout")] {
                if duration.is_some_and(|duration| duration.0.is_zero()) {
                    violations.add(format!("{path}.{field}"), "must be positive");
                }
            }
            for (threshold, field) in [
                (probe.unhealthy_threshold, "unhealthyThreshold"),
                (probe.healthy_threshold, "healthyThreshold"),
            ] {
                if threshold == Some(0) {
                    violations.add(format!("{path}.{field}"), "must be positive");
                }
            }
        }
    }
}

fn validate_outbound(outbound: &Outbound, path: &str, violations: &mut Violations) {
    check_port(outbound.port, format!("{path}.port"), violations);
    check_listen_address(&outbound.address, &format!("{path}.address"), violations);
    match (&outbound.backend_ref, outbound.tags.is_empty()) {
        (Some(_), false) => violations.add(format!("{path}.backendRef"), "cannot stand beside tags"),
        (None, true) => violations.add(format!("{path}.backendRef"), "must be defined"),
        (None, false) => validate_tags(&outbound.tags, &format!("{path}.tags"), violations),
        (Some(backend), true) => {
            check_backend_kind(&backend.kind, &format!("{path}.backendRef.kind"), violations);
            if backend.name.is_empty() && backend.labels.is_empty() {
                violations.add(format!("{path}.backendRef"), "must have a name or labels");
            }
            if backend.kind != "MeshExternalService" || backend.port != 0 {
                check_port(backend.port, format!("{path}.backendRef.port"), violations);
            }
        }
    }
}

fn check_backend_kind(kind: &str, path: &str, violations: &mut Violations) {
    if !["MeshService", "MeshExternalService", "MeshMultiZoneService"].contains(&kind) {
        violations.add(
            path,
            format!("is \"{kind}\", must be MeshService, MeshExternalService or MeshMultiZoneService"),
        );
    }
}

fn validate_tags(tags: &BTreeMap<String, String>, path: &str, violations: &mut Violations) {
    if tags.get(TAG_SERVICE).is_none_or(String::is_empty) {
        violations.add(format!("{path}[\"{TAG_SERVICE}\"]"), "must be defined");
    }
    limits::check_tags(tags, path, violations);
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '/');
    let fits = |key: &str, value: &str| key.len().max(value.len()) <= limits::MAX_TAG_BYTES;
    for (key, value) in tags
        .iter()
        .take(limits::MAX_TAGS)
        .filter(|(key, value)| fits(key, value))
    {
        let path = format!("{path}[\"{key}\"]");
        if key.is_empty() || !key.chars().all(is_key) {
            violations.add(
                &path,
                "tag name must consist of letters, digits, '.', '-', '_', ':' and '/'",
            );
        }
        if key == TAG_SERVICE && value.is_empty() {
            continue;
        }
        if key == TAG_SERVICE && value == EGRESS_SERVICE {
            violations.add(&path, "is how zone egresses prove who they are, use another name");
            continue;
        }
        if value.is_empty() || !value.chars().all(|c| is_key(c) && c != '/') {
            violations.add(
                &path,
                format!("tag value \"{value}\" must consist of letters, digits, '.', '-', '_' and ':'"),
            );
        }
        if key == TAG_PROTOCOL && !PROTOCOLS.contains(&value.as_str()) {
            violations.add(
                &path,
                format!("unknown protocol \"{value}\", must be one of {}", PROTOCOLS.join(", ")),
            );
        }
    }
}

/// Checks an address on which Envoy or the application listens, if there is one.
fn check_listen_address(address: &str, path: &str, violations: &mut Violations) {
    let is_mapped = |ip: IpAddr| ip != ip.to_canonical() && ip.to_canonical().is_unspecified();
    match address.parse::<IpAddr>() {
        Err(_) if address.is_empty() => {}
        Err(_) => violations.add(path, format!("is \"{address}\", must be an IP address")),
        Ok(ip) if is_mapped(ip) => violations.add(
            path,
            format!("is \"{address}\", on which nothing can listen; write 0.0.0.0 or ::, or leave it out"),
        ),
        Ok(_) => {}
    }
}

/// Checks an address that others dial: an IP, not the unspecified one, or a DNS name.
pub(crate) fn check_dial_address(address: &str, path: &str, violations: &mut Violations) {
    match address.parse::<IpAddr>() {
        Ok(ip) if ip.to_canonical().is_unspecified() => {
            violations.add(path, format!("is {address}, must be an address that others can dial"))
        }
        Ok(_) => {}
        Err(_) if address.is_empty() => violations.add(path, "must be defined"),
        Err(_)
            if address.bytes().all(|b| b.is_ascii_digit() || b == b'.')
                || crate::name::check_subdomain(&address.to_ascii_lowercase()).is_err() =>
        {
            violations.add(path, format!("is \"{address}\", must be an IP address or a DNS name"));
        }
        Err(_) => {}
    }
}
