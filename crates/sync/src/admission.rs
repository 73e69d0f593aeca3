//! Whether the global stores what a zone sends: as critical as with a user's write, for a zone can be wrong, old or in
//! the hands of someone else.

use std::net::IpAddr;
use std::sync::Arc;

use meshspan_model::document::MAX_DOCUMENT;
use meshspan_model::kinds::mesh_external_service::MeshExternalServiceStatus;
use meshspan_model::kinds::mesh_multi_zone_service::MeshMultiZoneServiceStatus;
use meshspan_model::kinds::mesh_service::{Address, MeshServiceStatus, Vip};
use meshspan_model::{Kind, Resource, ResourceKey, ServiceKind, labels, name};
use meshspan_store::Snapshot;
use serde_json::Value;

use crate::outgoing::proxy_zone;

/// Most resources of one kind that a zone may have.
pub(crate) const MAX_OF_KIND: usize = 100_000;
/// Most labels of one resource.
const MAX_LABELS: usize = 128;

/// Says why an address is no virtual IP of a kind of service; the server gives it, as ranges are settings.
pub type CheckVip = Arc<dyn Fn(Kind, IpAddr) -> Result<(), String> + Send + Sync>;

/// Why a resource is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its mesh is unknown here; should it be created, the resource may come again.
    MissingMesh(String),
    /// It is wrong.
    Invalid(String),
}

/// Checks a resource that `zone` sent in `size` bytes, before it is marked as the zone's.
pub(crate) fn check(
    received: &Resource,
    size: usize,
    zone: &str,
    snapshot: &Snapshot,
    check_vip: &CheckVip,
) -> Result<(), Refusal> {
    if size > MAX_DOCUMENT {
        return Err(Refusal::Invalid(format!(
            "has {size} bytes, at most {MAX_DOCUMENT} are taken"
        )));
    }
    check_labels(received)
        .and_then(|()| check_owner(received, zone))
        .and_then(|()| check_name(received, zone))
        .and_then(|()| check_status(received, check_vip))
        .map_err(Refusal::Invalid)?;
    if received.kind.is_mesh_scoped()
        && snapshot
            .get(&ResourceKey::new(Kind::Mesh, "", received.mesh.as_str()))
            .is_none()
    {
        return Err(Refusal::MissingMesh(received.mesh.clone()));
    }
    Ok(())
}

fn check_labels(received: &Resource) -> Result<(), String> {
    if received.labels.len() > MAX_LABELS {
        return Err(format!(
            "has {} labels, at most {MAX_LABELS} are taken",
            received.labels.len()
        ));
    }
    for (key, value) in &received.labels {
        // A display name is the name of a resource, which may be longer than other values.
        let checked = if key == labels::DISPLAY_NAME {
            name::check_mesh_reference(value)
        } else {
            name::check_label_key(key).and_then(|()| name::check_label_value(value))
        };
        checked.map_err(|reason| format!("labels[{key:?}]: {reason}"))?;
    }
    match received.labels.get(labels::MESH) {
        Some(mesh) if received.kind.is_mesh_scoped() && *mesh != received.mesh => Err(format!(
            "labels[\"{}\"]: is \"{mesh}\", must be the mesh of the resource, \"{}\"",
            labels::MESH,
            received.mesh
        )),
        _ => Ok(()),
    }
}

/// A zone speaks only for itself; what is not said is filled in.
fn check_owner(received: &Resource, zone: &str) -> Result<(), String> {
    let claims = [
        (
            format!("labels[\"{}\"]", labels::ORIGIN),
            received.label(labels::ORIGIN),
            labels::ORIGIN_ZONE,
        ),
        (
            format!("labels[\"{}\"]", labels::ZONE),
            received.label(labels::ZONE),
            zone,
        ),
        ("zone".to_owned(), zone_in_spec(received), zone),
    ];
    for (field, claimed, expected) in claims {
        if !["", expected].contains(&claimed) {
            return Err(format!(
                "{field}: is \"{claimed}\", must be \"{expected}\" from zone \"{zone}\""
            ));
        }
    }
    Ok(())
}

/// The zone that a resource says it is of, beside its labels; "" if it says none.
fn zone_in_spec(received: &Resource) -> &str {
    match received.kind {
        Kind::MeshMultiZoneServiceInsight => {
            let zone = received.spec.get("zone").and_then(Value::as_str);
            zone.unwrap_or_default()
        }
        _ => proxy_zone(received),
    }
}

/// A name that belongs to a resource of another zone would keep that one away.
fn check_name(received: &Resource, zone: &str) -> Result<(), String> {
    let namespace = received.labels.get(labels::NAMESPACE).map(String::as_str);
    let expected = name::synced(&received.mesh, received.display_name(), Some(zone), namespace);
    if received.name == expected {
        return Ok(());
    }
    Err(format!(
        "name: must be \"{expected}\", as follows from mesh, labels[\"{}\"], zone \"{zone}\" and labels[\"{}\"]",
        labels::DISPLAY_NAME,
        labels::NAMESPACE
    ))
}

fn check_status(received: &Resource, check_vip: &CheckVip) -> Result<(), String> {
    // What a zone makes of a service of several zones is the payload of a kind of its own.
    let (kind, status) = match received.kind {
        Kind::MeshMultiZoneServiceInsight => (Kind::MeshMultiZoneService, received.spec.get("status")),
        kind => (kind, received.status.as_ref()),
    };
    let Some(status) = status else {
        return Ok(());
    };
    if !status.is_object() {
        return Err("status: must be an object".to_owned());
    }
    let Some(service) = kind.service() else {
        return Ok(());
    };
    let unreadable = |error: serde_json::Error| format!("status: {error}");
    let numbered = |vips: Vec<Vip>| -> Vec<(String, Vip)> {
        let vips = vips.into_iter().enumerate();
        vips.map(|(index, vip)| (format!("vips[{index}]"), vip)).collect()
    };
    let (addresses, vips) = match service {
        ServiceKind::MeshService => {
            let status: MeshServiceStatus = serde_json::from_value(status.clone()).map_err(unreadable)?;
            (status.addresses, numbered(status.vips))
        }
        ServiceKind::MeshMultiZoneService => {
            let status: MeshMultiZoneServiceStatus = serde_json::from_value(status.clone()).map_err(unreadable)?;
            (status.addresses, numbered(status.vips))
        }
        ServiceKind::MeshExternalService => {
            let status: MeshExternalServiceStatus = serde_json::from_value(status.clone()).map_err(unreadable)?;
            // A service has none until its zone gave it one.
            let vip = Some(status.vip).filter(|vip| !vip.ip.is_empty());
            (
                status.addresses,
                vip.map(|vip| ("vip".to_owned(), vip)).into_iter().collect(),
            )
        }
    };
    for (index, Address { hostname, .. }) in addresses.iter().enumerate() {
        name::check_subdomain(hostname).map_err(|reason| format!("status.addresses[{index}].hostname: {reason}"))?;
    }
    for (field, Vip { ip }) in &vips {
        let checked = match ip.parse() {
            Ok(address) => check_vip(kind, address),
            Err(_) => Err("must be an IP address".to_owned()),
        };
        checked.map_err(|reason| format!("status.{field}.ip: is {ip:?}, {reason}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use futures::FutureExt as _;
    use meshspan_store::{MemoryStore, Store as _, Write};
    use serde_json::json;

    use super::*;

    fn service(mesh: &str) -> Resource {
        Resource::new(Kind::MeshService, mesh, "redis", json!({"state": "Available"}))
    }

    fn any_vip() -> CheckVip {
        Arc::new(|_, _| Ok(()))
    }

    /// As a zone sends it.
    fn named(mut resource: Resource) -> Resource {
        let display_name = resource.display_name().to_owned();
        let namespace = resource.labels.get(labels::NAMESPACE).map(String::as_str);
        resource.name = name::synced(&resource.mesh, &display_name, Some("west"), namespace);
        resource.with_label(labels::DISPLAY_NAME, display_name.as_str())
    }

    #[test]
    fn a_name_must_be_the_zones_own() {
        let store = MemoryStore::new();
        let mesh = Resource::new(Kind::Mesh, "", "default", json!({}));
        store.apply(vec![Write::create(mesh)]).now_or_never().unwrap().unwrap();
        let check = |resource: &Resource| check(resource, 100, "west", &store.snapshot(), &any_vip());
        let own = named(service("default"));
        let in_namespace = named(service("default").with_label(labels::NAMESPACE, "cache"));
        assert_eq!((check(&own), check(&in_namespace)), (Ok(()), Ok(())));
        let renamed = |name: &str| Resource {
            name: name.to_owned(),
            ..own.clone()
        };
        for resource in [
            renamed("redis"),
            renamed(&in_namespace.name),
            renamed(&name::synced("default", "redis", Some("east"), None)),
            renamed(&name::synced("default", "redis", None, None)),
            own.clone().with_label(labels::DISPLAY_NAME, "db"),
            own.clone().with_label(labels::NAMESPACE, "cache"),
            service("default"),
        ] {
            let refused = check(&resource);
            assert!(
                matches!(&refused, Err(Refusal::Invalid(reason)) if reason.starts_with("name: must be \"")),
                "{resource:?}: {refused:?}"
            );
        }
    }

    #[test]
    fn what_no_user_could_write_is_refused_with_the_field() {
        let store = MemoryStore::new();
        let mesh = Resource::new(Kind::Mesh, "", "default", json!({}));
        store.apply(vec![Write::create(mesh)]).now_or_never().unwrap().unwrap();
        let snapshot = store.snapshot();
        let with_status = |status| Resource {
            status: Some(status),
            ..service("default")
        };
        let own_vips: CheckVip = Arc::new(|kind, address| match (kind, address.to_string().starts_with("241.")) {
            (Kind::MeshService, true) | (Kind::MeshMultiZoneService | Kind::MeshExternalService, false) => Ok(()),
            _ => Err("must be another one".to_owned()),
        });
        let view = |zone: &str, address: &str| {
            let spec = json!({"zone": zone, "status": {"vips": [{"ip": address}]}});
            Resource::new(Kind::MeshMultiZoneServiceInsight, "default", "redis", spec)
        };
        let many = (0..=MAX_LABELS).fold(service("default"), |service, index| {
            service.with_label(&format!("l{index}"), "")
        });
        let long = "n".repeat(200);
        let ingress = |zone: &str| Resource::new(Kind::ZoneIngress, "", "ingress", json!({"zone": zone}));
        let egress = |zone: &str| Resource::new(Kind::ZoneEgress, "", "egress", json!({"zone": zone}));
        let external = |status| Resource {
            status: Some(status),
            ..Resource::new(
                Kind::MeshExternalService,
                "default",
                "bank",
                json!({"match": {"port": 443}}),
            )
        };
        for (resource, complaint) in [
            (service("default"), ""),
            (
                service("default")
                    .with_label(labels::ZONE, "west")
                    .with_label(labels::ORIGIN, "zone"),
                "",
            ),
            (service("default").with_label(labels::DISPLAY_NAME, long.as_str()), ""),
            (
                with_status(
                    json!({"tls": {}, "vips": [{"ip": "241.0.0.1"}], "addresses": [{"hostname": "redis.mesh"}]}),
                ),
                "",
            ),
            (ingress(""), ""),
            (ingress("west"), ""),
            (ingress("east"), "zone: is \"east\""),
            (egress(""), ""),
            (egress("west"), ""),
            (egress("east"), "zone: is \"east\""),
            (external(json!({})), ""),
            (external(json!({"vip": {}})), ""),
            (
                external(json!({"vip": {"ip": "242.0.0.1"}, "addresses": [{"hostname": "bank.extsvc"}]})),
                "",
            ),
            (external(json!({"vip": {"ip": "evil"}})), "status.vip.ip: is \"evil\""),
            (external(json!({"vip": [1]})), "status: "),
            (
                external(json!({"vip": {"ip": "241.0.0.1"}})),
                "status.vip.ip: is \"241.0.0.1\", must be another one",
            ),
            (
                external(json!({"addresses": [{"hostname": "a b"}]})),
                "status.addresses[0].hostname",
            ),
            (view("west", "243.0.0.1"), ""),
            (view("east", "243.0.0.1"), "zone: is \"east\""),
            (
                view("west", "241.0.0.1"),
                "status.vips[0].ip: is \"241.0.0.1\", must be another one",
            ),
            (
                with_status(json!({"vips": [{"ip": "243.0.0.1"}]})),
                "status.vips[0].ip: is \"243.0.0.1\", must be another one",
            ),
            (
                service("default").with_label(labels::ZONE, "east"),
                "labels[\"kuma.io/zone\"]: is \"east\"",
            ),
            (
                service("default").with_label(labels::ORIGIN, "global"),
                "labels[\"kuma.io/origin\"]: is \"global\"",
            ),
            (
                service("default").with_label(labels::MESH, "other"),
                "labels[\"kuma.io/mesh\"]: is \"other\"",
            ),
            (service("default").with_label("a b\n", "x"), "labels[\"a b\\n\"]"),
            (service("default").with_label("a", long.as_str()), "labels[\"a\"]"),
            (many, "labels, at most"),
            (with_status(json!(["x"])), "status: must be an object"),
            (with_status(json!({"dataplaneProxies": 3})), "status: "),
            (with_status(json!({"vips": [{"ip": "evil"}]})), "status.vips[0].ip"),
            (
                with_status(json!({"addresses": [{"hostname": "a b"}]})),
                "status.addresses[0].hostname",
            ),
        ] {
            match check(&named(resource.clone()), 100, "west", &snapshot, &own_vips) {
                Ok(()) => assert_eq!(complaint, "", "{resource:?}"),
                Err(Refusal::Invalid(reason)) => {
                    assert!(
                        !complaint.is_empty() && reason.contains(complaint),
                        "{complaint}: {reason}"
                    );
                }
                Err(refusal) => panic!("{refusal:?}"),
            }
        }
        assert_eq!(
            check(&named(service("unknown")), 100, "west", &snapshot, &own_vips),
            Err(Refusal::MissingMesh("unknown".to_owned()))
        );
        assert!(matches!(
            check(&service("default"), MAX_DOCUMENT + 1, "west", &snapshot, &own_vips),
            Err(Refusal::Invalid(reason)) if reason.contains("bytes")
        ));
    }
}
