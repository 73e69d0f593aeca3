//! MeshTimeout.

use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures::{violations, warnings};

fn to(conf: Value) -> Value {
    json!({ "to": [{ "targetRef": { "kind": "Mesh" }, "default": conf }] })
}

fn to_route(conf: Value) -> Value {
    let target = json!({ "kind": "MeshHTTPRoute", "labels": { "kuma.io/display-name": "a" } });
    json!({ "to": [{ "targetRef": target, "default": conf }] })
}

#[test]
fn every_field_is_accepted_in_every_part() {
    let conf = json!({
        "connectionTimeout": "2s",
        "idleTimeout": "0s",
        "http": {
            "requestTimeout": "0s",
            "streamIdleTimeout": "30m",
            "maxStreamDuration": "0s",
            "maxConnectionDuration": "1h",
            "requestHeadersTimeout": "500ms",
        },
    });
    assert!(warnings(Kind::MeshTimeout, to(conf.clone())).is_empty());
    assert!(violations(Kind::MeshTimeout, json!({ "rules": [{ "default": conf }] })).is_empty());
    let from = json!({ "from": [{ "targetRef": { "kind": "Mesh" }, "default": conf }] });
    assert!(violations(Kind::MeshTimeout, from).is_empty());
    let on_service = json!({ "to": [{
        "targetRef": {
            "kind": "MeshMultiZoneService",
            "labels": { "kuma.io/display-name": "checkout" },
            "sectionName": "http",
        },
        "default": { "http": { "requestTimeout": "2s" } },
    }] });
    assert!(violations(Kind::MeshTimeout, on_service).is_empty());
    assert!(
        violations(
            Kind::MeshTimeout,
            to_route(json!({ "http": { "requestTimeout": "1s", "streamIdleTimeout": "1s" } }))
        )
        .is_empty()
    );
}

#[test]
fn wrong_values_are_named() {
    for (conf, expected) in [
        (
            json!({}),
            "spec.to[0].default: must have at least one defined: connectionTimeout, idleTimeout, http",
        ),
        (
            json!({ "http": {} }),
            "spec.to[0].default.http: must have at least one defined: requestTimeout, streamIdleTimeout, \
             maxStreamDuration, maxConnectionDuration, requestHeadersTimeout",
        ),
        (
            json!({ "connectionTimeout": "0s" }),
            "spec.to[0].default.connectionTimeout: is 0s, must be greater than 0",
        ),
        (
            json!({ "idleTimeout": "-1s" }),
            "spec.to[0].default.idleTimeout: invalid duration \"-1s\": use for example 250ms, 5s or 1h30m",
        ),
        (
            json!({ "idleTimeout": "2600000h" }),
            "spec.to[0].default.idleTimeout: duration \"2600000h\" is too long: use at most 2562047h0m0s",
        ),
        (
            json!({ "http": { "requestTimeout": 15 } }),
            "spec.to[0].default.http.requestTimeout: is 15, must be a string; quote it",
        ),
    ] {
        assert_eq!(violations(Kind::MeshTimeout, to(conf)), [expected]);
    }
}

#[test]
fn a_route_has_no_timeouts_of_connections() {
    let conf = json!({
        "connectionTimeout": "1s",
        "idleTimeout": "1s",
        "http": { "maxStreamDuration": "1s", "maxConnectionDuration": "1s", "requestHeadersTimeout": "1s" },
    });
    let fields = [
        "connectionTimeout",
        "idleTimeout",
        "http.maxStreamDuration",
        "http.maxConnectionDuration",
        "http.requestHeadersTimeout",
    ];
    let expected = fields.map(|field| {
        format!(
            "spec.to[0].default.{field}: must not be set for a MeshHTTPRoute: it is about connections, which routes share"
        )
    });
    assert_eq!(violations(Kind::MeshTimeout, to_route(conf.clone())), expected);

    let mut from_top = to(conf);
    from_top["targetRef"] = json!({ "kind": "MeshHTTPRoute", "name": "a" });
    assert_eq!(violations(Kind::MeshTimeout, from_top), expected);
}

#[test]
fn parts_exclude_each_other_as_the_matrix_says() {
    let conf = json!({ "idleTimeout": "1s" });
    assert_eq!(
        violations(Kind::MeshTimeout, json!({})),
        ["spec: at least one of to, from, rules has to be defined"]
    );
    let mut both = to(conf.clone());
    both["rules"] = json!([{ "default": conf }]);
    assert_eq!(
        violations(Kind::MeshTimeout, both),
        ["spec.to: must not be set together with rules; write two policies"]
    );
}

#[test]
fn one_answer_tells_all_that_is_wrong() {
    let to = json!([
        { "targetRef": { "kind": "Nonsense" }, "default": { "connectionTimeout": "0s" } },
        { "targetRef": { "kind": "Mesh" }, "default": { "http": { "requestTimeout": "soon" } } },
        { "targetRef": { "kind": "Mesh" }, "default": [] },
    ]);
    let found = violations(Kind::MeshTimeout, json!({ "to": to }));
    let fields: Vec<_> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        fields,
        [
            "spec.to[0].targetRef.kind",
            "spec.to[2].default",
            "spec.to[0].default.connectionTimeout",
            "spec.to[1].default.http.requestTimeout",
        ],
        "{found:?}"
    );
}
