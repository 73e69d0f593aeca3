//! What a world derives from services, proxies and zones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::BTreeMap;

use meshspan_model::{Kind, ResourceKey, labels};
use meshspan_world::Write;
use meshspan_world::view::{Destination, OutboundRef};
use serde_json::{Value, json};
use support::*;
use time::Duration;

/// Zone, priority, and each endpoint's address and readiness.
type Shape = Vec<(String, u32, Vec<(String, bool)>)>;

fn shape(destination: &Destination) -> Shape {
    let endpoints = |locality: &meshspan_world::view::Locality| {
        locality
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.address.to_string(), endpoint.ready))
            .collect()
    };
    destination
        .localities
        .iter()
        .map(|locality| (locality.zone.clone(), locality.priority, endpoints(locality)))
        .collect()
}

#[test]
fn a_service_of_two_zones_gets_one_name_and_one_address() {
    let mut sim = two_zones();
    sim.put(allow_all());
    sim.settle();
    let status = sim
        .get(Kind::MeshMultiZoneService, "default", "redis")
        .status
        .clone()
        .unwrap();
    assert_eq!(status["addresses"][0]["hostname"], "redis.mzsvc.mesh.local");
    assert!(
        status["vips"][0]["ip"].as_str().unwrap().starts_with("243."),
        "{status}"
    );
    assert_eq!(
        status["meshServices"],
        json!([{"name": "redis", "namespace": "", "zone": "east", "mesh": "default"}, {"name": "redis", "namespace": "", "zone": "west", "mesh": "default"}])
    );
    let conditions: BTreeMap<_, _> = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["type"].as_str().unwrap(), c["status"].as_str().unwrap()))
        .collect();
    assert!(conditions.values().all(|status| *status == "True"), "{conditions:?}");
    let destination = sim.destination(Kind::MeshMultiZoneService, "redis", "6379");
    assert_eq!(
        shape(destination),
        [
            ("east".into(), 0, vec![("10.1.0.1".into(), true)]),
            ("west".into(), 1, vec![("192.168.1.1".into(), true)])
        ]
    );
    assert_eq!(
        destination.tls.as_ref().unwrap().spiffe_ids.iter().collect::<Vec<_>>(),
        ["spiffe://default/redis"]
    );
    let table = &sim.view.dns["default"];
    assert_eq!(table["redis.mzsvc.mesh.local"], [destination.vip.unwrap()]);
}

#[test]
fn a_generated_service_carries_state_identity_and_labels() {
    let mut sim = two_zones();
    let mut labelled = dataplane("redis-2", "redis", "10.1.0.2", "NotReady");
    labelled.labels.insert("team".into(), "core".into());
    sim.put(labelled);
    sim.settle();
    let service = sim.get(Kind::MeshService, "default", "redis");
    assert_eq!(service.spec["state"], "Available");
    assert_eq!(
        service.spec["identities"],
        json!([{"type": "ServiceTag", "value": "redis"}])
    );
    assert_eq!(service.zone(), "east");
    assert_eq!(service.label("team"), "core");
    assert_eq!(
        service.status.as_ref().unwrap()["dataplaneProxies"],
        json!({"healthy": 1, "total": 2})
    );
}

#[test]
fn a_readiness_flip_touches_nothing_but_its_destinations() {
    let mut sim = two_zones();
    let mut key = Vec::new();
    sim.put(dataplane("redis-1", "redis", "10.1.0.1", "NotReady"));
    let changes = sim.world.derive(sim.now);
    key.extend(changes.destinations.keys().map(|key| key.service.kind.kind()));
    assert_eq!(
        key,
        [Kind::MeshService, Kind::MeshMultiZoneService],
        "the two services that contain it"
    );
    assert_eq!(changes.sidecars.len(), 1, "its own resource changed");
    assert!(changes.dns.is_empty() && changes.meshes.is_empty());
    for write in sim.view.take(changes) {
        match write {
            Write::Put(resource) => sim.put(resource),
            Write::Status(key, status) => {
                let mut resource = (**sim.store.get(&key).unwrap()).clone();
                resource.status = Some(status);
                sim.write(key, Some(resource));
            }
            Write::Delete(key) => sim.write(key, None),
        }
    }
    sim.settle();
    assert_eq!(
        sim.get(Kind::MeshService, "default", "redis").spec["state"],
        "Unavailable"
    );
    let destination = sim.destination(Kind::MeshMultiZoneService, "redis", "6379");
    assert_eq!(
        shape(destination)[0],
        ("east".into(), 0, vec![("10.1.0.1".into(), false)]),
        "kept, as unready"
    );
}

#[test]
fn traffic_goes_where_a_proxy_is_taken_to_be_and_its_envoy_listens() {
    let mut sim = two_zones();
    let connected = json!([{"id": "1", "connectTime": "2026-01-01T00:00:00Z"}]);
    let lost = json!([{"id": "1", "connectTime": "2026-01-01T00:00:00Z", "disconnectTime": "2026-01-01T00:00:01Z"}]);
    for (subscriptions, presence, ready) in [
        (&connected, json!({}), true),
        (&connected, json!({"listeners": {}}), false),
        (&connected, json!({"listeners": {"inbounds": ["80"]}}), false),
        (&connected, json!({"listeners": {"inbounds": ["6379"]}}), true),
        // The end of a stream says nothing.
        (&lost, json!({"listeners": {"inbounds": ["6379"]}}), true),
        (&lost, json!({"state": "Held", "reason": "many"}), true),
        (&connected, json!({"state": "Left"}), false),
        (&lost, json!({"state": "Gone"}), false),
    ] {
        sim.put(insight(
            "redis-1",
            json!({"subscriptions": subscriptions, "presence": presence}),
        ));
        sim.settle();
        for kind in [Kind::MeshService, Kind::MeshMultiZoneService] {
            let own = shape(sim.destination(kind, "redis", "6379"))[0].2.clone();
            assert_eq!(own, [("10.1.0.1".to_owned(), ready)], "{presence}");
        }
        let state = if ready { "Available" } else { "Unavailable" };
        assert_eq!(
            sim.get(Kind::MeshService, "default", "redis").spec["state"],
            state,
            "{presence}"
        );
    }
    // Nobody has ever been there.
    sim.delete(Kind::DataplaneInsight, "default", "redis-1");
    sim.settle();
    assert_eq!(
        sim.get(Kind::MeshService, "default", "redis").spec["state"],
        "Unavailable"
    );
}

#[test]
fn conditions_name_what_is_wrong() {
    let mut sim = two_zones();
    sim.put(allow_all());
    sim.delete(Kind::ZoneIngress, "", "ingress-west-1");
    sim.settle();
    let reasons = |sim: &Sim| -> Vec<String> {
        let status = sim
            .get(Kind::MeshMultiZoneService, "default", "redis")
            .status
            .clone()
            .unwrap();
        let bad = status["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|c| c["status"] == "False")
            .map(|c| c["reason"].as_str().unwrap().to_owned());
        bad.collect()
    };
    assert_eq!(reasons(&sim), ["NoZoneIngress"]);
    sim.put(ingress("west", 1));
    sim.put(multi_zone("redis", 7000));
    sim.settle();
    assert_eq!(reasons(&sim), ["PortNotFound"]);
    sim.put(multi_zone("redis", 6379));
    sim.put(remote_service("west", "redis", "Unavailable"));
    sim.settle();
    assert_eq!(reasons(&sim), ["SomeUnavailable"]);
    sim.put(mesh(false));
    sim.settle();
    assert_eq!(reasons(&sim), ["SomeUnavailable", "MtlsDisabled"]);
    sim.delete(Kind::Dataplane, "default", "redis-1");
    sim.delete(Kind::MeshService, "default", "redis-west");
    sim.delete(Kind::MeshService, "default", "redis");
    sim.settle();
    assert_eq!(reasons(&sim), ["NoMatchesFound"]);
}

#[test]
fn the_address_stays_through_everything() {
    let mut sim = two_zones();
    let vip = |sim: &Sim| {
        sim.destination(Kind::MeshMultiZoneService, "redis", "6379")
            .vip
            .unwrap()
    };
    let first = vip(&sim);
    sim.delete(Kind::MeshMultiZoneService, "default", "redis");
    sim.settle();
    assert!(
        sim.view
            .dns
            .get("default")
            .is_none_or(|table| !table.contains_key("redis.mzsvc.mesh.local"))
    );
    sim.put(multi_zone("redis", 6379));
    sim.settle();
    assert_eq!(vip(&sim), first, "deleted and created again");
    let mut other = two_zones();
    other.settle();
    assert_eq!(vip(&other), first, "another control plane");
}

#[test]
fn hostnames_collide_in_the_open() {
    let mut sim = two_zones();
    sim.put(generator("same", "meshMultiZoneService", "one.mesh.local"));
    sim.put(multi_zone("zzz", 6379));
    sim.settle();
    let status = sim
        .get(Kind::MeshMultiZoneService, "default", "redis")
        .status
        .clone()
        .unwrap();
    let other = sim
        .get(Kind::MeshMultiZoneService, "default", "zzz")
        .status
        .clone()
        .unwrap();
    let of = |status: &serde_json::Value| {
        status["hostnameGenerators"]
            .as_array()
            .unwrap()
            .iter()
            .find(|g| g["hostnameGeneratorRef"]["coreName"] == "same")
            .unwrap()["conditions"][0]
            .clone()
    };
    let mut outcomes = [of(&status), of(&other)];
    outcomes.sort_by_key(|condition| condition["reason"].as_str().unwrap().to_owned());
    assert_eq!(outcomes[0]["reason"], "Collision");
    assert!(
        outcomes[0]["message"]
            .as_str()
            .unwrap()
            .contains("is held by MeshMultiZoneService")
    );
    assert_eq!(outcomes[1]["reason"], "Generated");
}

#[test]
fn all_who_wait_for_a_hostname_say_who_holds_it_now() {
    let mut sim = two_zones();
    sim.put(generator("same", "meshMultiZoneService", "same.mesh"));
    for name in ["a", "b", "c"] {
        sim.put(multi_zone(name, 6379));
    }
    sim.delete(Kind::MeshMultiZoneService, "default", "redis");
    sim.settle();
    let outcome = |sim: &Sim, name: &str| {
        let status = sim.get(Kind::MeshMultiZoneService, "default", name).status.clone();
        let generators = status.unwrap()["hostnameGenerators"].clone();
        let of_same = generators.as_array().unwrap().iter();
        let found = of_same.filter(|generator| generator["hostnameGeneratorRef"]["coreName"] == "same");
        let message = |generator: &Value| generator["conditions"][0]["message"].as_str().unwrap().to_owned();
        found.map(message).collect::<String>()
    };
    assert_eq!(
        outcome(&sim, "c"),
        "hostname same.mesh is held by MeshMultiZoneService a"
    );
    sim.delete(Kind::MeshMultiZoneService, "default", "a");
    sim.settle();
    assert_eq!(outcome(&sim, "b"), "");
    assert_eq!(
        outcome(&sim, "c"),
        "hostname same.mesh is held by MeshMultiZoneService b"
    );
}

#[test]
fn a_service_without_dataplanes_leaves_after_its_grace_period() {
    let mut sim = two_zones();
    sim.delete(Kind::Dataplane, "default", "redis-1");
    sim.settle();
    let service = sim.get(Kind::MeshService, "default", "redis");
    assert!(service.labels.contains_key(labels::DELETION_GRACE_PERIOD_STARTED_AT));
    assert_eq!(service.spec["state"], "Unavailable");
    assert_eq!(
        service.spec["identities"][0]["value"], "redis",
        "clients keep trusting what comes back"
    );
    let deadline = sim.world.derive(sim.now).deadline.unwrap();
    assert_eq!(deadline, sim.now + Duration::hours(1));
    sim.now = deadline;
    sim.settle();
    assert!(
        !sim.store
            .contains_key(&ResourceKey::new(Kind::MeshService, "default", "redis"))
    );
}

#[test]
fn explicit_outbounds_resolve_and_follow() {
    let mut sim = two_zones();
    sim.put(doc("{type: Dataplane, mesh: default, name: client, networking: {address: 10.1.0.5, inbound: [{port: 1, tags: {kuma.io/service: client}}], outbound: [{port: 10, backendRef: {kind: MeshMultiZoneService, name: redis, port: 6379}}, {port: 11, backendRef: {kind: MeshMultiZoneService, name: later, port: 1}}]}}"));
    sim.settle();
    let ports = |sim: &Sim| {
        sim.view.sidecars[&("default".into(), "client".into())]
            .outbounds
            .iter()
            .map(|o| o.port)
            .collect::<Vec<_>>()
    };
    assert_eq!(ports(&sim), [10]);
    sim.put(multi_zone("later", 1));
    sim.settle();
    assert_eq!(ports(&sim), [10, 11]);
}

#[test]
fn outbounds_by_tags_lead_to_the_services_of_the_tag_own_zone_first() {
    let mut sim = two_zones();
    sim.put(doc("{type: Dataplane, mesh: default, name: client, networking: {address: 10.1.0.5, inbound: [{port: 1, tags: {kuma.io/service: client}}], outbound: [{port: 6379, tags: {kuma.io/service: redis}}, {port: 11, tags: {kuma.io/service: redis, kuma.io/zone: west}}, {port: 12, tags: {kuma.io/service: redis, version: v2}}, {port: 13, tags: {kuma.io/service: later}}]}}"));
    sim.settle();
    let outbounds = |sim: &Sim| -> Vec<(u32, Vec<String>)> {
        let outbounds = &sim.view.sidecars[&("default".into(), "client".into())].outbounds;
        let zones = |outbound: &OutboundRef| outbound.destinations().map(|key| key.service.zone.clone()).collect();
        outbounds.iter().map(|one| (one.port, zones(one))).collect()
    };
    let both = (6379, vec!["east".to_owned(), "west".to_owned()]);
    let west = (11, vec!["west".to_owned()]);
    assert_eq!(
        outbounds(&sim),
        [both.clone(), west.clone()],
        "nobody is known to be v2"
    );
    sim.put(remote_service("west", "later", "Available"));
    sim.settle();
    assert_eq!(outbounds(&sim), [both, west, (13, vec!["west".to_owned()])]);
}

#[test]
fn peers_dial_the_advertised_address_or_that_of_the_proxy_never_all_addresses() {
    let mut sim = two_zones();
    for (networking, inbound, dialled) in [
        ("address: 10.1.0.1", "address: 10.1.0.9", "10.1.0.9"),
        ("address: 10.1.0.1", "address: 0.0.0.0", "10.1.0.1"),
        ("address: 10.1.0.1", "address: '::'", "10.1.0.1"),
        (
            "address: 10.1.0.1, advertisedAddress: 172.16.0.1",
            "address: 10.1.0.9",
            "172.16.0.1",
        ),
        (
            "address: 10.1.0.1, advertisedAddress: 172.16.0.1",
            "address: 0.0.0.0",
            "172.16.0.1",
        ),
    ] {
        sim.put(doc(&format!("{{type: Dataplane, mesh: default, name: redis-1, networking: {{{networking}, inbound: [{{port: 6379, {inbound}, tags: {{kuma.io/service: redis}}}}]}}}}")));
        sim.settle();
        let destination = sim.destination(Kind::MeshService, "redis", "6379");
        let (_, _, endpoints) = &shape(destination)[0];
        assert_eq!(
            *endpoints,
            [(dialled.to_owned(), true)],
            "{networking}, inbound {inbound}"
        );
    }
}

#[test]
fn host_names_become_addresses_when_they_are_resolved() {
    let mut sim = two_zones();
    sim.put(doc("{type: Dataplane, mesh: default, name: redis-1, networking: {address: redis-1.example, inbound: [{port: 6379, tags: {kuma.io/service: redis}}]}}"));
    let mut gateway = ingress("west", 1);
    gateway.spec["networking"]["advertisedAddress"] = json!("west.example");
    sim.put(gateway);
    let changes = sim.world.derive(sim.now);
    let names = changes.host_names.clone().expect("two names are in use now");
    assert_eq!(
        names.into_iter().collect::<Vec<_>>(),
        ["redis-1.example", "west.example"]
    );
    sim.view.take(changes);
    let nowhere = sim.destination(Kind::MeshMultiZoneService, "redis", "6379");
    assert_eq!(shape(nowhere), [], "no address yet");
    assert_eq!(nowhere.zone, "east", "known without an instance here");
    sim.world.resolved("redis-1.example", Ok("10.1.0.77".parse().unwrap()));
    sim.world.resolved("west.example", Ok("192.168.7.7".parse().unwrap()));
    sim.settle();
    assert_eq!(
        shape(sim.destination(Kind::MeshMultiZoneService, "redis", "6379")),
        [
            ("east".into(), 0, vec![("10.1.0.77".into(), true)]),
            ("west".into(), 1, vec![("192.168.7.7".into(), true)])
        ]
    );
    assert_eq!(
        sim.view.sidecars[&("default".into(), "redis-1".into())]
            .sidecar
            .dataplane
            .networking
            .address,
        "10.1.0.77"
    );
}
