//! Outgoing traffic by destination, backends, and what dangles (`spec/policies.md` §1.8 B, §1.9, §3).

use std::collections::BTreeMap;

use meshspan_model::policy::PolicyKind;
use meshspan_model::{Kind, Resource, ServiceIdentity, ServiceKind};
use meshspan_policy::{
    Backend, EffectivePolicies, Mode, NamedDestination, Policy, Resolved, Service, Services, Unresolved, dangling,
    resolve, resolve_backend,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::fixtures::{
    NAMESPACE, ORIGIN, ZONE, checkout, conf, effective, identity, names, policy, proxy, redis, service, services, set,
    timeout,
};

/// One item that sets `idleTimeout`.
fn to(name: &str, labels: &[(&str, &str)], reference: Value) -> Policy {
    let spec = json!({ "to": [{ "targetRef": reference, "default": { "idleTimeout": name } }] });
    timeout(name, labels, spec)
}

/// Where a single item applies, of the ports in [`services`].
fn reached(labels: &[(&str, &str)], reference: Value) -> Vec<String> {
    let effective = effective([to("t", labels, reference)]);
    let ports = [
        (redis("east"), "6379"),
        (redis("east"), "metrics"),
        (redis("west"), "6379"),
        (redis("west"), "metrics"),
        (checkout(), "http"),
        (checkout(), "admin"),
    ];
    ports
        .iter()
        .filter(|(service, section)| effective.to(PolicyKind::MeshTimeout, service, section, &[]).is_some())
        .map(|(service, section)| format!("{} {} {section}", service.name, service.zone))
        .collect()
}

#[test]
fn references_resolve_to_services_and_ports() {
    let zone = [(ORIGIN, "zone"), (ZONE, "east")];
    assert_eq!(reached(&[], json!({ "kind": "Mesh" })).len(), 6);
    // By name from a zone it is the zone's own; from the global control plane it is everyone's.
    let by_name = json!({ "kind": "MeshService", "name": "redis", "sectionName": "metrics" });
    assert_eq!(reached(&zone, by_name.clone()), ["redis east metrics"]);
    assert_eq!(reached(&[], by_name), ["redis east metrics", "redis west metrics"]);
    let by_label = json!({ "kind": "MeshService", "labels": { "kuma.io/zone": "west" } });
    assert_eq!(reached(&zone, by_label), ["redis west 6379", "redis west metrics"]);
    assert_eq!(
        reached(&[], json!({ "kind": "MeshMultiZoneService", "name": "checkout" })),
        ["checkout  http", "checkout  admin"]
    );
    assert_eq!(
        reached(&[], json!({ "kind": "MeshMultiZoneService", "name": "redis" })),
        Vec::<String>::new()
    );
    assert_eq!(
        reached(
            &[],
            json!({ "kind": "MeshMultiZoneService", "name": "checkout", "sectionName": "nope" })
        ),
        Vec::<String>::new()
    );
}

#[test]
fn a_kubernetes_service_tag_means_the_service_and_its_port() {
    let mut services = Services::new();
    let mut backend = service(ServiceKind::MeshService, "backend", "east", &[("", 80), ("", 81)]);
    backend.identity.namespace = "shop".to_owned();
    services.insert(backend);
    let policy = to(
        "t",
        &[],
        json!({ "kind": "MeshService", "name": "backend_shop_svc_80" }),
    );
    let all = EffectivePolicies::of(&proxy(&[]), &set([policy]), &services, Mode::Live);
    let backend = identity(ServiceKind::MeshService, "backend", "east", "shop");
    assert!(all.to(PolicyKind::MeshTimeout, &backend, "80", &[]).is_some());
    assert!(all.to(PolicyKind::MeshTimeout, &backend, "81", &[]).is_none());
}

#[test]
fn the_namespace_of_the_policy_is_the_default() {
    let mut services = Services::new();
    for namespace in ["shop", "other"] {
        let mut found = service(ServiceKind::MeshService, "redis", "east", &[("", 6379)]);
        found.identity.namespace = namespace.to_owned();
        services.insert(found);
    }
    let labels = [(ORIGIN, "zone"), (ZONE, "east"), (NAMESPACE, "shop")];
    let reaches = |reference: Value, namespace: &str| {
        let policy = to("t", &labels, reference);
        let all = EffectivePolicies::of(&proxy(&[(ZONE, "east")]), &set([policy]), &services, Mode::Live);
        all.to(
            PolicyKind::MeshTimeout,
            &identity(ServiceKind::MeshService, "redis", "east", namespace),
            "6379",
            &[],
        )
        .is_some()
    };
    let by_name = json!({ "kind": "MeshService", "name": "redis" });
    assert!(reaches(by_name.clone(), "shop"));
    assert!(!reaches(by_name, "other"));
    assert!(reaches(
        json!({ "kind": "MeshService", "name": "redis", "namespace": "other" }),
        "other"
    ));
}

#[test]
fn what_is_said_of_wider_destinations_is_included_with_its_origin() {
    let policy = timeout(
        "t",
        &[],
        json!({ "to": [
            { "targetRef": { "kind": "MeshMultiZoneService", "name": "checkout", "sectionName": "http" }, "default": { "http": { "requestTimeout": "3s" } } },
            { "targetRef": { "kind": "MeshMultiZoneService", "name": "checkout" }, "default": { "http": { "requestTimeout": "2s", "streamIdleTimeout": "2s" } } },
            { "targetRef": { "kind": "Mesh" }, "default": { "idleTimeout": "1s", "http": { "requestTimeout": "1s" } } },
        ] }),
    );
    let all = effective([policy]);
    let port = all.to(PolicyKind::MeshTimeout, &checkout(), "http", &[]).unwrap();
    assert_eq!(
        port.conf,
        json!({ "idleTimeout": "1s", "http": { "requestTimeout": "3s", "streamIdleTimeout": "2s" } })
    );
    assert_eq!(names(port.origins()), ["t to[2]", "t to[1]", "t to[0]"]);
    let decided = |pointer| names(port.decided_by(pointer).into_iter());
    assert_eq!(decided("/idleTimeout"), ["t to[2]"]);
    assert_eq!(decided("/http/streamIdleTimeout"), ["t to[1]"]);
    assert_eq!(decided("/http/requestTimeout"), ["t to[0]"]);
    assert_eq!(decided("/connectionTimeout"), Vec::<String>::new());

    let other_port = all.to(PolicyKind::MeshTimeout, &checkout(), "admin", &[]).unwrap();
    assert_eq!(names(other_port.origins()), ["t to[2]", "t to[1]"]);
    assert_eq!(
        conf(all.to(PolicyKind::MeshTimeout, &redis("east"), "6379", &[])),
        conf(all.outbound.everywhere(PolicyKind::MeshTimeout))
    );
    assert_eq!(all.to(PolicyKind::MeshRetry, &checkout(), "http", &[]), None);

    let entries: Vec<_> = all.outbound.entries(PolicyKind::MeshTimeout).into_keys().collect();
    let named = |service: Option<ServiceIdentity>, section: Option<&str>| NamedDestination {
        service,
        section: section.map(str::to_owned),
    };
    assert_eq!(
        entries,
        [
            named(None, None),
            named(Some(checkout()), None),
            named(Some(checkout()), Some("http"))
        ]
    );
}

#[test]
fn items_on_services_behind_a_multi_zone_service_do_not_apply_to_it() {
    let all = effective([to(
        "t",
        &[],
        json!({ "kind": "MeshService", "labels": {"kuma.io/zone": "east"} }),
    )]);
    assert_eq!(all.to(PolicyKind::MeshTimeout, &checkout(), "http", &[]), None);
}

fn route(name: &str, rules: Value) -> Policy {
    let reference = json!({ "kind": "MeshMultiZoneService", "name": "checkout" });
    policy(
        PolicyKind::MeshHTTPRoute,
        name,
        &[],
        json!({ "to": [{ "targetRef": reference, "rules": rules }] }),
    )
}

#[test]
fn items_for_a_route_apply_to_its_traffic_only() {
    let v2 = route("v2", json!([]));
    let id = v2.id.clone();
    let new_form = to("new", &[], json!({ "kind": "MeshHTTPRoute", "name": "v2" }));
    let old_form = timeout(
        "old",
        &[],
        json!({ "targetRef": { "kind": "MeshHTTPRoute", "name": "v2" }, "to": [{ "targetRef": { "kind": "Mesh" }, "default": { "http": { "requestTimeout": "9s" } } }] }),
    );
    let all = effective([v2, new_form, old_form]);
    assert_eq!(all.to(PolicyKind::MeshTimeout, &checkout(), "http", &[]), None);
    assert_eq!(
        conf(all.to(PolicyKind::MeshTimeout, &checkout(), "http", &[id])),
        json!({ "idleTimeout": "new", "http": { "requestTimeout": "9s" } })
    );
    let mut other = route("other", json!([])).id;
    assert_eq!(
        all.to(
            PolicyKind::MeshTimeout,
            &checkout(),
            "http",
            std::slice::from_ref(&other)
        ),
        None
    );
    other.name = "v2".to_owned();
    assert!(all.to(PolicyKind::MeshTimeout, &checkout(), "http", &[other]).is_some());
}

#[test]
fn merged_routing_rules_know_their_policies() {
    let rule = |path: &str| json!({ "matches": [{ "path": { "value": path } }], "default": {} });
    let a = route("a", json!([rule("/a"), rule("/both")]));
    let b = route("b", json!([rule("/both")]));
    let merged = effective([a, b])
        .to(PolicyKind::MeshHTTPRoute, &checkout(), "http", &[])
        .unwrap();
    let origins: Vec<_> = merged
        .rule_origins()
        .into_iter()
        .map(|origins| names(origins.into_iter()))
        .collect();
    assert_eq!(origins, [vec!["a to[0]"], vec!["b to[0]", "a to[0]"]]);
    assert_eq!(merged.conf["rules"].as_array().unwrap().len(), 2);

    let tcp = |name: &str| {
        let reference = json!({ "kind": "MeshMultiZoneService", "name": "checkout" });
        policy(
            PolicyKind::MeshTCPRoute,
            name,
            &[],
            json!({ "to": [{ "targetRef": reference, "rules": [{ "default": { "backendRefs": [] } }] }] }),
        )
    };
    let merged = effective([tcp("a"), tcp("b")])
        .to(PolicyKind::MeshTCPRoute, &checkout(), "http", &[])
        .unwrap();
    let origins: Vec<_> = merged
        .rule_origins()
        .into_iter()
        .map(|origins| names(origins.into_iter()))
        .collect();
    assert_eq!(origins, [vec!["a to[0]"]]);
}

/// The backends of a route after translation, resolved.
fn backends(labels: &[(&str, &str)], written: Value, services: &Services) -> Vec<Result<Backend, Unresolved>> {
    let reference = json!({ "kind": "MeshMultiZoneService", "name": "checkout" });
    let rules = json!([{ "matches": [{}], "default": { "backendRefs": written } }]);
    let route = policy(
        PolicyKind::MeshHTTPRoute,
        "r",
        labels,
        json!({ "to": [{ "targetRef": reference, "rules": rules }] }),
    );
    let list = &route.to[0].contribution.conf["rules"][0]["default"]["backendRefs"];
    let list = list.as_array().unwrap().iter();
    list.map(|backend| resolve_backend(backend, "default", services))
        .collect()
}

fn backend(service: ServiceIdentity, section: &str, weight: u32) -> Result<Backend, Unresolved> {
    Ok(Backend {
        service,
        section: section.to_owned(),
        weight,
    })
}

#[test]
fn backends_are_relative_to_their_policy() {
    let zone = [(ORIGIN, "zone"), (ZONE, "west")];
    assert_eq!(
        backends(
            &zone,
            json!([
                { "kind": "MeshService", "name": "redis", "port": 9090, "weight": 10 },
                { "kind": "MeshServiceSubset", "name": "redis", "tags": { "kuma.io/zone": "west" }, "port": 6379 },
                { "kind": "MeshMultiZoneService", "name": "checkout", "port": 8080, "weight": 0 },
                { "kind": "MeshService", "labels": { "kuma.io/display-name": "redis", "kuma.io/zone": "east" }, "port": 6379 },
            ]),
            &services()
        ),
        [
            backend(redis("west"), "metrics", 10),
            backend(redis("west"), "6379", 1),
            backend(checkout(), "http", 0),
            backend(redis("east"), "6379", 1),
        ]
    );
}

#[test]
fn a_backend_without_port_is_the_only_port() {
    let mut services = services();
    services.insert(service(ServiceKind::MeshService, "db", "east", &[("sql", 5432)]));
    assert_eq!(
        backends(&[], json!([{ "kind": "MeshService", "name": "db" }]), &services),
        [backend(identity(ServiceKind::MeshService, "db", "east", ""), "sql", 1)]
    );
    let several = backends(&[], json!([{ "kind": "MeshService", "name": "redis" }]), &services);
    let message = several[0].as_ref().unwrap_err().to_string();
    assert_eq!(message, "MeshService \"redis\" has 2 ports, port must be defined");
}

#[test]
fn a_service_outside_the_mesh_has_one_port_which_is_called_by_its_number() {
    let spec = json!({ "match": { "type": "HostnameGenerator", "port": 443, "protocol": "http" } });
    let resource = Resource::new(Kind::MeshExternalService, "default", "bank", spec);
    let kind = ServiceKind::MeshExternalService;
    let mut services = services();
    services.insert(Service::of(kind, &resource, "east").unwrap());
    let bank = identity(kind, "bank", "", "");
    let named = |port: Option<u32>| json!([{ "kind": "MeshExternalService", "name": "bank", "port": port }]);
    for port in [None, Some(443)] {
        assert_eq!(
            backends(&[], named(port), &services),
            [backend(bank.clone(), "443", 1)],
            "{port:?}"
        );
    }
    let wrong = backends(&[], named(Some(80)), &services);
    assert_eq!(
        wrong[0].as_ref().unwrap_err().to_string(),
        "MeshExternalService \"bank\" has no port 80"
    );
    let policy = timeout(
        "t",
        &[],
        json!({ "to": [
            { "targetRef": { "kind": "MeshExternalService", "name": "bank" }, "default": { "idleTimeout": "1s" } },
            { "targetRef": { "kind": "MeshExternalService", "name": "shop" }, "default": { "idleTimeout": "2s" } },
        ] }),
    );
    let resolved: Vec<_> = policy.to.iter().map(|item| resolve(item, &services)).collect();
    assert_eq!(
        resolved,
        [
            Resolved::Services(BTreeMap::from([(bank, None)])),
            Resolved::Services(BTreeMap::new()),
        ]
    );
}

#[test]
fn of_several_backends_the_oldest_counts() {
    let mut services = Services::new();
    for (zone, age) in [("east", 1), ("west", 2)] {
        let mut found = service(ServiceKind::MeshService, "redis", zone, &[("", 6379)]);
        found.creation_time = OffsetDateTime::UNIX_EPOCH - Duration::days(age);
        services.insert(found);
    }
    assert_eq!(
        backends(
            &[],
            json!([{ "kind": "MeshService", "name": "redis", "port": 6379 }]),
            &services
        ),
        [backend(redis("west"), "6379", 1)]
    );
}

#[test]
fn what_dangles_is_reported_and_works_again_when_the_target_returns() {
    let policy = timeout(
        "t",
        &[],
        json!({ "to": [
            { "targetRef": { "kind": "Mesh" }, "default": { "idleTimeout": "1s" } },
            { "targetRef": { "kind": "MeshService", "name": "db" }, "default": { "idleTimeout": "2s" } },
            { "targetRef": { "kind": "MeshMultiZoneService", "name": "checkout", "sectionName": "grpc" }, "default": {} },
            { "targetRef": { "kind": "MeshHTTPRoute", "name": "v2" }, "default": {} },
        ] }),
    );
    let policies = set([policy.clone()]);
    let mut services = services();
    let report = |policies, services: &Services| {
        let found = dangling(&policy, policies, services).into_iter();
        found
            .map(|found| format!("{}: {}", found.field, found.message))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        report(&policies, &services),
        [
            "spec.to[1].targetRef: there is no MeshService with labels kuma.io/display-name=db",
            "spec.to[2].targetRef: no MeshMultiZoneService with labels kuma.io/display-name=checkout has a port \"grpc\"",
            "spec.to[3].targetRef: there is no MeshHTTPRoute with labels kuma.io/display-name=v2",
        ]
    );
    // The other items work.
    let all = EffectivePolicies::of(&proxy(&[]), &policies, &services, Mode::Live);
    assert_eq!(
        conf(all.to(PolicyKind::MeshTimeout, &checkout(), "http", &[])),
        json!({ "idleTimeout": "1s" })
    );
    services.insert(service(ServiceKind::MeshService, "db", "east", &[("", 5432)]));
    assert_eq!(report(&policies, &services).len(), 2);
    let all = EffectivePolicies::of(&proxy(&[]), &policies, &services, Mode::Live);
    let db = identity(ServiceKind::MeshService, "db", "east", "");
    assert_eq!(
        conf(all.to(PolicyKind::MeshTimeout, &db, "5432", &[])),
        json!({ "idleTimeout": "2s" })
    );
    services.remove(&db);
    assert_eq!(report(&policies, &services).len(), 3);
}

#[test]
fn dangling_backends_are_reported_by_path() {
    let route = route(
        "r",
        json!([{ "matches": [{}], "default": { "backendRefs": [
        { "kind": "MeshMultiZoneService", "name": "checkout", "port": 8080 },
        { "kind": "MeshMultiZoneService", "name": "checkout", "port": 1 },
    ] } }]),
    );
    let found = dangling(&route, &set([route.clone()]), &services());
    let found: Vec<_> = found
        .iter()
        .map(|found| (found.field.as_str(), found.message.as_str()))
        .collect();
    assert_eq!(
        found,
        [(
            "spec.to[0].rules[0].default.backendRefs[1]",
            "MeshMultiZoneService \"checkout\" has no port 1"
        )]
    );
}
