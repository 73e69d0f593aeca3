//! MeshRetry.

use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures::{violations, warnings};

fn to(conf: Value) -> Value {
    json!({ "to": [{ "targetRef": { "kind": "Mesh" }, "default": conf }] })
}

#[test]
fn every_field_is_accepted() {
    let pauses = json!({
        "numRetries": 0,
        "perTryTimeout": "2s",
        "backOff": { "baseInterval": "25ms", "maxInterval": "250ms" },
        "rateLimitedBackOff": {
            "resetHeaders": [
                { "name": "retry-after", "format": "Seconds" },
                { "name": "x-ratelimit-reset", "format": "UnixTimestamp" },
            ],
            "maxInterval": "10s",
        },
        "hostSelection": [
            { "predicate": "OmitPreviousHosts" },
            { "predicate": "OmitHostsWithTags", "tags": { "version": "v2" } },
            { "predicate": "OmitPreviousPriorities", "updateFrequency": 1 },
        ],
        "hostSelectionMaxAttempts": 3,
    });
    let with = |more: Value| {
        let mut fields = pauses.clone();
        for (name, value) in more.as_object().unwrap() {
            fields[name] = value.clone();
        }
        fields
    };
    let http = with(json!({
        "retryOn": ["5xx", "GatewayError", "Reset", "Retriable4xx", "ConnectFailure", "EnvoyRatelimited",
            "RefusedStream", "Http3PostConnectFailure", "HttpMethodConnect", "HttpMethodDelete", "HttpMethodGet",
            "HttpMethodHead", "HttpMethodOptions", "HttpMethodPatch", "HttpMethodPost", "HttpMethodPut",
            "HttpMethodTrace", "429", "503"],
        "retriableRequestHeaders": [{ "type": "Prefix", "name": "x-retry", "value": "y" }],
        "retriableResponseHeaders": [{ "type": "Present", "name": "x-try-again" }],
    }));
    let grpc = with(json!({
        "retryOn": ["Canceled", "DeadlineExceeded", "Internal", "ResourceExhausted", "Unavailable"],
    }));
    let conf = json!({ "tcp": { "maxConnectAttempt": 5 }, "http": http, "grpc": grpc });
    assert_eq!(warnings(Kind::MeshRetry, to(conf)), [""; 0]);
}

#[test]
fn a_retry_may_leave_the_zone_already_tried() {
    let spec = json!({ "to": [{
        "targetRef": {
            "kind": "MeshMultiZoneService",
            "labels": { "kuma.io/display-name": "checkout" },
            "sectionName": "http",
        },
        "default": { "http": {
            "numRetries": 2,
            "retryOn": ["5xx", "ConnectFailure"],
            "hostSelection": [{ "predicate": "OmitPreviousPriorities", "updateFrequency": 1 }],
        } },
    }] });
    assert_eq!(warnings(Kind::MeshRetry, spec), [""; 0]);
}

#[test]
fn wrong_values_are_named() {
    let http = |conf: Value| json!({ "http": conf });
    for (conf, expected) in [
        (json!({}), "default: must have at least one defined: tcp, http, grpc"),
        (
            json!({ "tcp": {} }),
            "default.tcp: must have at least one defined: maxConnectAttempt",
        ),
        (
            json!({ "tcp": { "maxConnectAttempt": 0 } }),
            "default.tcp.maxConnectAttempt: is 0, must be at least 1",
        ),
        (
            http(json!({})),
            "default.http: must have at least one defined: numRetries, perTryTimeout, backOff, rateLimitedBackOff, \
             retryOn, retriableRequestHeaders, retriableResponseHeaders, hostSelection, hostSelectionMaxAttempts",
        ),
        (
            json!({ "grpc": {} }),
            "default.grpc: must have at least one defined: numRetries, perTryTimeout, backOff, rateLimitedBackOff, \
             retryOn, hostSelection, hostSelectionMaxAttempts",
        ),
        (
            http(json!({ "numRetries": -1 })),
            "default.http.numRetries: is -1, must be a whole number from 0 to 4294967295",
        ),
        (
            http(json!({ "backOff": { "baseInterval": "0s" } })),
            "default.http.backOff.baseInterval: is 0s, must be greater than 0",
        ),
        (
            http(json!({ "backOff": { "maxInterval": "0s" } })),
            "default.http.backOff.maxInterval: is 0s, must be greater than 0",
        ),
        (
            json!({ "grpc": { "backOff": { "baseInterval": "1s", "maxInterval": "25ms" } } }),
            "default.grpc.backOff.maxInterval: is 25ms, must not be shorter than baseInterval, 1s",
        ),
        (
            http(json!({ "rateLimitedBackOff": {} })),
            "default.http.rateLimitedBackOff.resetHeaders: must be defined: the headers in which responses say how long to wait",
        ),
        (
            http(json!({ "backOff": {} })),
            "default.http.backOff: must have at least one defined: baseInterval, maxInterval",
        ),
        (
            http(json!({ "rateLimitedBackOff": {
                "maxInterval": "0s", "resetHeaders": [{ "name": "retry-after", "format": "Seconds" }],
            } })),
            "default.http.rateLimitedBackOff.maxInterval: is 0s, must be greater than 0",
        ),
        (
            http(json!({ "rateLimitedBackOff": { "resetHeaders": [{ "name": "Retry-After", "format": "Seconds" }] } })),
            "default.http.rateLimitedBackOff.resetHeaders[0].name: is \"Retry-After\", must be the name of a header in \
             lower case, of 1 to 256 characters",
        ),
        (
            http(json!({ "rateLimitedBackOff": { "resetHeaders": [{ "name": "retry-after" }] } })),
            "default.http.rateLimitedBackOff.resetHeaders[0].format: must be defined: Seconds or UnixTimestamp",
        ),
        (
            http(json!({ "rateLimitedBackOff": {
                "resetHeaders": vec![json!({ "name": "retry-after", "format": "Seconds" }); 17],
            } })),
            "default.http.rateLimitedBackOff.resetHeaders: has 17 items, must have no more than 16",
        ),
        (
            json!({ "grpc": { "rateLimitedBackOff": { "resetHeaders": [{ "name": "a", "format": "Minutes" }] } } }),
            "default.grpc.rateLimitedBackOff.resetHeaders[0].format: is \"Minutes\", must be Seconds or \
             UnixTimestamp",
        ),
        (
            http(json!({ "retryOn": ["5xx", "HttpMethodFetch"] })),
            "default.http.retryOn[1]: is \"HttpMethodFetch\", must be 5xx, GatewayError, Reset, Retriable4xx, \
             ConnectFailure, EnvoyRatelimited, RefusedStream, Http3PostConnectFailure, a method such as HttpMethodGet, \
             or a status of HTTP such as \"503\"",
        ),
        (
            json!({ "grpc": { "retryOn": ["Cancelled"] } }),
            "default.grpc.retryOn[0]: is \"Cancelled\", must be one of Canceled, DeadlineExceeded, \
             Internal, ResourceExhausted, Unavailable",
        ),
        (
            http(json!({ "retriableRequestHeaders": [{ "name": "x" }] })),
            "default.http.retriableRequestHeaders[0].value: must be defined",
        ),
        (
            http(json!({ "retriableResponseHeaders": [{ "type": "Present", "name": "X" }] })),
            "default.http.retriableResponseHeaders[0].name: is \"X\", must be the name of a header in lower case, of 1 \
             to 256 characters",
        ),
        (
            http(json!({ "hostSelection": [{}] })),
            "default.http.hostSelection[0].predicate: must be defined: OmitPreviousHosts, OmitHostsWithTags or \
             OmitPreviousPriorities",
        ),
        (
            http(json!({ "hostSelection": [{ "predicate": "OmitHostsWithTags", "tags": {} }] })),
            "default.http.hostSelection[0].tags: must be defined with predicate OmitHostsWithTags, for example \
             {version: v2}",
        ),
        (
            http(json!({ "hostSelection": [
                { "predicate": "OmitPreviousPriorities" }, { "predicate": "OmitPreviousPriorities" },
            ] })),
            "default.http.hostSelection[1].predicate: OmitPreviousPriorities must not be listed more than once",
        ),
        (
            json!({ "grpc": { "hostSelection": [{ "predicate": "OmitPreviousPriorities", "updateFrequency": 0 }] } }),
            "default.grpc.hostSelection[0].updateFrequency: is 0, must be at least 1",
        ),
    ] {
        let expected = format!("spec.to[0].{expected}");
        assert_eq!(violations(Kind::MeshRetry, to(conf)), [expected]);
    }
}

#[test]
fn there_is_something_to_retry() {
    assert_eq!(
        violations(Kind::MeshRetry, json!({})),
        ["spec.to: needs at least one item"]
    );
    for status in ["429", "100", "511"] {
        assert!(violations(Kind::MeshRetry, to(json!({ "http": { "retryOn": [status] } }))).is_empty());
    }
    for wrong in [json!("99"), json!("599"), json!(503), json!(true), json!("")] {
        let found = violations(Kind::MeshRetry, to(json!({ "http": { "retryOn": [wrong] } })));
        assert!(
            found[0].starts_with("spec.to[0].default.http.retryOn[0]: is "),
            "{found:?}"
        );
    }
}
