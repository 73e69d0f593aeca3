//! What leaves the zone through its egresses: services outside the mesh, and other zones where the mesh says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use meshspan_model::kinds::presence::EGRESS;
use meshspan_model::{Kind, Resource, labels};
use meshspan_world::view::{Destination, EgressAccess, EgressRoute, External, Reach};
use serde_json::{Value, json};
use support::{Sim, doc, generator, mesh, policy, two_zones};

fn egress() -> Resource {
    doc("{type: ZoneEgress, name: egress-1, networking: {address: 10.1.0.9, port: 10002}}")
}

/// What is known of the egress when its Envoy listens.
fn serving() -> Resource {
    let presence = json!({ "presence": { "listeners": { "inbounds": [EGRESS] } } });
    Resource::new(Kind::ZoneEgressInsight, "", "egress-1", presence)
}

fn example(spec: Value) -> Resource {
    let mut all = json!({ "match": { "type": "HostnameGenerator", "port": 443, "protocol": "http" },
        "endpoints": [ { "address": "example.com", "port": 443 } ] });
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut resource = Resource::new(Kind::MeshExternalService, "default", "example", all);
    resource.labels.insert(labels::ORIGIN.into(), "global".into());
    resource
}

fn with_example(spec: Value) -> Sim {
    let mut sim = Sim::new();
    sim.put(mesh(true));
    sim.put(generator(
        "extsvc",
        "meshExternalService",
        "{{ .DisplayName }}.extsvc.mesh.local",
    ));
    sim.put(example(spec));
    sim.put(egress());
    sim.put(serving());
    sim.settle();
    sim
}

fn destination(sim: &Sim) -> &Destination {
    sim.destination(Kind::MeshExternalService, "example", "443")
}

fn external(sim: &Sim) -> &External {
    match &destination(sim).egress {
        Some(EgressRoute::External(external)) => external,
        other => panic!("{other:?}"),
    }
}

fn reasons(sim: &Sim, kind: Kind, name: &str) -> Vec<String> {
    let status = sim.get(kind, "default", name).status.clone().unwrap();
    let conditions = status["conditions"].as_array().unwrap().clone();
    let reason = |condition: &Value| condition["reason"].as_str().unwrap().to_owned();
    conditions.iter().map(reason).collect()
}

fn reaches(destination: &Destination) -> Vec<(Reach, Vec<String>)> {
    let localities = destination.localities.iter();
    localities
        .map(|locality| {
            let addresses = locality.endpoints.iter().map(|endpoint| endpoint.address.to_string());
            (locality.reach, addresses.collect())
        })
        .collect()
}

#[test]
fn a_service_outside_the_mesh_has_a_name_and_an_address_and_is_reached_through_the_egress() {
    let mut sim = with_example(json!({}));
    let status = sim
        .get(Kind::MeshExternalService, "default", "example")
        .status
        .clone()
        .unwrap();
    let vip = status["vip"]["ip"].as_str().unwrap().to_owned();
    assert!(vip.starts_with("242."), "{vip}");
    assert_eq!(status["addresses"][0]["hostname"], "example.extsvc.mesh.local");
    let names: Vec<_> = sim.view.dns["default"]
        .iter()
        .map(|(name, ips)| format!("{name} {}", ips[0]))
        .collect();
    assert_eq!(names, [format!("example.extsvc.mesh.local {vip}")]);
    assert_eq!(
        reaches(destination(&sim)),
        [(Reach::Egress, vec!["10.1.0.9".to_owned()])]
    );
    let tls = destination(&sim).tls.clone().unwrap();
    assert_eq!(
        tls.spiffe_ids,
        BTreeSet::from(["spiffe://default/zone-egress".to_owned()])
    );
    assert!(tls.sni.ends_with(".example.443.default.mes"), "{}", tls.sni);
    assert_eq!(external(&sim).access, EgressAccess::Everybody);
    assert_eq!(reasons(&sim, Kind::MeshExternalService, "example"), ["ZoneEgressKnown"]);

    sim.delete(Kind::ZoneEgressInsight, "", "egress-1");
    sim.settle();
    assert_eq!(reaches(destination(&sim)), [], "its Envoy does not listen");
    assert_eq!(reasons(&sim, Kind::MeshExternalService, "example"), ["NoZoneEgress"]);
    sim.put(serving());
    sim.put(mesh(false));
    sim.settle();
    assert_eq!(reaches(destination(&sim)), [], "egresses take mutual TLS only");
    assert_eq!(reasons(&sim, Kind::MeshExternalService, "example"), ["MtlsDisabled"]);

    sim.put(mesh(true));
    sim.put(example(json!({ "endpoints": [] })));
    sim.settle();
    assert_eq!(reasons(&sim, Kind::MeshExternalService, "example"), ["NoEndpoints"]);
    sim.delete(Kind::MeshExternalService, "default", "example");
    sim.settle();
    assert!(sim.view.destinations.is_empty() && sim.view.dns.is_empty());
}

#[test]
fn an_egress_of_another_zone_is_nobody_here() {
    let mut sim = with_example(json!({}));
    let mut foreign = egress();
    foreign.labels.insert(labels::ORIGIN.into(), "global".into());
    sim.put(foreign);
    sim.settle();
    assert_eq!(reaches(destination(&sim)), []);
}

#[test]
fn who_may_leave_is_said_by_permissions_for_egresses_else_by_the_mesh() {
    let mut sim = with_example(json!({}));
    let mut forbidding = mesh(true);
    forbidding.spec["routing"] = json!({ "defaultForbidMeshExternalServiceAccess": true });
    sim.put(forbidding);
    sim.put(support::allow_all());
    sim.settle();
    assert_eq!(
        external(&sim).access,
        EgressAccess::Nobody,
        "what is said of all proxies is not said of egresses"
    );
    let permission = |target: Value| {
        let from = json!([{ "targetRef": { "kind": "MeshSubset", "tags": { "kuma.io/service": "web" } },
            "default": { "action": "Allow" } }]);
        policy(
            Kind::MeshTrafficPermission,
            "web-leaves",
            json!({ "targetRef": target, "from": from }),
        )
    };
    for target in [
        json!({ "kind": "Dataplane", "labels": { "kuma.io/service": "zone-egress" } }),
        json!({ "kind": "MeshSubset", "tags": { "kuma.io/service": "zone-egress" } }),
    ] {
        sim.put(permission(target));
        sim.settle();
        assert!(matches!(external(&sim).access, EgressAccess::Permitted(_)));
    }
    sim.delete(Kind::MeshTrafficPermission, "default", "web-leaves");
    sim.settle();
    assert_eq!(external(&sim).access, EgressAccess::Nobody);
}

#[test]
fn certificates_follow_their_secrets() {
    let secret = |data: &str| Resource::new(Kind::Secret, "default", "example-ca", json!({ "data": data }));
    let mut sim = with_example(json!({ "tls": { "enabled": true,
        "verification": { "caCert": { "secret": "example-ca" } } } }));
    assert!(external(&sim).certificates.incomplete);
    assert_eq!(
        reasons(&sim, Kind::MeshExternalService, "example"),
        ["CertificateMissing"]
    );
    sim.put(secret("UEVN"));
    sim.settle();
    assert_eq!(external(&sim).certificates.ca.as_deref(), Some("PEM"));
    assert!(!format!("{:?}", external(&sim)).contains("PEM"), "not in logs");
    sim.put(secret("TkVX"));
    sim.settle();
    assert_eq!(external(&sim).certificates.ca.as_deref(), Some("NEW"));
    sim.delete(Kind::Secret, "default", "example-ca");
    sim.settle();
    assert!(external(&sim).certificates.incomplete);
}

#[test]
fn other_zones_are_reached_through_the_egress_where_the_mesh_says_so() {
    let mut sim = two_zones();
    let through_egress = |on: bool| {
        let mut mesh = mesh(true);
        mesh.spec["routing"] = json!({ "zoneEgress": on });
        mesh
    };
    sim.put(through_egress(true));
    sim.settle();
    let redis = |sim: &Sim| sim.destination(Kind::MeshMultiZoneService, "redis", "6379").clone();
    assert_eq!(reaches(&redis(&sim)), [(Reach::Direct, vec!["10.1.0.1".to_owned()])]);
    assert!(reasons(&sim, Kind::MeshMultiZoneService, "redis").contains(&"NoZoneEgress".to_owned()));
    sim.put(egress());
    sim.put(serving());
    sim.settle();
    let through = [
        (Reach::Direct, vec!["10.1.0.1".to_owned()]),
        (Reach::Egress, vec!["10.1.0.9".to_owned()]),
    ];
    assert_eq!(reaches(&redis(&sim)), through);
    let Some(EgressRoute::Zones(zones)) = redis(&sim).egress else {
        panic!("no way on")
    };
    assert_eq!(zones[0].zone, "west");
    assert_eq!(zones[0].endpoints[0].address.to_string(), "192.168.1.1");
    let single = sim.destination(Kind::MeshService, "redis", "6379");
    assert!(single.egress.is_none() || single.key.service.zone == "west");
    let conditions = reasons(&sim, Kind::MeshMultiZoneService, "redis");
    assert!(conditions.contains(&"AddressesKnown".to_owned()), "{conditions:?}");
    assert!(conditions.contains(&"ZoneEgressKnown".to_owned()), "{conditions:?}");
    sim.put(through_egress(false));
    sim.settle();
    assert_eq!(reaches(&redis(&sim))[1].0, Reach::Ingress);
}
