use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures::{self, assert_kept};

const KIND: Kind = Kind::MeshTCPRoute;

fn violations(rules: Value) -> Vec<String> {
    let target = json!({ "kind": "MeshMultiZoneService", "labels": { "kuma.io/display-name": "redis" } });
    fixtures::violations(KIND, json!({ "to": [{ "targetRef": target, "rules": rules }] }))
}

#[test]
fn all_that_can_be_said_is_accepted_and_kept() {
    let spec = r#"{
        "targetRef": {"kind": "Mesh"},
        "to": [
            {
                "targetRef": {"kind": "MeshMultiZoneService", "name": "redis"},
                "rules": [{"default": {"backendRefs": [
                    {"kind": "MeshMultiZoneService", "name": "redis", "port": 6379, "weight": 9},
                    {"kind": "MeshService", "labels": {"kuma.io/zone": "west"}, "port": 6379}
                ]}}]
            },
            {"targetRef": {"kind": "MeshService", "name": "a"}, "rules": []}
        ]
    }"#;
    assert_kept(KIND, spec);
    assert_eq!(fixtures::warnings(KIND, serde_json::from_str(spec).unwrap()), [""; 0]);
}

#[test]
fn there_is_one_rule_with_backends() {
    let path = "spec.to[0].rules";
    for rule in [json!({}), json!({ "default": { "backendRefs": [] } })] {
        assert_eq!(
            violations(json!([rule])),
            [format!("{path}[0].default.backendRefs: must have at least one item")]
        );
    }
    let rule = json!({ "default": { "backendRefs": [{ "kind": "MeshService", "name": "a" }] } });
    assert_eq!(
        violations(json!([rule, rule])),
        [format!("{path}: has 2 items, must have no more than 1")]
    );
    let no_port = json!({ "default": { "backendRefs": [{ "kind": "MeshMultiZoneService", "name": "a" }] } });
    assert_eq!(
        violations(json!([no_port])),
        [format!(
            "{path}[0].default.backendRefs[0].port: must be set with kind MeshMultiZoneService"
        )]
    );
}
