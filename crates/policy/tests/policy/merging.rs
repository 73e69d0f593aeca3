//! Merging (`spec/policies.md` §1.7).

use meshspan_model::policy::PolicyKind;
use meshspan_policy::{ListRules, merge};
use serde_json::{Value, json};

fn merged(kind: PolicyKind, confs: &[Value]) -> Value {
    merge(confs, ListRules::of(kind))
}

#[test]
fn objects_merge_scalars_and_lists_replace() {
    assert_eq!(
        merged(
            PolicyKind::MeshRetry,
            &[
                json!({ "http": { "numRetries": 5, "retryOn": ["5xx"], "backOff": { "baseInterval": "1s" } } }),
                json!({ "http": { "numRetries": 1, "retryOn": ["Reset"], "backOff": { "maxInterval": "9s" } } }),
            ]
        ),
        json!({ "http": { "numRetries": 1, "retryOn": ["Reset"], "backOff": { "baseInterval": "1s", "maxInterval": "9s" } } })
    );
}

#[test]
fn absent_is_not_empty_and_null_is_absent() {
    let below = json!({ "backends": [1], "failover": [1], "http": { "a": 1 } });
    assert_eq!(
        merged(
            PolicyKind::MeshAccessLog,
            &[below.clone(), json!({ "backends": [], "failover": [] })]
        ),
        json!({ "backends": [], "failover": [], "http": { "a": 1 } })
    );
    assert_eq!(
        merged(
            PolicyKind::MeshAccessLog,
            &[below.clone(), json!({ "backends": null, "http": { "a": null } })]
        ),
        below
    );
    assert_eq!(
        merged(PolicyKind::MeshAccessLog, &[json!({ "a": null, "b": { "c": null } })]),
        json!({ "b": {} })
    );
    assert_eq!(merged(PolicyKind::MeshAccessLog, &[]), Value::Null);
}

#[test]
fn append_lists_are_concatenated_at_any_depth() {
    assert_eq!(
        merged(
            PolicyKind::MeshMetric,
            &[
                json!({ "sidecar": { "profiles": { "appendProfiles": [{ "name": "Basic" }] } } }),
                json!({ "sidecar": { "profiles": { "exclude": [1] } } }),
                json!({ "sidecar": { "profiles": { "appendProfiles": [{ "name": "All" }] } } }),
            ]
        ),
        json!({ "sidecar": { "profiles": { "appendProfiles": [{ "name": "Basic" }, { "name": "All" }], "exclude": [1] } } })
    );
    // Permissions of several policies add up.
    assert_eq!(
        merged(
            PolicyKind::MeshTrafficPermission,
            &[json!({ "allow": ["a"] }), json!({ "allow": ["b"], "deny": ["c"] })]
        ),
        json!({ "allow": ["a", "b"], "deny": ["c"] })
    );
}

#[test]
fn routing_rules_merge_by_matches_and_the_higher_precedence_comes_first() {
    let path = |value: &str| json!([{ "path": { "type": "PathPrefix", "value": value } }]);
    let low = json!({ "rules": [
        { "matches": path("/a"), "default": { "filters": ["low"], "backendRefs": ["low"] } },
        { "matches": path("/b"), "default": { "backendRefs": ["b"] } },
    ] });
    let high = json!({ "rules": [
        { "matches": path("/c"), "default": {} },
        { "matches": path("/a"), "default": { "backendRefs": ["high"] } },
    ] });
    assert_eq!(
        merged(PolicyKind::MeshHTTPRoute, &[low, high]),
        json!({ "rules": [
            { "matches": path("/c"), "default": {} },
            { "matches": path("/a"), "default": { "filters": ["low"], "backendRefs": ["high"] } },
            { "matches": path("/b"), "default": { "backendRefs": ["b"] } },
        ] })
    );
}

#[test]
fn a_route_without_matches_is_replaced_as_a_whole() {
    let rule = |name: &str| json!({ "rules": [{ "default": { "backendRefs": [name] } }] });
    assert_eq!(
        merged(PolicyKind::MeshTCPRoute, &[rule("low"), rule("high")]),
        rule("high")
    );
}
