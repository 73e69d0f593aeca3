//! What policies say about destinations and inbounds, and what a change of a policy touches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use meshspan_model::Kind;
use meshspan_model::kinds::mesh_timeout;
use meshspan_model::policy::PolicyKind;
use meshspan_world::Changes;
use meshspan_world::view::{DestinationPolicies, SidecarView};
use serde_json::{Value, json};
use support::*;

fn view<'a>(sim: &'a Sim, proxy: &str) -> &'a SidecarView {
    &sim.view.sidecars[&("default".to_owned(), proxy.to_owned())]
}

/// What policies say of the traffic of a proxy to a service.
fn about<'a>(sim: &'a Sim, proxy: &str, kind: Kind, service: &str) -> &'a DestinationPolicies {
    let class = &sim.view.policies[&("default".to_owned(), view(sim, proxy).class.clone())];
    let found = class
        .iter()
        .find(|(key, _)| key.service.kind.kind() == kind && key.service.name == service);
    found.unwrap_or_else(|| panic!("nothing is known of {service}")).1
}

fn idle(sim: &Sim, proxy: &str, service: &str) -> Option<String> {
    let conf: mesh_timeout::Conf = about(sim, proxy, Kind::MeshMultiZoneService, service).confs.get()?;
    Some(conf.idle_timeout?.to_string())
}

fn timeout(name: &str, top: &Value, target: &Value, idle: &str) -> meshspan_model::Resource {
    let to = json!([{ "targetRef": target, "default": { "idleTimeout": idle } }]);
    policy(Kind::MeshTimeout, name, json!({ "targetRef": top, "to": to }))
}

fn everyone() -> Value {
    json!({ "kind": "Mesh" })
}

fn redis() -> Value {
    json!({ "kind": "MeshMultiZoneService", "name": "redis" })
}

/// Two services of several zones, and three proxies.
fn two_services() -> Sim {
    let mut sim = two_zones();
    sim.put(multi_zone("echo", 80));
    sim.put(dataplane("echo-1", "echo", "10.1.0.2", "Ready"));
    sim.put(dataplane("echo-2", "echo", "10.1.0.3", "Ready"));
    sim.settle();
    sim
}

/// What changed, without settling it.
fn derive(sim: &mut Sim) -> Changes {
    let changes = sim.world.derive(sim.now);
    sim.view.take(changes.clone());
    changes
}

fn touched(changes: &Changes) -> Vec<(String, String)> {
    let classes = changes.policies.values().flatten();
    let mut names: Vec<_> = classes
        .flat_map(|class| {
            class
                .keys()
                .map(|key| (key.service.kind.kind().to_string(), key.service.name.clone()))
        })
        .collect();
    names.sort();
    names
}

#[test]
fn proxies_with_the_same_policies_are_one_class() {
    let mut sim = two_services();
    sim.put(timeout("all", &everyone(), &everyone(), "1m"));
    sim.settle();
    assert_eq!(view(&sim, "redis-1").class, view(&sim, "echo-1").class);
    assert_eq!(sim.view.policies.len(), 1);

    let only_echo = json!({ "kind": "MeshSubset", "tags": { "kuma.io/service": "echo" } });
    sim.put(timeout("echo", &only_echo, &redis(), "5s"));
    sim.settle();
    assert_eq!(view(&sim, "echo-1").class, view(&sim, "echo-2").class);
    assert_ne!(view(&sim, "redis-1").class, view(&sim, "echo-1").class);
    assert_eq!(idle(&sim, "echo-2", "redis").as_deref(), Some("5s"));
    assert_eq!(idle(&sim, "redis-1", "redis").as_deref(), Some("1m0s"));

    sim.delete(Kind::MeshTimeout, "default", "echo");
    sim.settle();
    assert_eq!(sim.view.policies.len(), 1, "a class without members is gone");
}

#[test]
fn an_edit_touches_the_destinations_that_it_is_about() {
    let mut sim = two_services();
    sim.put(timeout("all", &everyone(), &everyone(), "1m"));
    sim.put(timeout("redis", &everyone(), &redis(), "5s"));
    sim.settle();
    let class = view(&sim, "redis-1").class.clone();

    sim.put(timeout("redis", &everyone(), &redis(), "6s"));
    let changes = derive(&mut sim);
    assert_eq!(
        touched(&changes),
        [("MeshMultiZoneService".to_owned(), "redis".to_owned())]
    );
    assert_eq!(
        view(&sim, "redis-1").class,
        class,
        "an edit does not make another class"
    );
    assert_eq!(idle(&sim, "redis-1", "redis").as_deref(), Some("6s"));

    // Said in other words, it is about the same destination, and about nothing else.
    let mut same = timeout("redis", &everyone(), &redis(), "6000ms");
    same.labels.insert("team".into(), "shop".into());
    sim.put(same);
    let changes = derive(&mut sim);
    assert_eq!(idle(&sim, "redis-1", "redis").as_deref(), Some("6s"));
    assert_eq!(touched(&changes).len(), 1);
    assert!(
        changes.destinations.is_empty() && changes.sidecars.is_empty(),
        "{changes:?}"
    );
}

#[test]
fn readiness_of_an_instance_touches_no_policy() {
    let mut sim = two_services();
    sim.put(timeout("redis", &everyone(), &redis(), "5s"));
    sim.settle();
    sim.put(dataplane("redis-1", "redis", "10.1.0.1", "NotReady"));
    let changes = derive(&mut sim);
    assert!(!changes.destinations.is_empty());
    assert_eq!(touched(&changes), []);
}

#[test]
fn a_zone_names_a_global_service_by_name_and_by_labels() {
    for target in [
        redis(),
        json!({ "kind": "MeshMultiZoneService", "labels": { "kuma.io/display-name": "redis" } }),
    ] {
        let mut sim = two_services();
        let mut made_here = timeout("zonal", &everyone(), &target, "7s");
        made_here.labels = [("kuma.io/origin", "zone"), ("kuma.io/zone", "east")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        sim.put(made_here);
        sim.settle();
        assert_eq!(idle(&sim, "redis-1", "redis").as_deref(), Some("7s"), "{target}");
        assert_eq!(idle(&sim, "redis-1", "echo"), None);
    }
}

#[test]
fn a_target_that_is_gone_harms_nothing_and_counts_again_when_it_returns() {
    let mut sim = two_services();
    sim.put(timeout("redis", &everyone(), &redis(), "5s"));
    sim.put(timeout("all", &everyone(), &everyone(), "1m"));
    sim.settle();
    sim.delete(Kind::MeshMultiZoneService, "default", "redis");
    sim.settle();
    assert_eq!(idle(&sim, "redis-1", "echo").as_deref(), Some("1m0s"));
    sim.put(multi_zone("redis", 6379));
    sim.settle();
    assert_eq!(idle(&sim, "redis-1", "redis").as_deref(), Some("5s"));
}

#[test]
fn a_route_waits_for_its_backend() {
    let mut sim = two_services();
    let backend = json!({ "kind": "MeshMultiZoneService", "labels": { "kuma.io/display-name": "canary" }, "port": 80, "weight": 10 });
    let rule = json!({
        "matches": [{ "path": { "type": "PathPrefix", "value": "/v2" } }],
        "default": { "backendRefs": [backend] },
    });
    sim.put(policy(
        Kind::MeshHTTPRoute,
        "canary",
        json!({ "to": [{ "targetRef": { "kind": "MeshMultiZoneService", "name": "echo" }, "rules": [rule] }] }),
    ));
    sim.settle();
    let backends = |sim: &Sim| {
        about(sim, "echo-1", Kind::MeshMultiZoneService, "echo")
            .http_rules
            .clone()
            .unwrap()[0]
            .backends
            .clone()
    };
    assert_eq!(backends(&sim)[0].destination, None);
    assert_eq!(backends(&sim)[0].weight, 10);
    sim.put(multi_zone("canary", 80));
    sim.settle();
    let found = backends(&sim)[0].destination.clone().unwrap();
    assert_eq!((found.service.name.as_str(), found.section.as_str()), ("canary", "80"));
    sim.delete(Kind::MeshMultiZoneService, "default", "canary");
    sim.settle();
    assert_eq!(backends(&sim)[0].destination, None);
}

#[test]
fn inbounds_share_what_is_said_of_them() {
    let mut sim = two_services();
    let from = json!([{ "targetRef": { "kind": "Mesh" }, "default": { "action": "Allow" } }]);
    let top = json!({ "kind": "Dataplane", "labels": { "kuma.io/display-name": "redis-1" } });
    sim.put(policy(
        Kind::MeshTrafficPermission,
        "redis",
        json!({ "targetRef": top, "from": from }),
    ));
    sim.settle();
    let of = |proxy: &str| view(&sim, proxy).sidecar.inbound_policies[0].clone();
    assert!(of("redis-1").contains_key(&PolicyKind::MeshTrafficPermission));
    assert!(of("echo-1").is_empty());
    assert!(std::sync::Arc::ptr_eq(&of("echo-1"), &of("echo-2")));
}

#[test]
fn a_shadow_policy_is_not_applied() {
    let mut sim = two_services();
    let mut shadow = timeout("redis", &everyone(), &redis(), "5s");
    shadow.labels.insert("kuma.io/effect".into(), "shadow".into());
    sim.put(shadow);
    sim.settle();
    assert_eq!(idle(&sim, "redis-1", "redis"), None);
    let inspect = |shadow| {
        let inspected = sim.world.inspect("default", "redis-1", shadow).unwrap();
        let (_, policies) = inspected
            .destinations
            .values()
            .find(|(destination, _)| {
                destination.key.service.name == "redis"
                    && destination.key.service.kind.kind() == Kind::MeshMultiZoneService
            })
            .cloned()
            .unwrap();
        policies
            .confs
            .get::<mesh_timeout::Conf>()
            .and_then(|conf| conf.idle_timeout)
    };
    assert_eq!(inspect(meshspan_policy::Mode::Live), None);
    assert_eq!(inspect(meshspan_policy::Mode::WithShadow).unwrap().to_string(), "5s");
}

#[test]
fn a_bad_policy_is_reported_and_harms_nothing() {
    let mut sim = two_services();
    sim.put(timeout("all", &everyone(), &everyone(), "1m"));
    sim.put(policy(
        Kind::MeshRetry,
        "bad",
        json!({ "to": [{ "targetRef": { "kind": "Nonsense" } }] }),
    ));
    let changes = derive(&mut sim);
    assert_eq!(changes.problems.len(), 1);
    assert!(
        changes.problems[0]
            .violations
            .to_string()
            .contains("spec.to[0].targetRef.kind")
    );
    assert_eq!(idle(&sim, "redis-1", "redis").as_deref(), Some("1m0s"));
}
