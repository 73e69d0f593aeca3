//! MeshHealthCheck.

use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures::{violations, warnings};

fn to(conf: Value) -> Value {
    json!({ "to": [{ "targetRef": { "kind": "Mesh" }, "default": conf }] })
}

fn with_tcp(field: &str, value: Value) -> Value {
    json!({ "tcp": {}, field: value })
}

#[test]
fn every_field_is_accepted() {
    let conf = json!({
        "interval": "10s",
        "timeout": "2s",
        "unhealthyThreshold": 3,
        "healthyThreshold": 1,
        "initialJitter": "5s",
        "intervalJitter": "6s",
        "intervalJitterPercent": 10,
        "healthyPanicThreshold": "62.9",
        "failTrafficOnPanic": true,
        "eventLogPath": "/tmp/health-check.log",
        "alwaysLogHealthCheckFailures": true,
        "noTrafficInterval": "10s",
        "reuseConnection": false,
        "tcp": { "disabled": true, "send": "Zm9v", "receive": ["YmFy", "YmF6"] },
        "http": {
            "disabled": true,
            "path": "/health?deep=1",
            "requestHeadersToAdd": {
                "set": [{ "name": "x-check", "value": "1" }],
                "add": [{ "name": "x-from", "value": "mesh" }],
            },
            "expectedStatuses": [100, 200, 599],
        },
        "grpc": { "disabled": true, "serviceName": "grpc.health.v1.CustomHealth", "authority": "custom:80" },
    });
    assert_eq!(warnings(Kind::MeshHealthCheck, to(conf)), [""; 0]);
    assert_eq!(violations(Kind::MeshHealthCheck, json!({})), [""; 0]);
}

#[test]
fn wrong_values_are_named() {
    for (conf, expected) in [
        (json!({}), "default: must have at least one defined: tcp, http, grpc"),
        (
            with_tcp("unhealthyThreshold", json!(0)),
            "default.unhealthyThreshold: is 0, must be at least 1",
        ),
        (
            with_tcp("healthyThreshold", json!(0)),
            "default.healthyThreshold: is 0, must be at least 1",
        ),
        (
            with_tcp("intervalJitterPercent", json!(101)),
            "default.intervalJitterPercent: is 101, must be at most 100",
        ),
        (
            with_tcp("healthyPanicThreshold", json!(-1)),
            "default.healthyPanicThreshold: is -1, must be 0 to 100",
        ),
        (
            with_tcp("eventLogPath", json!("")),
            "default.eventLogPath: is \"\", must be the absolute path of a file of the proxy; leave it out for no log",
        ),
        (
            with_tcp("eventLogPath", json!("health.log")),
            "default.eventLogPath: is \"health.log\", must be the absolute path of a file of the proxy; leave it out for no log",
        ),
        (
            json!({ "http": { "requestHeadersToAdd": { "set": null } } }),
            "default.http.requestHeadersToAdd: must have at least one defined: set, add",
        ),
        (
            json!({ "tcp": { "send": "PING" , "receive": ["PONG!"] } }),
            "default.tcp.receive[0]: is \"PONG!\", must be base64 of at least one byte, for example UElORw0K for PING and a line end",
        ),
        (
            json!({ "tcp": { "send": "" } }),
            "default.tcp.send: is \"\", must be base64 of at least one byte, for example UElORw0K for PING and a line end",
        ),
        (
            json!({ "http": { "path": "health" } }),
            "default.http.path: is \"health\", must start with / and have neither spaces nor other than ASCII \
             characters; write %20 for a space",
        ),
        (
            json!({ "http": { "path": "/a b" } }),
            "default.http.path: is \"/a b\", must start with / and have neither spaces nor other than ASCII \
             characters; write %20 for a space",
        ),
        (
            json!({ "http": { "requestHeadersToAdd": {} } }),
            "default.http.requestHeadersToAdd: must have at least one defined: set, add",
        ),
        (
            json!({ "http": { "requestHeadersToAdd": { "set": [{ "name": "X-A", "value": "1" }] } } }),
            "default.http.requestHeadersToAdd.set[0].name: is \"X-A\", must be the name of a header in lower case, of \
             1 to 256 characters",
        ),
        (
            json!({ "http": { "expectedStatuses": [200, 600] } }),
            "default.http.expectedStatuses[1]: is 600, must be between 100 and 599",
        ),
        (
            json!({ "http": { "expectedStatuses": [99] } }),
            "default.http.expectedStatuses[0]: is 99, must be between 100 and 599",
        ),
        (
            json!({ "grpc": { "authority": "a b" } }),
            "default.grpc.authority: is \"a b\", must be a host name, and a port if need be, such as \
             grpc.example.com:443",
        ),
    ] {
        let expected = format!("spec.to[0].{expected}");
        assert_eq!(violations(Kind::MeshHealthCheck, to(conf)), [expected]);
    }
}

#[test]
fn durations_are_longer_than_nothing() {
    for field in [
        "interval",
        "timeout",
        "initialJitter",
        "intervalJitter",
        "noTrafficInterval",
    ] {
        assert_eq!(
            violations(Kind::MeshHealthCheck, to(with_tcp(field, json!("0s")))),
            [format!("spec.to[0].default.{field}: is 0s, must be greater than 0")]
        );
    }
}
