//! Which policies a proxy gets, and the reverse (`spec/policies.md` §1.4, §1.5, §1.10).

use meshspan_model::kinds::Spec;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::policy::PolicyKind;
use meshspan_model::{Kind, Resource};
use meshspan_policy::{Matched, Mode, Policy, PolicySet, Proxy, touch, touched as touched_of};
use serde_json::{Value, json};

use crate::fixtures::{NAMESPACE, ORIGIN, ROLE, ZONE, inbound, map, policy, proxy, set, timeout};

fn selecting(top: Value) -> Policy {
    timeout("t", &[], json!({ "targetRef": top, "rules": [{ "default": {} }] }))
}

/// Positions of the inbounds that a policy touches; `None` if it does not touch the proxy.
fn touched(policy: &Policy, proxy: &Proxy) -> Option<Vec<usize>> {
    let touch = touch(policy, proxy, &PolicySet::new(), Mode::Live)?;
    Some(touch.inbounds.into_iter().collect())
}

fn two_inbounds() -> Proxy {
    let mut proxy = proxy(&[(ZONE, "east"), ("app", "web"), ("kuma.io/display-name", "web-1")]);
    proxy
        .inbounds
        .push(inbound("admin", 9000, &[("kuma.io/service", "web-admin")]));
    let mut ignored = inbound("off", 9999, &[("kuma.io/service", "web")]);
    ignored.ignored = true;
    proxy.inbounds.push(ignored);
    proxy
}

#[test]
fn the_top_level_selects_inbounds() {
    let proxy = two_inbounds();
    for (top, expected) in [
        (json!({ "kind": "Mesh" }), Some(vec![0, 1])),
        (json!({ "kind": "MeshSubset", "tags": {} }), Some(vec![0, 1])),
        (
            json!({ "kind": "MeshSubset", "tags": { "version": "v1" } }),
            Some(vec![0]),
        ),
        (json!({ "kind": "MeshSubset", "tags": { "version": "v2" } }), None),
        (json!({ "kind": "MeshService", "name": "web-admin" }), Some(vec![1])),
        (
            json!({ "kind": "MeshServiceSubset", "name": "web", "tags": { "version": "v1" } }),
            Some(vec![0]),
        ),
        (
            json!({ "kind": "MeshServiceSubset", "name": "web", "tags": { "version": "v2" } }),
            None,
        ),
        (json!({ "kind": "Dataplane" }), Some(vec![0, 1])),
        (
            json!({ "kind": "Dataplane", "labels": { "app": "web" } }),
            Some(vec![0, 1]),
        ),
        (json!({ "kind": "Dataplane", "labels": { "app": "db" } }), None),
        (json!({ "kind": "Dataplane", "sectionName": "admin" }), Some(vec![1])),
        (json!({ "kind": "Dataplane", "sectionName": "9000" }), Some(vec![1])),
        (json!({ "kind": "Dataplane", "sectionName": "off" }), None),
        (json!({ "kind": "Dataplane", "name": "web-1" }), Some(vec![0, 1])),
        (json!({ "kind": "Dataplane", "name": "web-2" }), None),
        (json!({ "kind": "MeshGateway", "name": "web" }), None),
    ] {
        assert_eq!(touched(&selecting(top.clone()), &proxy), expected, "{top}");
    }
}

#[test]
fn the_reverse_of_matching_lists_proxies() {
    let mut db = proxy(&[]);
    db.name = "db-1".to_owned();
    db.inbounds = vec![inbound("", 5432, &[("kuma.io/service", "db")])];
    let proxies = [two_inbounds(), db];
    let found = |top| {
        let found = touched_of(&selecting(top), &proxies, &PolicySet::new(), Mode::Live);
        found.iter().map(|(proxy, _)| proxy.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(found(json!({ "kind": "Mesh" })), ["web-1", "db-1"]);
    assert_eq!(found(json!({ "kind": "MeshService", "name": "db" })), ["db-1"]);
    assert_eq!(
        found(json!({ "kind": "MeshService", "name": "nobody" })),
        Vec::<String>::new()
    );
}

#[test]
fn proxy_types_tell_gateways_from_sidecars() {
    let mut gateway = proxy(&[]);
    gateway.inbounds.clear();
    gateway.gateway = Some(map(&[("kuma.io/service", "edge")]));
    let sidecar = proxy(&[]);
    for (types, on_sidecar, on_gateway) in [
        (json!([]), true, true),
        (json!(["Sidecar"]), true, false),
        (json!(["Gateway"]), false, true),
    ] {
        let policy = selecting(json!({ "kind": "Mesh", "proxyTypes": types }));
        assert_eq!(touched(&policy, &sidecar).is_some(), on_sidecar, "{types}");
        assert_eq!(touched(&policy, &gateway).is_some(), on_gateway, "{types}");
    }
    assert!(touched(&selecting(json!({ "kind": "MeshService", "name": "edge" })), &gateway).is_some());
    assert!(touched(&selecting(json!({ "kind": "MeshService", "name": "web" })), &gateway).is_none());
}

#[test]
fn a_policy_stays_in_its_mesh_zone_and_namespace() {
    let spec = || json!({ "to": [{ "targetRef": { "kind": "Mesh" }, "default": {} }] });
    let proxy = proxy(&[(ORIGIN, "zone"), (ZONE, "east"), (NAMESPACE, "shop")]);
    let reaches = |labels: &[(&str, &str)]| touched(&timeout("t", labels, spec()), &proxy).is_some();
    assert!(reaches(&[(ORIGIN, "global")]));
    assert!(reaches(&[(ORIGIN, "zone"), (ZONE, "east")]));
    assert!(!reaches(&[(ORIGIN, "zone"), (ZONE, "west")]));
    assert!(reaches(&[(ORIGIN, "zone"), (ZONE, "west"), (ROLE, "producer")]));
    for role in ["consumer", "workload-owner"] {
        assert!(reaches(&[(NAMESPACE, "shop"), (ROLE, role)]));
        assert!(!reaches(&[(NAMESPACE, "other"), (ROLE, role)]));
    }
    assert!(reaches(&[(NAMESPACE, "other"), (ROLE, "system")]));
    let mut elsewhere = proxy.clone();
    elsewhere.mesh = "other".to_owned();
    assert!(touched(&timeout("t", &[], spec()), &elsewhere).is_none());
}

#[test]
fn shadow_policies_count_only_when_asked_for() {
    let spec = json!({ "to": [{ "targetRef": { "kind": "Mesh" }, "default": {} }] });
    let policies = set([timeout("t", &[("kuma.io/effect", "shadow")], spec)]);
    assert_eq!(Matched::of(&proxy(&[]), &policies, Mode::Live).outbound.len(), 0);
    assert_eq!(Matched::of(&proxy(&[]), &policies, Mode::WithShadow).outbound.len(), 1);
}

#[test]
fn a_route_selects_the_proxies_that_it_selects() {
    let route = |tags: Value| {
        policy(
            PolicyKind::MeshHTTPRoute,
            "v2",
            &[],
            json!({ "targetRef": { "kind": "MeshSubset", "tags": tags }, "to": [] }),
        )
    };
    let retry = policy(
        PolicyKind::MeshRetry,
        "r",
        &[],
        json!({ "targetRef": { "kind": "MeshHTTPRoute", "name": "v2" }, "to": [{ "targetRef": { "kind": "Mesh" }, "default": {} }] }),
    );
    let reaches = |policies: &PolicySet| touch(&retry, &proxy(&[]), policies, Mode::Live).is_some();
    assert!(reaches(&set([route(json!({ "version": "v1" }))])));
    assert!(!reaches(&set([route(json!({ "version": "v2" }))])));
    assert!(!reaches(&PolicySet::new()));
}

#[test]
fn proxies_with_the_same_policies_have_the_same_keys() {
    let to = timeout(
        "to",
        &[],
        json!({ "to": [{ "targetRef": { "kind": "Mesh" }, "default": {} }] }),
    );
    let rules = selecting(json!({ "kind": "MeshService", "name": "web" }));
    let policies = set([to.clone(), rules]);
    let web = Matched::of(&two_inbounds(), &policies, Mode::Live);
    let mut db = two_inbounds();
    db.name = "db-1".to_owned();
    db.inbounds[0].tags = map(&[("kuma.io/service", "db")]);
    let db = Matched::of(&db, &policies, Mode::Live);
    assert_eq!(web.outbound_key(), db.outbound_key());
    assert_ne!(web.inbound_key(0), db.inbound_key(0));
    assert_eq!(web.inbound_key(1), db.inbound_key(1));
    assert_eq!(web.inbound_key(3), None);
    assert_ne!(web.key(), db.key());

    let changed = timeout(
        "to",
        &[],
        json!({ "to": [{ "targetRef": { "kind": "Mesh" }, "default": { "idleTimeout": "1s" } }] }),
    );
    let after = Matched::of(&two_inbounds(), &set([changed]), Mode::Live);
    assert_ne!(web.outbound_key(), after.outbound_key());
    let alone = Matched::of(&two_inbounds(), &set([to]), Mode::Live);
    assert_eq!(web.outbound_key(), alone.outbound_key());
}

#[test]
fn a_proxy_is_made_of_a_dataplane() {
    let dataplane = Dataplane::from_value(&json!({ "networking": {
        "address": "10.0.0.1",
        "inbound": [
            { "name": "http", "port": 8080, "tags": { "kuma.io/service": "web" } },
            { "port": 9090, "tags": { "kuma.io/service": "web" }, "state": "Ignored" },
        ],
    } }))
    .unwrap();
    let resource = Resource::new(Kind::Dataplane, "default", "web-1", Value::Null).with_label("app", "web");
    let made = Proxy::of(&resource, &dataplane, "east");
    assert_eq!(
        made.labels,
        map(&[("app", "web"), ("kuma.io/display-name", "web-1"), (ZONE, "east")])
    );
    assert_eq!(made.gateway, None);
    let found: Vec<_> = made
        .inbounds
        .iter()
        .map(|inbound| (inbound.name.as_str(), inbound.port, inbound.ignored))
        .collect();
    assert_eq!(found, [("http", 8080, false), ("", 9090, true)]);
}
