use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures::{self, assert_kept};

const PATH: &str = "spec.default.appendModifications[0]";

fn violations(modification: Value) -> Vec<String> {
    let spec = json!({ "default": { "appendModifications": [modification] } });
    fixtures::violations(Kind::MeshProxyPatch, spec)
}

#[test]
fn all_that_can_be_said_is_accepted_and_kept() {
    let spec = r#"{
        "targetRef": {"kind": "Mesh"},
        "default": {"appendModifications": [
            {"cluster": {"operation": "Add", "value": "name: extra\ntype: STATIC\n"}},
            {"cluster": {"operation": "Remove"}},
            {"cluster": {"operation": "Patch", "match": {"origin": "outbound", "name": "a"}, "value": "{connect_timeout: 1s}"}},
            {"listener": {"operation": "Patch", "match": {"origin": "inbound", "name": "b", "tags": {"c": "d"}}, "jsonPatches": [
                {"op": "replace", "path": "/continue_on_listener_filters_timeout", "value": null},
                {"op": "add", "path": "/a/-", "value": {"x": [1.0, "1"]}},
                {"op": "remove", "path": "/a~1b"},
                {"op": "move", "from": "/a", "path": "/b"},
                {"op": "copy", "from": "/a", "path": "/b", "note": 1}
            ]}},
            {"networkFilter": {"operation": "AddFirst", "match": {"listenerTags": {"kuma.io/service": "a"}}, "value": "name: f"}},
            {"networkFilter": {"operation": "Patch", "match": {"name": "envoy.filters.network.tcp_proxy"}, "value": "name: f"}},
            {"httpFilter": {"operation": "AddLast", "value": "name: f"}},
            {"httpFilter": {"operation": "AddBefore", "match": {"name": "router", "listenerName": "l", "origin": "inbound"}, "value": "name: f"}},
            {"httpFilter": {"operation": "AddAfter", "match": {"name": "cors"}, "value": "name: f"}},
            {"httpFilter": {"operation": "Remove", "match": {"name": "cors"}}},
            {"virtualHost": {"operation": "Add", "match": {"routeConfigurationName": "r"}, "value": "name: v"}},
            {"virtualHost": {"operation": "Patch", "match": {"name": "v"}, "value": "retry_policy: {}"}},
            {"virtualHost": {"operation": "Remove", "match": {"origin": "outbound"}}}
        ]}
    }"#;
    assert_kept(Kind::MeshProxyPatch, spec);
    assert_eq!(
        fixtures::warnings(Kind::MeshProxyPatch, serde_json::from_str(spec).unwrap()),
        [
            "unknown field \"spec.default.appendModifications[3].listener.jsonPatches[4].note\" is ignored",
            "MeshProxyPatch is stored and shown, but does not change traffic yet",
        ]
    );
}

#[test]
fn there_is_something_to_change() {
    for spec in [
        json!({}),
        json!({ "default": {} }),
        json!({ "default": { "appendModifications": [] } }),
    ] {
        assert_eq!(
            fixtures::violations(Kind::MeshProxyPatch, spec),
            ["spec.default.appendModifications: must have at least one item"]
        );
    }
    let one = "must have exactly one defined: cluster, listener, networkFilter, httpFilter, virtualHost";
    assert_eq!(violations(json!({})), [format!("{PATH}: {one}; has none")]);
    let remove = json!({ "operation": "Remove" });
    assert_eq!(
        violations(json!({ "listener": remove, "cluster": remove })),
        [format!("{PATH}: {one}; has cluster, listener")]
    );
}

#[test]
fn operations_are_those_of_the_resource() {
    for resource in ["cluster", "listener", "virtualHost"] {
        assert_eq!(
            violations(json!({ resource: { "value": "name: a" } })),
            [format!(
                "{PATH}.{resource}.operation: must be defined: Add, Remove, Patch"
            )]
        );
        assert_eq!(
            violations(json!({ resource: { "operation": "AddFirst", "value": "name: a" } })),
            [format!(
                "{PATH}.{resource}.operation: is AddFirst, must be one of Add, Remove, Patch"
            )]
        );
    }
    for filter in ["networkFilter", "httpFilter"] {
        let all = "AddFirst, AddLast, AddBefore, AddAfter, Remove, Patch";
        assert_eq!(
            violations(json!({ filter: { "value": "name: a" } })),
            [format!("{PATH}.{filter}.operation: must be defined: {all}")]
        );
        assert_eq!(
            violations(json!({ filter: { "operation": "Add", "value": "name: a" } })),
            [format!("{PATH}.{filter}.operation: is Add, must be one of {all}")]
        );
    }
    let unknown = violations(json!({ "cluster": { "operation": "add" } }));
    assert!(
        unknown[0].starts_with(&format!("{PATH}.cluster.operation: is \"add\", must be one of Add")),
        "{unknown:?}"
    );
}

#[test]
fn what_is_added_is_not_matched() {
    for resource in ["cluster", "listener"] {
        assert_eq!(
            violations(json!({ resource: { "operation": "Add", "match": {}, "value": "name: a" } })),
            [format!(
                "{PATH}.{resource}.match: must not be set with operation Add: nothing is there to match"
            )]
        );
    }
    assert_eq!(
        violations(json!({ "virtualHost": { "operation": "Add", "match": { "name": "v" }, "value": "name: a" } })),
        [format!(
            "{PATH}.virtualHost.match.name: must not be set with operation Add: nothing is there to match"
        )]
    );
}

#[test]
fn places_between_filters_and_patched_filters_have_a_name() {
    for filter in ["networkFilter", "httpFilter"] {
        for operation in ["AddBefore", "AddAfter", "Patch"] {
            for target in [json!(null), json!({ "origin": "inbound" }), json!({ "name": "" })] {
                assert_eq!(
                    violations(json!({ filter: { "operation": operation, "match": target, "value": "name: a" } })),
                    [format!(
                        "{PATH}.{filter}.match.name: must be defined with operation {operation}: the name of a filter"
                    )]
                );
            }
        }
    }
}

#[test]
fn values_and_patches_stand_where_they_are_used() {
    let patches = json!([{ "op": "remove", "path": "/a" }]);
    assert_eq!(
        violations(json!({ "cluster": { "operation": "Remove", "value": "name: a", "jsonPatches": patches } })),
        [
            format!("{PATH}.cluster.value: must not be set with operation Remove"),
            format!("{PATH}.cluster.jsonPatches: must not be set with operation Remove"),
        ]
    );
    assert_eq!(
        violations(json!({ "httpFilter": { "operation": "AddLast", "jsonPatches": patches } })),
        [
            format!("{PATH}.httpFilter.jsonPatches: must not be set with operation AddLast; use value"),
            format!("{PATH}.httpFilter.value: must be defined with operation AddLast"),
        ]
    );
    for change in [
        json!({ "operation": "Patch" }),
        json!({ "operation": "Patch", "jsonPatches": [] }),
        json!({ "operation": "Patch", "value": "name: a", "jsonPatches": patches }),
    ] {
        assert_eq!(
            violations(json!({ "listener": change })),
            [format!(
                "{PATH}.listener: must have exactly one defined: value, jsonPatches"
            )]
        );
    }
}

#[test]
fn a_value_is_an_object_in_yaml() {
    let value = |text: &str| violations(json!({ "cluster": { "operation": "Add", "value": text } }));
    for text in ["", "name", "- name: a", "7"] {
        assert_eq!(
            value(text),
            [format!(
                "{PATH}.cluster.value: must be an Envoy message in YAML: an object with its fields"
            )],
            "{text}"
        );
    }
    assert_eq!(
        value("a: b\n  c: d"),
        [format!(
            "{PATH}.cluster.value: must be an Envoy message in YAML: line 2 column 4: mapping values are not allowed in this context"
        )]
    );
    for text in ["name: [", "a: 1\n---\nb: 2"] {
        let found = value(text);
        assert_eq!(found.len(), 1, "{text}");
        assert!(
            found[0].starts_with(&format!("{PATH}.cluster.value: must be an Envoy message in YAML: ")),
            "{found:?}"
        );
    }
    assert_eq!(
        violations(json!({ "cluster": { "operation": "Add", "value": { "name": "a" } } })),
        [format!("{PATH}.cluster.value: is an object, must be a string")]
    );
}

#[test]
fn patches_are_complete() {
    let patches = json!([
        {},
        { "op": "add", "path": "/a" },
        { "op": "replace", "path": "a", "value": 1 },
        { "op": "move", "path": "/a" },
        { "op": "copy", "path": "/a", "from": "b" },
    ]);
    let path = format!("{PATH}.cluster.jsonPatches");
    assert_eq!(
        violations(json!({ "cluster": { "operation": "Patch", "jsonPatches": patches } })),
        [
            format!("{path}[0].path: must be defined"),
            format!("{path}[0].op: must be defined: add, remove, replace, move or copy"),
            format!("{path}[1].value: must be defined"),
            format!("{path}[2].path: is \"a\", must be a JSON pointer such as /connect_timeout"),
            format!("{path}[3].from: must be defined"),
            format!("{path}[4].from: is \"b\", must be a JSON pointer such as /connect_timeout"),
        ]
    );
    let test = json!([{ "op": "test", "path": "/a", "value": 1 }]);
    assert_eq!(
        violations(json!({ "cluster": { "operation": "Patch", "jsonPatches": test } })),
        [format!(
            "{path}[0].op: is \"test\", must be one of add, remove, replace, move, copy"
        )]
    );
}
