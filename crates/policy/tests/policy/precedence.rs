//! Precedence (`spec/policies.md` §1.6): each key on its own, and which key beats which.

use meshspan_model::policy::PolicyKind;
use meshspan_policy::Policy;
use serde_json::{Value, json};

use crate::fixtures::{DISPLAY_NAME, ORIGIN, ROLE, ZONE, checkout, conf, effective, timeout};

/// A policy that sets `idleTimeout` to its own name.
fn named(name: &str, labels: &[(&str, &str)], top: Value, to: Value) -> Policy {
    timeout(
        name,
        labels,
        json!({ "targetRef": top, "to": [{ "targetRef": to, "default": { "idleTimeout": name } }] }),
    )
}

/// The name of the policy that wins for port `http` of `checkout`.
fn winner(policies: Vec<Policy>) -> Value {
    conf(effective(policies).to(PolicyKind::MeshTimeout, &checkout(), "http", &[]))["idleTimeout"].clone()
}

fn mesh() -> Value {
    json!({ "kind": "Mesh" })
}

fn multi_zone(section: &str) -> Value {
    json!({ "kind": "MeshMultiZoneService", "name": "checkout", "sectionName": section })
}

#[test]
fn narrower_top_levels_win() {
    // Each overrides the ones before it, whatever its name.
    let tops = [
        mesh(),
        json!({ "kind": "MeshSubset", "tags": { "version": "v1" } }),
        json!({ "kind": "Dataplane" }),
        json!({ "kind": "Dataplane", "sectionName": "http" }),
        json!({ "kind": "Dataplane", "labels": { "app": "web" } }),
        json!({ "kind": "Dataplane", "labels": { "app": "web" }, "sectionName": "8080" }),
        json!({ "kind": "Dataplane", "name": "web-1" }),
        json!({ "kind": "Dataplane", "name": "web-1", "sectionName": "http" }),
        json!({ "kind": "MeshService", "name": "web" }),
        json!({ "kind": "MeshServiceSubset", "name": "web", "tags": { "version": "v1" } }),
    ];
    let proxy = crate::fixtures::proxy(&[(ZONE, "east"), (DISPLAY_NAME, "web-1"), ("app", "web")]);
    for (index, pair) in tops.windows(2).enumerate() {
        let policies = [
            named("a", &[], pair[0].clone(), mesh()),
            named("z", &[], pair[1].clone(), mesh()),
        ];
        let all = meshspan_policy::EffectivePolicies::of(
            &proxy,
            &crate::fixtures::set(policies),
            &crate::fixtures::services(),
            meshspan_policy::Mode::Live,
        );
        let found = conf(all.to(PolicyKind::MeshTimeout, &checkout(), "http", &[]));
        assert_eq!(found["idleTimeout"], "z", "pair {index}: {} and {}", pair[0], pair[1]);
    }
}

#[test]
fn the_top_level_dominates_the_destination() {
    let narrow = named("narrow", &[], mesh(), multi_zone("http"));
    let subset = named("subset", &[], json!({ "kind": "MeshSubset", "tags": {} }), mesh());
    assert_eq!(winner(vec![narrow, subset]), "subset");
}

#[test]
fn origin_then_role_then_destination_then_name() {
    let global = [(ORIGIN, "global")];
    let zone = [(ORIGIN, "zone"), (ZONE, "east")];
    assert_eq!(
        winner(vec![
            named("a", &global, mesh(), mesh()),
            named("z", &[], mesh(), mesh())
        ]),
        "z"
    );
    assert_eq!(
        winner(vec![named("a", &[], mesh(), mesh()), named("z", &zone, mesh(), mesh())]),
        "z"
    );
    // Origin beats role, role beats destination, destination beats name.
    let producer = [(ORIGIN, "global"), (ROLE, "producer")];
    assert_eq!(
        winner(vec![
            named("a", &producer, mesh(), mesh()),
            named("z", &zone, mesh(), mesh())
        ]),
        "z"
    );
    let consumer = [(ORIGIN, "global"), (ROLE, "consumer")];
    assert_eq!(
        winner(vec![
            named("a", &producer, mesh(), multi_zone("")),
            named("z", &consumer, mesh(), mesh())
        ]),
        "z"
    );
    assert_eq!(
        winner(vec![
            named("a", &[], mesh(), mesh()),
            named("z", &[], mesh(), multi_zone(""))
        ]),
        "z"
    );
    assert_eq!(
        winner(vec![named("a", &[], mesh(), mesh()), named("z", &[], mesh(), mesh())]),
        "a"
    );
}

#[test]
fn a_route_is_narrower_than_a_port() {
    let reference = json!({ "kind": "MeshMultiZoneService", "name": "checkout" });
    let route = crate::fixtures::policy(
        PolicyKind::MeshHTTPRoute,
        "v2",
        &[],
        json!({ "to": [{ "targetRef": reference, "rules": [] }] }),
    );
    let id = route.id.clone();
    let by_route = named("z", &[], mesh(), json!({ "kind": "MeshHTTPRoute", "name": "v2" }));
    let by_port = named("a", &[], mesh(), multi_zone("http"));
    let all = effective([route, by_route, by_port]);
    let found = conf(all.to(PolicyKind::MeshTimeout, &checkout(), "http", &[id]));
    assert_eq!(found["idleTimeout"], "z");
}

#[test]
fn display_names_count_before_core_names() {
    let shown = |core: &str, display: &str| named(core, &[(DISPLAY_NAME, display)], mesh(), mesh());
    assert_eq!(winner(vec![shown("a", "zzz"), shown("z", "aaa")]), "z");
}

#[test]
fn of_two_items_of_one_policy_the_later_wins() {
    let policy = timeout(
        "t",
        &[],
        json!({ "to": [
            { "targetRef": { "kind": "Mesh" }, "default": { "idleTimeout": "1s", "connectionTimeout": "1s" } },
            { "targetRef": { "kind": "Mesh" }, "default": { "idleTimeout": "2s" } },
        ] }),
    );
    let found = conf(effective([policy]).to(PolicyKind::MeshTimeout, &checkout(), "http", &[]));
    assert_eq!(found, json!({ "idleTimeout": "2s", "connectionTimeout": "1s" }));
}
