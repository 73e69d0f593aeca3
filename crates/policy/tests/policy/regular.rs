//! What is irregular in the reference and regular here (`spec/policies.md` §7.3 and the marks in §1): one test each.

use meshspan_model::policy::PolicyKind;
use meshspan_model::{ServiceIdentity, ServiceKind};
use meshspan_policy::{EffectivePolicies, Mode, Policy};
use serde_json::{Value, json};

use crate::fixtures::{
    DISPLAY_NAME, NAMESPACE, ORIGIN, ROLE, ZONE, checkout, conf, effective, map, policy, proxy, redis, service,
    services, set, timeout, violations,
};

fn to(name: &str, labels: &[(&str, &str)], reference: Value) -> Policy {
    let spec = json!({ "to": [{ "targetRef": reference, "default": { "idleTimeout": name } }] });
    timeout(name, labels, spec)
}

#[test]
fn a_zone_may_name_a_global_multi_zone_service() {
    for labels in [
        vec![(ORIGIN, "zone"), (ZONE, "east")],
        vec![
            (ORIGIN, "zone"),
            (ZONE, "east"),
            (NAMESPACE, "shop"),
            (ROLE, "consumer"),
        ],
        vec![(ORIGIN, "global")],
        vec![],
    ] {
        for reference in [
            json!({ "kind": "MeshMultiZoneService", "name": "checkout" }),
            json!({ "kind": "MeshMultiZoneService", "labels": { DISPLAY_NAME: "checkout" } }),
        ] {
            let policies = set([to("t", &labels, reference.clone())]);
            let proxy = proxy(&[(ZONE, "east"), (NAMESPACE, "shop")]);
            let all = EffectivePolicies::of(&proxy, &policies, &services(), Mode::Live);
            let found = conf(all.to(PolicyKind::MeshTimeout, &checkout(), "http", &[]));
            assert_eq!(found["idleTimeout"], "t", "{labels:?} {reference}");
        }
    }
}

#[test]
fn synced_copies_are_found_by_the_name_that_users_gave() {
    let mut services = services();
    let mut copy = service(ServiceKind::MeshMultiZoneService, "ledger", "", &[("", 80)]);
    copy.labels = map(&[(DISPLAY_NAME, "ledger"), (ORIGIN, "global")]);
    let identity = copy.identity.clone();
    services.insert(copy);
    let policies = set([to(
        "t",
        &[],
        json!({ "kind": "MeshMultiZoneService", "name": "ledger" }),
    )]);
    let all = EffectivePolicies::of(&proxy(&[]), &policies, &services, Mode::Live);
    assert!(all.to(PolicyKind::MeshTimeout, &identity, "80", &[]).is_some());
}

#[test]
fn sections_count_for_every_kind_of_service() {
    for (kind, name, section, identity) in [
        ("MeshMultiZoneService", "checkout", "http", checkout()),
        ("MeshService", "redis", "metrics", redis("east")),
    ] {
        let port = to(
            "zzz",
            &[],
            json!({ "kind": kind, "name": name, "sectionName": section }),
        );
        let whole = to("aaa", &[], json!({ "kind": kind, "name": name }));
        let found = conf(effective([port, whole]).to(PolicyKind::MeshTimeout, &identity, section, &[]));
        assert_eq!(found["idleTimeout"], "zzz", "{kind}");
    }
}

#[test]
fn the_number_of_a_named_port_is_the_same_section() {
    let by_number = to(
        "number",
        &[],
        json!({ "kind": "MeshMultiZoneService", "name": "checkout", "sectionName": "8080" }),
    );
    let all = effective([by_number]);
    assert_eq!(
        conf(all.to(PolicyKind::MeshTimeout, &checkout(), "http", &[]))["idleTimeout"],
        "number"
    );
    assert_eq!(all.to(PolicyKind::MeshTimeout, &checkout(), "admin", &[]), None);
    // A backend is given by number and found under the same name.
    let reference = json!({ "kind": "MeshMultiZoneService", "labels": { DISPLAY_NAME: "checkout" }, "port": 8080 });
    let backend = meshspan_policy::resolve_backend(&reference, "default", &services()).unwrap();
    assert_eq!(backend.section, "http");
    assert!(
        all.to(PolicyKind::MeshTimeout, &backend.service, &backend.section, &[])
            .is_some()
    );
}

#[test]
fn references_to_multi_zone_services_are_checked() {
    let spec = |reference: Value| json!({ "to": [{ "targetRef": reference, "default": {} }] });
    assert_eq!(
        violations(PolicyKind::MeshRetry, &spec(json!({ "kind": "MeshMultiZoneService" }))),
        ["spec.to[0].targetRef.name: must be set with kind MeshMultiZoneService, or labels instead"]
    );
    assert_eq!(
        violations(
            PolicyKind::MeshRetry,
            &spec(json!({ "kind": "MeshMultiZoneService", "name": "a", "tags": { "a": "b" } }))
        ),
        ["spec.to[0].targetRef.tags: must not be set with kind MeshMultiZoneService"]
    );
}

#[test]
fn equal_display_names_have_one_order() {
    let twin = |core: &str, zone: &str| to(core, &[(DISPLAY_NAME, "same"), (ZONE, zone)], json!({ "kind": "Mesh" }));
    let winner =
        |policies: Vec<Policy>| conf(effective(policies).to(PolicyKind::MeshTimeout, &checkout(), "http", &[]));
    let one = winner(vec![twin("x", "east"), twin("y", "west")]);
    let other = winner(vec![twin("y", "west"), twin("x", "east")]);
    assert_eq!(one, other);
    assert_eq!(one["idleTimeout"], "y");
}

#[test]
fn an_empty_list_overrides_wherever_it_stands() {
    let strategy = |name: &str, failover: Value| {
        let spec = json!({ "to": [{ "targetRef": { "kind": "Mesh" }, "default": { "localityAwareness": { "crossZone": { "failover": failover } } } }] });
        policy(PolicyKind::MeshLoadBalancingStrategy, name, &[], spec)
    };
    let low = strategy("z", json!([{ "to": { "type": "Any" } }]));
    let high = strategy("a", json!([]));
    let found = conf(effective([low, high]).to(PolicyKind::MeshLoadBalancingStrategy, &checkout(), "http", &[]));
    assert_eq!(
        found,
        json!({ "localityAwareness": { "crossZone": { "failover": [] } } })
    );
}

#[test]
fn shadow_counts_for_every_kind() {
    let shadow = [("kuma.io/effect", "shadow")];
    let spec = json!({ "rules": [{ "default": { "mode": "Strict" } }] });
    let policies = set([policy(PolicyKind::MeshTLS, "t", &shadow, spec)]);
    let inbound = |mode| EffectivePolicies::of(&proxy(&[]), &policies, &services(), mode).inbounds[0].len();
    assert_eq!(inbound(Mode::Live), 0);
    assert_eq!(inbound(Mode::WithShadow), 1);
}

#[test]
fn all_destinations_take_one_path() {
    // One lookup serves services of a zone and of many zones, with what is said of all of them.
    let all = effective([
        to("mesh", &[], json!({ "kind": "Mesh" })),
        to("zoned", &[], json!({ "kind": "MeshService", "name": "redis" })),
        to(
            "zones",
            &[],
            json!({ "kind": "MeshMultiZoneService", "name": "checkout" }),
        ),
    ]);
    let found = |service: ServiceIdentity| {
        conf(all.to(PolicyKind::MeshTimeout, &service, "metrics", &[]))["idleTimeout"].clone()
    };
    assert_eq!(found(redis("east")), "zoned");
    assert_eq!(found(checkout()), "zones");
}

#[test]
fn routing_rules_keep_their_order_without_being_turned_around() {
    let rule = |path: &str| json!({ "matches": [{ "path": { "type": "Exact", "value": path } }], "default": {} });
    let reference = json!({ "kind": "MeshMultiZoneService", "name": "checkout" });
    let route = |name: &str, rules: Value| {
        policy(
            PolicyKind::MeshHTTPRoute,
            name,
            &[],
            json!({ "to": [{ "targetRef": reference, "rules": rules }] }),
        )
    };
    let high = route("a", json!([rule("/1"), rule("/2")]));
    let low = route("b", json!([rule("/3"), rule("/1"), rule("/4")]));
    let found = conf(effective([low, high]).to(PolicyKind::MeshHTTPRoute, &checkout(), "http", &[]));
    assert_eq!(
        found,
        json!({ "rules": [rule("/1"), rule("/2"), rule("/3"), rule("/4")] })
    );
}
