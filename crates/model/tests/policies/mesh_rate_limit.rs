use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures::{self, assert_kept};

fn violations(local: Value) -> Vec<String> {
    let spec = json!({ "rules": [{ "default": { "local": local } }] });
    fixtures::violations(Kind::MeshRateLimit, spec)
}

fn rate(num: Value, interval: &str) -> Value {
    json!({ "tcp": { "connectionRate": { "num": num, "interval": interval } } })
}

#[test]
fn all_that_can_be_said_is_accepted_and_kept() {
    let spec = r#"{
        "targetRef": {"kind": "Mesh", "proxyTypes": ["Sidecar"]},
        "from": [{"targetRef": {"kind": "Mesh"}, "default": {"local": {
            "http": {
                "disabled": false,
                "requestRate": {"num": 5, "interval": "1.50s", "burst": 1},
                "onRateLimit": {"status": 423, "headers": {
                    "set": [{"name": "x-limited", "value": "true"}], "add": [{"name": "x-a", "value": "1"}]
                }}
            },
            "tcp": {"disabled": true, "connectionRate": {"num": 5, "interval": "51ms"}}
        }}}]
    }"#;
    assert_kept(Kind::MeshRateLimit, spec);
    let warnings = fixtures::warnings(Kind::MeshRateLimit, serde_json::from_str(spec).unwrap());
    assert!(
        warnings.contains(&"MeshRateLimit is stored and shown, but does not change traffic yet".to_owned()),
        "{warnings:?}"
    );
    let unknown = "unknown field \"spec.from[0].default.local.http.requestRate.burst\" is ignored".to_owned();
    assert!(warnings.contains(&unknown), "{warnings:?}");
    for to in [json!({ "disabled": true }), json!({ "onRateLimit": { "status": 503 } })] {
        let spec = json!({ "to": [{ "targetRef": { "kind": "Mesh" }, "default": { "local": { "http": to } } }] });
        assert_eq!(fixtures::violations(Kind::MeshRateLimit, spec), [""; 0]);
    }
}

#[test]
fn something_is_limited() {
    let spec = json!({ "rules": [{ "default": {} }, {}] });
    assert_eq!(
        fixtures::violations(Kind::MeshRateLimit, spec),
        [
            "spec.rules[0].default.local: must be defined",
            "spec.rules[1].default.local: must be defined",
        ]
    );
    assert_eq!(
        violations(json!({})),
        ["spec.rules[0].default.local: must have at least one defined: http, tcp"]
    );
    assert_eq!(
        violations(json!({ "http": {}, "tcp": {} })),
        [
            "spec.rules[0].default.local.http: must have at least one defined: disabled, requestRate, onRateLimit",
            "spec.rules[0].default.local.tcp: must have at least one defined: disabled, connectionRate",
        ]
    );
}

#[test]
fn rates_are_numbers_in_an_interval() {
    let path = "spec.rules[0].default.local.tcp.connectionRate";
    assert_eq!(
        violations(json!({ "tcp": { "connectionRate": {} } })),
        [
            format!("{path}.num: must be defined"),
            format!("{path}.interval: must be defined"),
        ]
    );
    assert_eq!(
        violations(rate(json!(0), "1s")),
        [format!("{path}.num: is 0, must be at least 1")]
    );
    assert_eq!(
        violations(rate(json!(1), "50ms")),
        [format!("{path}.interval: is 50ms, must be longer than 50ms")]
    );
    let negative = violations(rate(json!(-1), "1s"));
    assert!(negative[0].starts_with(&format!("{path}.num: is -1")), "{negative:?}");
    assert_eq!(
        violations(rate(json!(1), "a second")),
        [format!(
            "{path}.interval: invalid duration \"a second\": use for example 250ms, 5s or 1h30m"
        )]
    );
    let path = "spec.rules[0].default.local.http.requestRate";
    assert_eq!(
        violations(json!({ "http": { "requestRate": { "num": 0, "interval": "1ms" } } })),
        [
            format!("{path}.num: is 0, must be at least 1"),
            format!("{path}.interval: is 1ms, must be longer than 50ms"),
        ]
    );
}

#[test]
fn the_response_is_one_that_a_proxy_can_make() {
    let path = "spec.rules[0].default.local.http.onRateLimit";
    for (status, reason) in [
        (99, "is 99, must be at least 100"),
        (600, "is 600, must be at most 599"),
    ] {
        assert_eq!(
            violations(json!({ "http": { "onRateLimit": { "status": status } } })),
            [format!("{path}.status: {reason}")]
        );
    }
    let headers = json!({ "set": [{ "name": "X-A", "value": "1" }], "remove": ["x-b"] });
    assert_eq!(
        violations(json!({ "http": { "onRateLimit": { "headers": headers } } })),
        [
            format!(
                "{path}.headers.set[0].name: is \"X-A\", must be the name of a header in lower case, of 1 to 256 characters"
            ),
            format!(
                "{path}.headers.remove: must not be set: the proxy makes the response, so it has no headers to remove"
            ),
        ]
    );
}
