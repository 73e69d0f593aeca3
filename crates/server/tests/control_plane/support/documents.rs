//! The resources that tests are about.

use meshspan_model::{Kind, Resource, labels};
use serde_json::{Value, json};

use super::control_plane::ZONE;

/// Port of all test services.
pub const PORT: u16 = 6379;

/// A Dataplane behind transparent proxying: it reaches every destination.
pub fn dataplane(mesh: &str, name: &str, service: &str, address: &str) -> Value {
    json!({
        "type": "Dataplane", "mesh": mesh, "name": name,
        "networking": {
            "address": address,
            "transparentProxying": {"redirectPortInbound": 15006, "redirectPortOutbound": 15001},
            "inbound": [{"port": PORT, "tags": {"kuma.io/service": service}}],
        },
    })
}

/// The same with a probe: its agent says whether it is ready.
pub fn probed(mesh: &str, name: &str, service: &str, address: &str) -> Value {
    let mut document = dataplane(mesh, name, service, address);
    document["networking"]["inbound"][0]["serviceProbe"] = json!({"tcp": {}});
    document
}

/// The same with explicit outbounds to MeshMultiZoneServices instead of interception: (local port, name, port).
pub fn explicit(mesh: &str, name: &str, address: &str, outbounds: &[(u16, &str, u16)]) -> Value {
    let mut document = dataplane(mesh, name, name, address);
    let networking = document["networking"].as_object_mut().unwrap();
    networking.remove("transparentProxying");
    let outbounds: Vec<_> = outbounds
        .iter()
        .map(|(local, service, port)| {
            json!({"port": local, "backendRef": {"kind": "MeshMultiZoneService", "name": service, "port": port}})
        })
        .collect();
    networking.insert("outbound".into(), outbounds.into());
    document
}

pub fn ingress(name: &str) -> Value {
    json!({
        "type": "ZoneIngress", "name": name,
        "networking": {"address": "10.0.0.9", "port": 10001, "advertisedAddress": "192.0.2.9", "advertisedPort": 10001},
    })
}

/// A mesh, with a builtin CA whose certificates live for `lifetime`.
pub fn mesh_with_mtls(name: &str, lifetime: &str) -> Value {
    json!({
        "type": "Mesh", "name": name,
        "mtls": {"enabledBackend": "ca-1", "backends": [
            {"name": "ca-1", "type": "builtin", "dpCert": {"rotation": {"expiration": lifetime}}},
        ]},
    })
}

pub fn mesh(name: &str) -> Value {
    json!({"type": "Mesh", "name": name})
}

/// A MeshMultiZoneService of the services with the display name `selected`, as it comes from the global.
pub fn multi_zone_service(mesh: &str, name: &str, selected: &str, port: u16) -> Resource {
    Resource::new(
        Kind::MeshMultiZoneService,
        mesh,
        name,
        json!({
            "selector": {"meshService": {"matchLabels": {"kuma.io/display-name": selected}}},
            "ports": [{"port": port}],
        }),
    )
    .with_label(labels::ORIGIN, labels::ORIGIN_GLOBAL)
    .with_label(labels::DISPLAY_NAME, name)
}

/// A MeshService of another zone, as it comes from the global.
pub fn remote_service(mesh: &str, zone: &str, name: &str, state: &str) -> Resource {
    Resource::new(
        Kind::MeshService,
        mesh,
        format!("{name}-{zone}"),
        json!({
            "state": state,
            "ports": [{"port": PORT, "name": PORT.to_string()}],
            "identities": [{"type": "ServiceTag", "value": name}],
        }),
    )
    .with_label(labels::ORIGIN, labels::ORIGIN_GLOBAL)
    .with_label(labels::ZONE, zone)
    .with_label(labels::DISPLAY_NAME, name)
    .with_label(labels::ENV, "universal")
}

/// A ZoneIngress of another zone.
pub fn remote_ingress(zone: &str, address: &str) -> Resource {
    Resource::new(
        Kind::ZoneIngress,
        "",
        format!("ingress-{zone}"),
        json!({
            "zone": zone,
            "networking": {"address": "10.9.9.9", "port": 10001, "advertisedAddress": address, "advertisedPort": 10001},
        }),
    )
    .with_label(labels::ORIGIN, labels::ORIGIN_GLOBAL)
    .with_label(labels::ZONE, zone)
}

/// Names MeshMultiZoneServices `<name>.mzsvc.mesh.local`.
pub fn multi_zone_generator(template: &str) -> Resource {
    Resource::new(
        Kind::HostnameGenerator,
        "",
        "mzsvc",
        json!({"selector": {"meshMultiZoneService": {"matchLabels": {"kuma.io/origin": "global"}}}, "template": template}),
    )
    .with_label(labels::ORIGIN, labels::ORIGIN_GLOBAL)
}

/// Cluster, endpoints and listener of a MeshMultiZoneService's port.
pub fn multi_zone_cluster(mesh: &str, name: &str, port: u16) -> String {
    format!("kri_mzsvc_{mesh}___{name}_{port}")
}

/// Cluster, endpoints and listener of a generated MeshService.
pub fn cluster(mesh: &str, service: &str) -> String {
    format!("kri_msvc_{mesh}_{ZONE}__{service}_{PORT}")
}
