//! Which references are accepted where, with path and message (`spec/policies.md` §1.2, §1.3).

use meshspan_model::policy::{PolicyKind, Role, TargetKind};
use serde_json::{Value, json};

use crate::fixtures::{violations, violations_as};

fn top(reference: Value) -> Vec<String> {
    violations(PolicyKind::MeshHTTPRoute, &json!({ "targetRef": reference, "to": [] }))
}

fn to(reference: Value) -> Vec<String> {
    violations(
        PolicyKind::MeshTimeout,
        &json!({ "to": [{ "targetRef": reference, "default": { "idleTimeout": "1s" } }] }),
    )
}

const TO: &str = "spec.to[0].targetRef";

#[test]
fn valid_references_to_proxies() {
    for reference in [
        json!({ "kind": "Mesh" }),
        json!({ "kind": "Mesh", "proxyTypes": ["Sidecar", "Gateway"] }),
        json!({ "kind": "MeshSubset", "tags": { "kuma.io/zone": "east", "version": "v1" }, "proxyTypes": [] }),
        json!({ "kind": "Dataplane" }),
        json!({ "kind": "Dataplane", "labels": { "app": "web" }, "sectionName": "http" }),
        json!({ "kind": "Dataplane", "name": "web-1", "namespace": "shop" }),
        json!({ "kind": "MeshGateway", "name": "edge.namespace", "tags": { "port": "http" } }),
        json!({ "kind": "MeshService", "name": "backend_shop_svc_80" }),
        json!({ "kind": "MeshServiceSubset", "name": "backend" }),
    ] {
        assert_eq!(top(reference.clone()), Vec::<String>::new(), "{reference}");
    }
}

#[test]
fn valid_references_to_destinations() {
    for reference in [
        json!({ "kind": "Mesh" }),
        json!({ "kind": "MeshService", "name": "redis", "namespace": "shop", "sectionName": "6379" }),
        json!({ "kind": "MeshService", "labels": { "kuma.io/zone": "east" }, "sectionName": "tcp" }),
        json!({ "kind": "MeshMultiZoneService", "name": "checkout" }),
        json!({ "kind": "MeshMultiZoneService", "labels": { "kuma.io/display-name": "checkout" }, "sectionName": "http" }),
        json!({ "kind": "MeshExternalService", "name": "bank" }),
        json!({ "kind": "MeshHTTPRoute", "name": "v2" }),
    ] {
        assert_eq!(to(reference.clone()), Vec::<String>::new(), "{reference}");
    }
}

#[test]
fn fields_that_do_not_belong_to_a_kind_are_refused() {
    let refused = |field: &str, kind: &str| format!("spec.targetRef.{field}: must not be set with kind {kind}");
    assert_eq!(
        top(
            json!({ "kind": "Mesh", "mesh": "m", "name": "n", "namespace": "ns", "labels": { "a": "b" }, "sectionName": "s", "tags": { "a": "b" } })
        ),
        ["mesh", "name", "labels", "namespace", "sectionName", "tags"].map(|field| refused(field, "Mesh"))
    );
    assert_eq!(
        top(json!({ "kind": "MeshService", "name": "backend", "labels": { "a": "b" }, "proxyTypes": ["Sidecar"] })),
        [refused("labels", "MeshService"), refused("proxyTypes", "MeshService")]
    );
    assert_eq!(
        violations(
            PolicyKind::MeshTrace,
            &json!({ "targetRef": { "kind": "MeshGateway", "name": "edge", "tags": { "port": "http" } } })
        ),
        [refused("tags", "MeshGateway")]
    );
    assert_eq!(
        to(json!({ "kind": "MeshExternalService", "name": "bank", "sectionName": "443" })),
        [format!(
            "{TO}.sectionName: must not be set with kind MeshExternalService"
        )]
    );
}

#[test]
fn a_reference_needs_what_names_its_target() {
    assert_eq!(
        top(json!({ "name": "n" })),
        [
            "spec.targetRef.kind: must be defined: Mesh, MeshSubset, MeshGateway, Dataplane, MeshService or MeshServiceSubset"
        ]
    );
    assert_eq!(
        top(json!({ "kind": "MeshServiceSubset", "tags": {} })),
        ["spec.targetRef.name: must be set with kind MeshServiceSubset"]
    );
    let either = [format!(
        "{TO}.labels: either labels or name and namespace must be specified"
    )];
    for kind in [
        "MeshService",
        "MeshExternalService",
        "MeshMultiZoneService",
        "MeshHTTPRoute",
    ] {
        assert_eq!(
            to(json!({ "kind": kind, "namespace": "shop" })),
            [format!("{TO}.name: must be set with kind {kind}, or labels instead")]
        );
        assert_eq!(to(json!({ "kind": kind, "name": "n", "labels": { "a": "b" } })), either);
        assert_eq!(
            to(json!({ "kind": kind, "namespace": "n", "labels": { "a": "b" } })),
            either
        );
    }
    assert_eq!(
        violations(PolicyKind::MeshTimeout, &json!({ "to": [{ "default": {} }] })),
        [
            "spec.to[0].targetRef: must be defined, with kind Mesh, MeshService, MeshExternalService, MeshMultiZoneService or MeshHTTPRoute"
        ]
    );
}

#[test]
fn values_have_an_alphabet() {
    assert_eq!(
        to(json!({ "kind": "MeshService", "name": "*" })),
        [format!(
            "{TO}.name: invalid characters: must consist of lower case alphanumeric characters, '-', '.' and '_'."
        )]
    );
    assert_eq!(
        top(json!({ "kind": "MeshSubset", "tags": { "": "v", "bad*": "v", "empty": "", "t": "bad?" } })),
        [
            "spec.targetRef.tags: tag name must be non-empty",
            "spec.targetRef.tags[\"bad*\"]: tag name must consist of alphanumeric characters, dots, dashes, slashes, colons and underscores",
            "spec.targetRef.tags[\"empty\"]: tag value must be non-empty",
            "spec.targetRef.tags[\"t\"]: tag value must consist of alphanumeric characters, dots, dashes, colons and underscores",
        ]
    );
    assert_eq!(
        top(json!({ "kind": "Mesh", "proxyTypes": ["Sidecar", "Router"] })),
        ["spec.targetRef.proxyTypes[1]: value is not supported: \"Router\", must be Sidecar or Gateway"]
    );
    assert!(
        to(json!({ "kind": "MeshService", "name": "redis", "sectionName": "a b" }))[0]
            .starts_with("spec.to[0].targetRef.sectionName: name or number of a port: ")
    );
    assert!(
        to(json!({ "kind": "MeshService", "labels": { "a b": "c" } }))[0]
            .starts_with("spec.to[0].targetRef.labels[\"a b\"]: ")
    );
}

/// Every kind of reference at every place of every policy is accepted if and only if the matrix says so.
#[test]
fn the_matrix_decides_what_stands_where() {
    for kind in PolicyKind::ALL.iter().copied() {
        let info = kind.info();
        for target in TargetKind::ALL {
            let mut reference = json!({ "kind": target.name() });
            if !matches!(
                target,
                TargetKind::Mesh | TargetKind::MeshSubset | TargetKind::Dataplane
            ) {
                reference["name"] = json!("x");
            }
            let refused = |spec: Value, path: &str| {
                violations(kind, &spec)
                    .iter()
                    .any(|violation| violation.starts_with(&format!("{path}.kind: value is not supported")))
            };
            let spec = json!({ "targetRef": reference });
            assert_eq!(
                refused(spec, "spec.targetRef"),
                !info.top.contains(&target),
                "{kind} top {target}"
            );
            if !info.to.is_empty() {
                let spec = json!({ "to": [{ "targetRef": reference }] });
                assert_eq!(refused(spec, TO), !info.to.contains(&target), "{kind} to {target}");
            }
            if !info.from.is_empty() {
                let spec = json!({ "targetRef": { "kind": "Mesh", "proxyTypes": ["Sidecar"] }, "from": [{ "targetRef": reference }] });
                assert_eq!(
                    refused(spec, "spec.from[0].targetRef"),
                    !info.from.contains(&target),
                    "{kind} from {target}"
                );
            }
        }
    }
}

#[test]
fn the_top_level_narrows_what_to_may_refer_to() {
    let gateway = json!({ "kind": "MeshGateway", "name": "edge" });
    let route = json!({ "kind": "MeshHTTPRoute", "name": "v2" });
    let service = json!([{ "targetRef": { "kind": "MeshService", "name": "redis" }, "default": {} }]);
    let only = |kinds: &str| {
        vec![format!(
            "{TO}.kind: value is not supported: \"MeshService\", must be {kinds}"
        )]
    };
    let found = |kind, top: &Value| violations(kind, &json!({ "targetRef": top, "to": service }));
    assert_eq!(found(PolicyKind::MeshAccessLog, &gateway), only("Mesh"));
    assert_eq!(
        found(PolicyKind::MeshRetry, &gateway),
        only("Mesh or MeshExternalService")
    );
    assert_eq!(
        found(PolicyKind::MeshTimeout, &route),
        only("Mesh or MeshExternalService")
    );
    assert_eq!(found(PolicyKind::MeshCircuitBreaker, &gateway), Vec::<String>::new());
    // Only a conf with a load balancer is narrowed.
    assert_eq!(
        found(PolicyKind::MeshLoadBalancingStrategy, &gateway),
        Vec::<String>::new()
    );
    let with_field =
        json!([{ "targetRef": { "kind": "MeshService", "name": "redis" }, "default": { "loadBalancer": {} } }]);
    assert_eq!(
        violations(
            PolicyKind::MeshLoadBalancingStrategy,
            &json!({ "targetRef": gateway, "to": with_field })
        ),
        only("Mesh")
    );
}

#[test]
fn only_the_system_reaches_through_gateways_and_routes() {
    let spec = json!({
        "targetRef": { "kind": "MeshHTTPRoute", "name": "v2" },
        "to": [{ "targetRef": { "kind": "Mesh" }, "default": {} }],
    });
    assert_eq!(violations(PolicyKind::MeshRetry, &spec), Vec::<String>::new());
    assert_eq!(
        violations_as(PolicyKind::MeshRetry, &spec, Role::Consumer),
        ["spec.targetRef.kind: value is not supported: MeshHTTPRoute may only be used in the system namespace"]
    );
}
