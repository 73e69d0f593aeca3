//! However changes come, and in however many steps, the world is what a fresh start with the same resources gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::BTreeMap;

use meshspan_model::{Kind, Resource, ResourceKey, labels};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{Sim, View, dataplane, doc, generator, ingress, insight, mesh, multi_zone, policy, remote_service};

/// Labels, spec and status of everything stored.
type Stored = BTreeMap<ResourceKey, (BTreeMap<String, String>, Value, Option<Value>)>;

#[derive(Clone, Debug)]
enum Event {
    Put(Resource),
    Delete(ResourceKey),
}

/// A policy among few names, so that they replace and override each other.
fn any_policy() -> impl Strategy<Value = Resource> {
    let name = prop_oneof![Just("p1"), Just("p2")];
    let top = prop_oneof![
        2 => Just(json!({ "kind": "Mesh" })),
        1 => Just(json!({ "kind": "MeshSubset", "tags": { "kuma.io/service": "redis" } })),
        1 => Just(json!({ "kind": "Dataplane", "labels": { "kuma.io/display-name": "dp-1" } })),
    ];
    let service = prop_oneof![
        Just(json!({ "kind": "MeshMultiZoneService", "name": "redis" })),
        Just(json!({ "kind": "MeshMultiZoneService", "labels": { "kuma.io/display-name": "echo" } })),
        Just(json!({ "kind": "MeshService", "labels": { "kuma.io/display-name": "redis" }, "sectionName": "6379" })),
    ];
    let target = prop_oneof![Just(json!({ "kind": "Mesh" })), service.clone()];
    let action = prop_oneof![Just("Allow"), Just("Deny")];
    prop_oneof![
        3 => (name.clone(), top.clone(), target.clone(), 1..3_u32).prop_map(|(name, top, target, seconds)| {
            let default = json!({ "idleTimeout": format!("{seconds}s") });
            policy(Kind::MeshTimeout, name, json!({ "targetRef": top, "to": [{ "targetRef": target, "default": default }] }))
        }),
        1 => (name.clone(), target, prop_oneof![Just("kuma.io/service"), Just("kuma.io/display-name")]).prop_map(|(name, target, key)| {
            let default = json!({ "localityAwareness": { "localZone": { "affinityTags": [{ "key": key }] } } });
            policy(Kind::MeshLoadBalancingStrategy, name, json!({ "to": [{ "targetRef": target, "default": default }] }))
        }),
        2 => (name.clone(), top.clone(), service, prop_oneof![Just("redis"), Just("echo")], 80..82_u32).prop_map(|(name, top, target, backend, port)| {
            let backends = json!([{ "kind": "MeshMultiZoneService", "labels": { "kuma.io/display-name": backend }, "port": port }]);
            let rule = json!({ "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }], "default": { "backendRefs": backends } });
            policy(Kind::MeshHTTPRoute, name, json!({ "targetRef": top, "to": [{ "targetRef": target, "rules": [rule] }] }))
        }),
        1 => (name.clone(), 1..3_u32).prop_map(|(name, seconds)| {
            let target = json!({ "kind": "MeshHTTPRoute", "labels": { "team": "shop" } });
            let default = json!({ "http": { "requestTimeout": format!("{seconds}s") } });
            policy(Kind::MeshTimeout, name, json!({ "to": [{ "targetRef": target, "default": default }] }))
        }),
        1 => (name.clone(), top.clone(), prop_oneof![Just("redis"), Just("nobody"), Just("echo")]).prop_map(|(name, top, client)| {
            let allow = json!([{ "spiffeID": { "type": "Exact", "value": format!("spiffe://default/{client}") } }]);
            policy(Kind::MeshTrafficPermission, name, json!({ "targetRef": top, "rules": [{ "default": { "allow": allow } }] }))
        }),
        1 => (name, top, action).prop_map(|(name, top, action)| {
            let from = json!([{ "targetRef": { "kind": "Mesh" }, "default": { "action": action } }]);
            policy(Kind::MeshTrafficPermission, name, json!({ "targetRef": top, "from": from }))
        }),
    ]
}

/// One that may be in shadow, or carry a label by which others may refer to it.
fn labelled_policy() -> impl Strategy<Value = Resource> {
    let label = prop_oneof![
        4 => Just(None),
        1 => Just(Some(("kuma.io/effect", "shadow"))),
        1 => Just(Some(("team", "shop"))),
    ];
    (any_policy(), label).prop_map(|(policy, label)| match label {
        Some((key, value)) => policy.with_label(key, value),
        None => policy,
    })
}

/// What is known of a proxy.
fn any_insight() -> impl Strategy<Value = Resource> {
    let state = prop_oneof![Just("Expected"), Just("Held"), Just("Left"), Just("Gone")];
    let listeners = prop_oneof![Just(json!({})), Just(json!({"inbounds": ["6379"]}))];
    (1..4_u8, state, listeners).prop_map(|(n, state, listeners)| {
        insight(
            &format!("dp-{n}"),
            json!({"presence": {"state": state, "listeners": listeners}}),
        )
    })
}

/// A proxy that names where its application may go.
fn any_limited_dataplane() -> impl Strategy<Value = Resource> {
    let outbound = prop_oneof![
        Just(json!({ "backendRef": { "kind": "MeshService", "name": "redis", "port": 6379 } })),
        Just(
            json!({ "backendRef": { "kind": "MeshMultiZoneService", "labels": { "kuma.io/display-name": "echo" }, "port": 6379 } })
        ),
        Just(json!({ "backendRef": { "kind": "MeshExternalService", "name": "example", "port": 443 } })),
        Just(json!({ "tags": { "kuma.io/service": "redis" } })),
        Just(json!({ "tags": { "kuma.io/service": "echo", "kuma.io/zone": "west" } })),
    ];
    (1..4_u8, outbound).prop_map(|(n, mut outbound)| {
        outbound["port"] = json!(6379);
        outbound["address"] = json!("127.0.0.1");
        let mut resource = dataplane(&format!("dp-{n}"), "web", &format!("10.1.1.{n}"), "Ready");
        let networking = resource.spec["networking"].as_object_mut().unwrap();
        networking.remove("transparentProxying");
        networking.insert("outbound".to_owned(), json!([outbound]));
        resource
    })
}

/// What lies behind an egress, and the egress.
fn any_egress() -> impl Strategy<Value = Resource> {
    let tls = json!({ "enabled": true, "verification": { "caCert": { "secret": "ca" } } });
    let example = move |protocol: &str, tls: Option<&Value>| {
        let spec = json!({ "match": { "port": 443, "protocol": protocol }, "tls": tls,
            "endpoints": [{ "address": "example.com", "port": 443 }] });
        let mut resource = Resource::new(Kind::MeshExternalService, "default", "example", spec);
        resource.labels.insert(labels::ORIGIN.into(), "global".into());
        resource
    };
    let egress = doc("{type: ZoneEgress, name: egress-1, networking: {address: 10.1.0.9, port: 10002}}");
    let knows = |state: &str, listeners: Value| {
        let presence = json!({ "presence": { "state": state, "listeners": { "inbounds": listeners } } });
        Resource::new(Kind::ZoneEgressInsight, "", "egress-1", presence)
    };
    let routed = |on: bool| {
        let mut mesh = mesh(true);
        mesh.spec["routing"] = json!({ "zoneEgress": on, "defaultForbidMeshExternalServiceAccess": !on });
        mesh
    };
    prop_oneof![
        Just(example("tcp", None)),
        Just(example("http", Some(&tls))),
        Just(Resource::new(Kind::Secret, "default", "ca", json!({ "data": "UEVN" }))),
        Just(egress),
        Just(knows("Expected", json!(["egress"]))),
        Just(knows("Gone", json!(["egress"]))),
        Just(knows("Expected", json!([]))),
        any::<bool>().prop_map(routed),
        prop_oneof![Just("Allow"), Just("Deny")].prop_map(|action| {
            let from = json!([{ "targetRef": { "kind": "Mesh" }, "default": { "action": action } }]);
            let target = json!({ "kind": "MeshSubset", "tags": { "kuma.io/service": "zone-egress" } });
            policy(
                Kind::MeshTrafficPermission,
                "leave",
                json!({ "targetRef": target, "from": from }),
            )
        }),
        Just(generator("g3", "meshExternalService", "a.mesh")),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let state = prop_oneof![Just("Ready"), Just("NotReady")];
    let service = prop_oneof![Just("redis"), Just("echo")];
    let zone = prop_oneof![Just("west"), Just("north")];
    let available = prop_oneof![Just("Available"), Just("Unavailable")];
    let put = prop_oneof![
        4 => (1..4_u8, service.clone(), state).prop_map(|(n, service, state)| dataplane(&format!("dp-{n}"), service, &format!("10.1.0.{n}"), state)),
        2 => (zone.clone(), service.clone(), available).prop_map(|(zone, service, state)| remote_service(zone, service, state)),
        1 => (zone, 1..3_u32).prop_map(|(zone, number)| ingress(zone, number)),
        2 => (service, prop_oneof![Just(6379_u32), Just(80)]).prop_map(|(service, port)| multi_zone(service, port)),
        1 => any::<bool>().prop_map(mesh),
        1 => prop_oneof![Just("a.mesh"), Just("{{ .DisplayName }}.mzsvc.mesh.local")].prop_map(|template| generator("g1", "meshMultiZoneService", template)),
        1 => Just(generator("g2", "meshService", "{{ .DisplayName }}.svc.{{ .Zone }}.mesh.local")),
        6 => labelled_policy(),
        2 => any_insight(),
        3 => any_limited_dataplane(),
        4 => any_egress(),
    ];
    (put, 0..4_u8).prop_map(|(resource, dice)| {
        if dice == 0 {
            Event::Delete(resource.key())
        } else {
            Event::Put(resource)
        }
    })
}

fn canonical(sim: &mut Sim) -> (View, Stored) {
    sim.settle();
    let store = sim
        .store
        .iter()
        .map(|(key, r)| (key.clone(), (r.labels.clone(), r.spec.clone(), r.status.clone())))
        .collect();
    (std::mem::take(&mut sim.view), store)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// However the changes came, and in however many steps, the result is what a fresh start with the same resources gives.
    #[test]
    fn incremental_equals_from_scratch(events in proptest::collection::vec((event(), any::<bool>()), 1..40)) {
        let mut sim = Sim::new();
        sim.put(mesh(true));
        for (event, settle) in events {
            match event {
                Event::Put(resource) => sim.put(resource),
                Event::Delete(key) => sim.write(key, None),
            }
            if settle {
                sim.settle();
            }
        }
        let (view, store) = canonical(&mut sim);
        for reversed in [false, true] {
            let mut fresh = Sim::new();
            let mut resources: Vec<_> = sim.store.values().cloned().collect();
            if reversed {
                resources.reverse();
            }
            for resource in resources {
                let key = resource.key();
                fresh.write(key, Some((*resource).clone()));
            }
            let (fresh_view, fresh_store) = canonical(&mut fresh);
            prop_assert_eq!(&view, &fresh_view);
            prop_assert_eq!(&store, &fresh_store);
        }
    }
}
