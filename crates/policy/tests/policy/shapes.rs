//! Which parts a policy has, and documents as they were written.

use meshspan_model::policy::{Document, PolicyKind, Role, check};
use serde_json::{Value, json};

use crate::fixtures::{timeout, violations};

#[test]
fn kinds_have_unique_names_and_are_found_by_them() {
    for kind in PolicyKind::ALL.iter().copied() {
        assert_eq!(PolicyKind::from_name(kind.name()), Some(kind));
        let info = kind.info();
        assert!(info.parts().next().is_some(), "{kind} has no parts");
        let resource = |kind: PolicyKind| kind.kind().info();
        let (path, short_name) = (resource(kind).path, resource(kind).short_name);
        let same = |other: &&PolicyKind| resource(**other).path == path || resource(**other).short_name == short_name;
        assert_eq!(PolicyKind::ALL.iter().filter(same).count(), 1, "{kind}");
        assert!(
            info.required.iter().all(|part| info.parts().any(|own| own == *part)),
            "{kind}"
        );
    }
    assert_eq!(PolicyKind::ALL.len(), 16);
}

#[test]
fn kinds_are_applied_in_the_order_of_the_reference() {
    let order = [
        "MeshHTTPRoute",
        "MeshTCPRoute",
        "MeshTLS",
        "MeshLoadBalancingStrategy",
        "MeshPassthrough",
        "MeshAccessLog",
        "MeshTrace",
        "MeshFaultInjection",
        "MeshRateLimit",
        "MeshTimeout",
        "MeshTrafficPermission",
        "MeshCircuitBreaker",
        "MeshHealthCheck",
        "MeshRetry",
        "MeshMetric",
        "MeshProxyPatch",
    ];
    let names: Vec<_> = PolicyKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names, order);
}

#[test]
fn parts_that_a_kind_does_not_have_are_refused() {
    let item = json!([{ "targetRef": { "kind": "Mesh" }, "default": {} }]);
    assert_eq!(
        violations(PolicyKind::MeshTrace, &json!({ "default": {}, "to": item })),
        ["spec.to: MeshTrace has no such part, only default"]
    );
    assert_eq!(
        violations(PolicyKind::MeshRetry, &json!({ "to": item, "from": item })),
        ["spec.from: MeshRetry has no such part, only to"]
    );
    assert_eq!(
        violations(PolicyKind::MeshTimeout, &json!({ "to": item, "default": {} })),
        ["spec.default: MeshTimeout has no such part, only from and rules and to"]
    );
}

#[test]
fn parts_that_are_required() {
    assert_eq!(
        violations(PolicyKind::MeshTimeout, &json!({ "to": [] })),
        ["spec: at least one of to, from, rules has to be defined"]
    );
    assert_eq!(
        violations(PolicyKind::MeshRetry, &json!({})),
        ["spec.to: needs at least one item"]
    );
    assert_eq!(
        violations(PolicyKind::MeshTrafficPermission, &json!({})),
        ["spec: at least one of from, rules has to be defined"]
    );
    assert_eq!(
        violations(PolicyKind::MeshHealthCheck, &json!({})),
        Vec::<String>::new()
    );
}

#[test]
fn parts_that_exclude_each_other() {
    let item = json!([{ "targetRef": { "kind": "Mesh" }, "default": {} }]);
    let rules = json!([{ "default": {} }]);
    for kind in [PolicyKind::MeshTimeout, PolicyKind::MeshAccessLog] {
        assert_eq!(
            violations(kind, &json!({ "to": item, "rules": rules })),
            ["spec.to: must not be set together with rules; write two policies"]
        );
    }
    assert_eq!(
        violations(PolicyKind::MeshCircuitBreaker, &json!({ "to": item, "rules": rules })),
        Vec::<String>::new()
    );
    assert_eq!(
        violations(PolicyKind::MeshTLS, &json!({ "from": item, "rules": rules })),
        ["spec.from: must not be set together with rules, its newer form"]
    );
    assert_eq!(
        violations(
            PolicyKind::MeshTimeout,
            &json!({ "targetRef": { "kind": "MeshGateway", "name": "edge" }, "from": item })
        ),
        ["spec.from: must not be set when spec.targetRef.kind is MeshGateway"]
    );
}

#[test]
fn limits_and_faults_are_for_gateways_or_sidecars() {
    let item = json!([{ "targetRef": { "kind": "Mesh" }, "default": {} }]);
    let sidecars = json!({ "kind": "Mesh", "proxyTypes": ["Sidecar"] });
    for kind in [PolicyKind::MeshRateLimit, PolicyKind::MeshFaultInjection] {
        assert_eq!(
            violations(kind, &json!({ "from": item })),
            [
                "spec.from: is about sidecars, and spec.targetRef can select gateways; add proxyTypes: [Sidecar] to spec.targetRef"
            ]
        );
        assert_eq!(
            violations(kind, &json!({ "targetRef": sidecars, "to": item })),
            ["spec.to: is about gateways, and spec.targetRef selects none; use from or rules"]
        );
        assert_eq!(violations(kind, &json!({ "to": item })), Vec::<String>::new());
        assert_eq!(
            violations(kind, &json!({ "targetRef": sidecars, "from": item })),
            Vec::<String>::new()
        );
    }
}

#[test]
fn rules_select_clients_where_the_kind_can() {
    let spec = |found: Value| json!({ "rules": [{ "matches": [found], "default": {} }] });
    let valid = spec(json!({ "spiffeID": { "type": "Prefix", "value": "spiffe://default" } }));
    assert_eq!(violations(PolicyKind::MeshFaultInjection, &valid), Vec::<String>::new());
    assert_eq!(
        violations(PolicyKind::MeshTimeout, &valid),
        ["spec.rules[0].matches: must not be set: MeshTimeout rules apply to all clients"]
    );
    assert_eq!(
        violations(PolicyKind::MeshFaultInjection, &spec(json!({}))),
        ["spec.rules[0].matches[0]: must have spiffeID or sni"]
    );
    assert_eq!(
        violations(
            PolicyKind::MeshFaultInjection,
            &spec(json!({ "spiffeID": { "type": "Exact", "value": "web" }, "sni": { "type": "Exact", "value": "" } }))
        ),
        [
            "spec.rules[0].matches[0].spiffeID.value: is \"web\", must start with spiffe://",
            "spec.rules[0].matches[0].sni.value: must be defined",
        ]
    );
    let unknown = spec(json!({ "sni": { "type": "Prefix", "value": "a" } }));
    assert!(
        violations(PolicyKind::MeshFaultInjection, &unknown)[0]
            .starts_with("spec.rules[0].matches[0].sni.type: is \"Prefix\", must be")
    );
}

#[test]
fn fields_that_all_proxies_agree_on_need_the_whole_mesh() {
    let spec = |top: &str| json!({ "targetRef": { "kind": top }, "rules": [{ "default": { "tlsCiphers": [], "mode": "Strict" } }] });
    assert_eq!(violations(PolicyKind::MeshTLS, &spec("Mesh")), Vec::<String>::new());
    assert_eq!(
        violations(PolicyKind::MeshTLS, &spec("MeshSubset")),
        [
            "spec.rules[0].default.tlsCiphers: must not be set unless spec.targetRef.kind is Mesh, since all proxies have to agree on it"
        ]
    );
}

#[test]
fn routes_have_rules_with_backends() {
    let spec = |rules: Value| json!({ "to": [{ "targetRef": { "kind": "MeshMultiZoneService", "name": "checkout" }, "rules": rules }] });
    let backends = |backends: Value| spec(json!([{ "matches": [{}], "default": { "backendRefs": backends } }]));
    let path = "spec.to[0].rules[0].default.backendRefs[0]";
    let route = PolicyKind::MeshHTTPRoute;
    assert_eq!(
        violations(route, &spec(json!([{ "default": {} }]))),
        ["spec.to[0].rules[0].matches: must be an array with at least one item"]
    );
    assert_eq!(
        violations(route, &backends(json!([{ "kind": "MeshServiceSubset" }]))),
        [format!("{path}.name: must be set with kind MeshServiceSubset")]
    );
    assert_eq!(
        violations(
            route,
            &backends(json!([{ "kind": "MeshMultiZoneService", "name": "checkout" }]))
        ),
        [format!("{path}.port: must be set with kind MeshMultiZoneService")]
    );
    assert_eq!(
        violations(route, &backends(json!([{ "kind": "Mesh" }]))),
        [format!(
            "{path}.kind: value is not supported: \"Mesh\", must be MeshService, MeshServiceSubset, MeshExternalService or MeshMultiZoneService"
        )]
    );
    assert!(
        violations(
            route,
            &backends(json!([{ "kind": "MeshService", "name": "a", "weight": -1 }]))
        )[0]
        .starts_with(&format!("{path}.weight: "))
    );
    let mirror = json!([{ "matches": [{}], "default": { "filters": [{ "type": "RequestMirror", "requestMirror": { "backendRef": { "kind": "MeshService" } } }] } }]);
    assert_eq!(
        violations(route, &spec(mirror)),
        [
            "spec.to[0].rules[0].default.filters[0].requestMirror.backendRef.name: must be set with kind MeshService, or labels instead"
        ]
    );
    let one = json!({ "default": { "backendRefs": [{ "kind": "MeshService", "name": "a", "port": 80 }] } });
    assert_eq!(
        violations(PolicyKind::MeshTCPRoute, &spec(json!([one]))),
        Vec::<String>::new()
    );
    assert_eq!(
        violations(PolicyKind::MeshTCPRoute, &spec(json!([one, one]))),
        ["spec.to[0].rules: has 2 items, must have no more than 1"]
    );
    let mut hostnames = spec(json!([]));
    hostnames["to"][0]["hostnames"] = json!(["a.example"]);
    assert_eq!(
        violations(route, &hostnames),
        ["spec.to[0].hostnames: must not be set unless spec.targetRef.kind is MeshGateway"]
    );
}

#[test]
fn types_that_do_not_fit_are_named_by_path() {
    assert_eq!(
        violations(PolicyKind::MeshTimeout, &json!([])),
        ["spec: must be an object"]
    );
    assert!(
        violations(
            PolicyKind::MeshTimeout,
            &json!({ "to": [{ "targetRef": { "kind": 1 } }] })
        )[0]
        .starts_with("spec.to[0].targetRef.kind: ")
    );
    assert_eq!(
        violations(
            PolicyKind::MeshTimeout,
            &json!({ "to": [{ "targetRef": { "kind": "Mesh" }, "default": [] }] })
        ),
        ["spec.to[0].default: must be an object"]
    );
}

#[test]
fn old_forms_are_accepted_with_a_warning() {
    let spec = json!({
        "targetRef": { "kind": "MeshSubset", "tags": { "version": "v1" } },
        "from": [{ "targetRef": { "kind": "Mesh" }, "default": {} }],
    });
    let checked = check(PolicyKind::MeshTimeout, &spec, Role::System).unwrap();
    assert_eq!(
        checked.warnings,
        [
            "spec.targetRef.kind: MeshSubset is deprecated: select proxies with kind Dataplane and labels",
            "spec.from is deprecated: use spec.rules",
        ]
    );
}

#[test]
fn unknown_fields_outside_of_confs_are_pointed_out() {
    let spec = json!({
        "targetref": { "kind": "MeshSubset" },
        "to": [{ "targetRef": { "kind": "Mesh", "section": "x" }, "default": { "unknown": 1 } }],
    });
    let checked = check(PolicyKind::MeshRetry, &spec, Role::System).unwrap();
    assert_eq!(
        checked.warnings,
        [
            "unknown field \"spec.targetref\" is ignored",
            "unknown field \"spec.to[0].targetRef.section\" is ignored",
        ]
    );
}

#[test]
fn lists_are_bounded() {
    let item = json!({ "targetRef": { "kind": "Mesh" }, "default": {} });
    let spec = json!({ "to": vec![item; meshspan_model::policy::MAX_ITEMS + 1] });
    assert_eq!(
        violations(PolicyKind::MeshRetry, &spec),
        ["spec.to: has 1025 items, must have no more than 1024; write several policies"]
    );
}

#[test]
fn documents_stay_as_written() {
    let spec = json!({
        "targetRef": { "kind": "MeshSubset", "tags": { "version": "v1" }, "proxyTypes": [] },
        "to": [{ "targetRef": { "kind": "MeshService", "name": "redis" }, "default": { "http": {}, "unknown": [1.5, null] } }],
        "from": [{ "targetRef": { "kind": "Mesh" }, "default": {} }],
    });
    assert_eq!(timeout("t", &[], spec.clone()).resource.spec, spec);
    let document = Document::parse(&spec, &mut Vec::new()).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), spec);
}
