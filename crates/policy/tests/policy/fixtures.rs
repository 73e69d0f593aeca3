//! Policies, proxies and services in one line each.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshspan_model::policy::{PolicyKind, Role, check};
use meshspan_model::{Kind, Resource, ServiceIdentity, ServiceKind, Violations};
use meshspan_policy::{
    Effective, EffectivePolicies, ItemOrigin, Mode, Policy, PolicySet, Proxy, ProxyInbound, Service, ServicePort,
    Services,
};
use serde_json::Value;
use time::OffsetDateTime;

pub const ORIGIN: &str = "kuma.io/origin";
pub const ZONE: &str = "kuma.io/zone";
pub const NAMESPACE: &str = "k8s.kuma.io/namespace";
pub const DISPLAY_NAME: &str = "kuma.io/display-name";
pub const ROLE: &str = "kuma.io/policy-role";

pub fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub fn try_policy(kind: PolicyKind, name: &str, labels: &[(&str, &str)], spec: Value) -> Result<Policy, Violations> {
    // The engine takes the kind of policy as a value; that of the envelope plays no part in it.
    let mut resource = Resource::new(Kind::MeshTrafficPermission, "default", name, spec);
    resource.labels = map(labels);
    Policy::load(kind, Arc::new(resource))
}

pub fn policy(kind: PolicyKind, name: &str, labels: &[(&str, &str)], spec: Value) -> Policy {
    try_policy(kind, name, labels, spec).unwrap_or_else(|violations| panic!("{kind} {name}: {violations}"))
}

pub fn timeout(name: &str, labels: &[(&str, &str)], spec: Value) -> Policy {
    policy(PolicyKind::MeshTimeout, name, labels, spec)
}

pub fn set(policies: impl IntoIterator<Item = Policy>) -> PolicySet {
    let mut set = PolicySet::new();
    for policy in policies {
        set.insert(policy);
    }
    set
}

/// Violations of a document as `field: message`.
pub fn violations(kind: PolicyKind, spec: &Value) -> Vec<String> {
    violations_as(kind, spec, Role::System)
}

pub fn violations_as(kind: PolicyKind, spec: &Value, role: Role) -> Vec<String> {
    match check(kind, spec, role) {
        Ok(_) => Vec::new(),
        Err(violations) => violations
            .iter()
            .map(|violation| format!("{}: {}", violation.field, violation.message))
            .collect(),
    }
}

pub fn proxy(labels: &[(&str, &str)]) -> Proxy {
    Proxy {
        mesh: "default".to_owned(),
        name: "web-1".to_owned(),
        labels: map(labels),
        gateway: None,
        inbounds: vec![inbound("http", 8080, &[("kuma.io/service", "web"), ("version", "v1")])],
    }
}

pub fn inbound(name: &str, port: u32, tags: &[(&str, &str)]) -> ProxyInbound {
    ProxyInbound {
        name: name.to_owned(),
        port,
        tags: map(tags),
        ignored: false,
    }
}

pub fn identity(kind: ServiceKind, name: &str, zone: &str, namespace: &str) -> ServiceIdentity {
    ServiceIdentity {
        kind,
        mesh: "default".to_owned(),
        zone: zone.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

pub fn service(kind: ServiceKind, name: &str, zone: &str, ports: &[(&str, u32)]) -> Service {
    Service {
        identity: identity(kind, name, zone, ""),
        labels: BTreeMap::new(),
        ports: ports
            .iter()
            .map(|(name, port)| ServicePort {
                name: (*name).to_owned(),
                port: *port,
            })
            .collect(),
        creation_time: OffsetDateTime::UNIX_EPOCH,
    }
}

/// `redis` in zones east and west, and `checkout` of both.
pub fn services() -> Services {
    let mut services = Services::new();
    for zone in ["east", "west"] {
        services.insert(service(
            ServiceKind::MeshService,
            "redis",
            zone,
            &[("", 6379), ("metrics", 9090)],
        ));
    }
    services.insert(service(
        ServiceKind::MeshMultiZoneService,
        "checkout",
        "",
        &[("http", 8080), ("admin", 9000)],
    ));
    services
}

pub fn checkout() -> ServiceIdentity {
    identity(ServiceKind::MeshMultiZoneService, "checkout", "", "")
}

pub fn redis(zone: &str) -> ServiceIdentity {
    identity(ServiceKind::MeshService, "redis", zone, "")
}

pub fn effective(policies: impl IntoIterator<Item = Policy>) -> EffectivePolicies {
    EffectivePolicies::of(&proxy(&[(ZONE, "east")]), &set(policies), &services(), Mode::Live)
}

/// The conf for a destination; null if there is none.
pub fn conf(effective: Option<Effective>) -> Value {
    effective.map_or(Value::Null, |effective| effective.conf)
}

pub fn names<'a>(origins: impl Iterator<Item = &'a ItemOrigin>) -> Vec<String> {
    origins
        .map(|origin| format!("{} {}[{}]", origin.policy.name, origin.part.field(), origin.index))
        .collect()
}
