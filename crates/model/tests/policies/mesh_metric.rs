use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures::{self, assert_kept};

fn violations(conf: Value) -> Vec<String> {
    fixtures::violations(Kind::MeshMetric, json!({ "default": conf }))
}

#[test]
fn all_that_can_be_said_is_accepted_and_kept() {
    let spec = r#"{
        "targetRef": {"kind": "Dataplane", "labels": {"app": "backend"}},
        "default": {
            "sidecar": {
                "profiles": {
                    "include": [{"type": "Prefix", "match": "a"}, {"type": "Contains", "match": "b"}],
                    "exclude": [{"type": "Regex", "match": "^(a|b)[0-9]+$"}, {"type": "Exact", "match": "c"}],
                    "appendProfiles": [{"name": "None"}, {"name": "Basic"}, {"name": "All"}]
                },
                "includeUnused": true, "regex": "old"
            },
            "applications": [
                {"port": 8080},
                {"name": "app", "path": "metrics", "address": "127.0.0.1", "port": 9090}
            ],
            "backends": [
                {"type": "Prometheus", "prometheus": {}},
                {"type": "Prometheus", "prometheus":
                    {"clientId": "main", "port": 5671, "path": "/m", "tls": {"mode": "ActiveMTLSBackend"}}},
                {"type": "OpenTelemetry", "openTelemetry": {"endpoint": "otel:4317", "refreshInterval": "90s"}}
            ]
        }
    }"#;
    assert_kept(Kind::MeshMetric, spec);
    assert_eq!(
        fixtures::warnings(Kind::MeshMetric, serde_json::from_str(spec).unwrap()),
        [
            "unknown field \"spec.default.sidecar.regex\" is ignored",
            "MeshMetric is stored and shown, but does not change traffic yet",
        ]
    );
    assert_kept(Kind::MeshMetric, r#"{"default": {"backends": [], "applications": []}}"#);
}

#[test]
fn profiles_and_selectors_are_complete() {
    let profiles = |profiles: Value| violations(json!({ "sidecar": { "profiles": profiles } }));
    let path = "spec.default.sidecar.profiles";
    assert_eq!(
        profiles(json!({ "appendProfiles": [{ "name": "basic" }] })),
        [format!(
            "{path}.appendProfiles[0].name: is \"basic\", must be one of None, Basic, All"
        )]
    );
    assert_eq!(
        profiles(json!({
            "appendProfiles": [{}],
            "exclude": [{}, { "type": "Exact", "match": "" }],
            "include": [{ "type": "Regex", "match": "(a" }, { "type": "Regex", "match": "a".repeat(1025) }],
        })),
        [
            format!("{path}.appendProfiles[0].name: must be defined"),
            format!("{path}.exclude[0].type: must be defined"),
            format!("{path}.exclude[0].match: must be defined"),
            format!("{path}.exclude[1].match: must be defined"),
            format!("{path}.include[0].match: is \"(a\", must be a regular expression: unclosed group"),
            format!("{path}.include[1].match: has 1025 characters, a regular expression must have no more than 1024"),
        ]
    );
    assert_eq!(
        profiles(json!({ "include": [{ "type": "Suffix", "match": "a" }] })),
        [format!(
            "{path}.include[0].type: is \"Suffix\", must be one of Prefix, Regex, Exact, Contains"
        )]
    );
}

#[test]
fn applications_have_a_port() {
    assert_eq!(
        violations(json!({ "applications": [{}, { "port": 0 }, { "port": 70000 }] })),
        [
            "spec.default.applications[0].port: must be defined",
            "spec.default.applications[1].port: is 0, must be a port number from 1 to 65535",
            "spec.default.applications[2].port: is 70000, must be a port number from 1 to 65535",
        ]
    );
}

#[test]
fn a_backend_has_what_its_type_says() {
    let backends = json!([
        {},
        { "type": "Prometheus" },
        { "type": "OpenTelemetry" },
        { "type": "Prometheus", "prometheus": {}, "openTelemetry": { "endpoint": "otel:4317" } },
    ]);
    assert_eq!(
        violations(json!({ "backends": backends })),
        [
            "spec.default.backends[0].type: must be defined: Prometheus or OpenTelemetry",
            "spec.default.backends[1].prometheus: must be defined with type Prometheus",
            "spec.default.backends[2].openTelemetry: must be defined with type OpenTelemetry",
            "spec.default.backends[3].openTelemetry: must not be set with type Prometheus",
        ]
    );
    assert_eq!(
        violations(json!({ "backends": [{ "type": "StatsD" }] })),
        ["spec.default.backends[0].type: is \"StatsD\", must be Prometheus or OpenTelemetry"]
    );
}

#[test]
fn backends_can_be_reached() {
    let backends = json!([
        { "type": "Prometheus", "prometheus": { "port": 0, "path": "metrics" } },
        { "type": "OpenTelemetry", "openTelemetry": {} },
        { "type": "OpenTelemetry", "openTelemetry": { "endpoint": "otel.example" } },
        { "type": "OpenTelemetry", "openTelemetry": { "endpoint": "otel" } },
        { "type": "OpenTelemetry", "openTelemetry": { "endpoint": "http://otel:4317", "refreshInterval": "0s" } },
    ]);
    assert_eq!(
        violations(json!({ "backends": backends })),
        [
            "spec.default.backends[0].prometheus.port: is 0, must be a port number from 1 to 65535",
            "spec.default.backends[0].prometheus.path: is \"metrics\", must start with /",
            "spec.default.backends[1].openTelemetry.endpoint: must be defined, for example \"otel-collector:4317\"",
            "spec.default.backends[3].openTelemetry.endpoint: is \"otel\", must be a host and a port, for example \"otel:4317\"",
            "spec.default.backends[4].openTelemetry.endpoint: is \"http://otel:4317\", must be a host and a port without a scheme, for example \"otel-collector:4317\"",
            "spec.default.backends[4].openTelemetry.refreshInterval: is 0s, must be greater than 0",
        ]
    );
    let tls = json!([{ "type": "Prometheus", "prometheus": { "tls": { "mode": "On" } } }]);
    assert_eq!(
        violations(json!({ "backends": tls })),
        [
            "spec.default.backends[0].prometheus.tls.mode: is \"On\", must be one of Disabled, ProvidedTLS, ActiveMTLSBackend"
        ]
    );
}
