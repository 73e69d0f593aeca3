use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures::{self, assert_kept};

fn violations(conf: Value) -> Vec<String> {
    fixtures::violations(Kind::MeshTrace, json!({ "default": conf }))
}

fn violations_of_backend(backend: Value) -> Vec<String> {
    violations(json!({ "backends": [backend] }))
}

#[test]
fn all_that_can_be_said_is_accepted_and_kept() {
    for backend in [
        r#"{"type": "Zipkin", "zipkin": {"url": "http://zipkin:9411/api/v2/spans", "traceId128bit": true, "apiVersion": "httpProto", "sharedSpanContext": false}}"#,
        r#"{"type": "Datadog", "datadog": {"url": "http://127.0.0.1:8126", "splitService": true}}"#,
        r#"{"type": "OpenTelemetry", "openTelemetry": {"endpoint": "otel-collector"}}"#,
        r#"{"type": "OpenTelemetry", "openTelemetry": {"endpoint": "otel-collector:4317"}}"#,
        r#"{"type": "OpenTelemetry", "openTelemetry": {"endpoint": "https://otel.example/v1/traces"}}"#,
    ] {
        let spec = format!(
            r#"{{"default": {{
                "tags": [{{"name": "team", "literal": "core"}},
                         {{"name": "version", "header": {{"name": "X-Version", "default": "v1"}}}}],
                "backends": [{backend}], "more": 1,
                "sampling": {{"overall": "33.3", "client": 0, "random": 100}}
            }}}}"#
        );
        assert_kept(Kind::MeshTrace, &spec);
        assert_eq!(
            fixtures::warnings(Kind::MeshTrace, serde_json::from_str(&spec).unwrap()),
            [
                "unknown field \"spec.default.more\" is ignored",
                "MeshTrace is stored and shown, but does not change traffic yet",
            ]
        );
    }
    assert_kept(Kind::MeshTrace, r#"{"default": {"backends": []}}"#);
}

#[test]
fn there_is_one_backend_or_explicitly_none() {
    for spec in [json!({}), json!({ "default": null }), json!({ "default": {} })] {
        assert_eq!(
            fixtures::violations(Kind::MeshTrace, spec),
            ["spec.default.backends: must be defined; [] switches tracing off"]
        );
    }
    let zipkin = json!({ "type": "Zipkin", "zipkin": { "url": "http://zipkin:9411" } });
    assert_eq!(
        violations(json!({ "backends": [zipkin, zipkin] })),
        ["spec.default.backends: has 2 items, must have no more than 1: a proxy has one tracer"]
    );
}

#[test]
fn a_backend_has_what_its_type_says() {
    assert_eq!(
        violations_of_backend(json!({})),
        ["spec.default.backends[0].type: must be defined: Zipkin, Datadog or OpenTelemetry"]
    );
    assert_eq!(
        violations_of_backend(json!({ "type": "Jaeger" })),
        ["spec.default.backends[0].type: is \"Jaeger\", must be one of Zipkin, Datadog, OpenTelemetry"]
    );
    for (kind, field) in [
        ("Zipkin", "zipkin"),
        ("Datadog", "datadog"),
        ("OpenTelemetry", "openTelemetry"),
    ] {
        assert_eq!(
            violations_of_backend(json!({ "type": kind })),
            [format!(
                "spec.default.backends[0].{field}: must be defined with type {kind}"
            )]
        );
    }
    let two = json!({ "type": "Zipkin", "zipkin": { "url": "http://a:1" }, "datadog": { "url": "http://a:1" } });
    assert_eq!(
        violations_of_backend(two),
        ["spec.default.backends[0].datadog: must not be set with type Zipkin"]
    );
}

#[test]
fn backends_are_where_something_can_be_sent() {
    for url in ["", "zipkin:9411", "ftp://zipkin", "http://"] {
        assert_eq!(
            violations_of_backend(json!({ "type": "Zipkin", "zipkin": { "url": url } })),
            [format!(
                "spec.default.backends[0].zipkin.url: is \"{url}\", must be a URL such as http://zipkin:9411/api/v2/spans"
            )]
        );
    }
    let version = json!({ "type": "Zipkin", "zipkin": { "url": "http://a", "apiVersion": "httpXml" } });
    assert_eq!(
        violations_of_backend(version),
        ["spec.default.backends[0].zipkin.apiVersion: is \"httpXml\", must be httpJson or httpProto"]
    );
    for url in [
        "",
        "https://dd:8126",
        "http://dd",
        "http://dd:8126/",
        "http://dd:0",
        "http://u@dd:1",
        "http://dd:1?a",
    ] {
        assert_eq!(
            violations_of_backend(json!({ "type": "Datadog", "datadog": { "url": url } })),
            [format!(
                "spec.default.backends[0].datadog.url: is \"{url}\", must be http, host and port and nothing else, such as http://datadog-agent:8126"
            )]
        );
    }
    for endpoint in ["", "otel:", "otel:70000", "grpc://otel:4317", "https://otel:x"] {
        assert_eq!(
            violations_of_backend(json!({ "type": "OpenTelemetry", "openTelemetry": { "endpoint": endpoint } })),
            [format!(
                "spec.default.backends[0].openTelemetry.endpoint: is \"{endpoint}\", must be a host and a port such as \"otel-collector:4317\", or a URL"
            )]
        );
    }
}

#[test]
fn shares_are_percentages() {
    let conf = json!({ "backends": [], "sampling": { "overall": 101, "client": "-0.5", "random": "100.1" } });
    assert_eq!(
        violations(conf),
        [
            "spec.default.sampling.overall: is 101, must be 0 to 100",
            "spec.default.sampling.client: is -0.5, must be 0 to 100",
            "spec.default.sampling.random: is 100.1, must be 0 to 100",
        ]
    );
    assert_eq!(
        violations(json!({ "backends": [], "sampling": { "random": "all" } })),
        ["spec.default.sampling.random: is \"all\", must be a number, or a string with a number such as \"33.3\""]
    );
}

#[test]
fn a_tag_has_a_name_and_one_source() {
    let tags = json!([
        { "literal": "x" },
        { "name": "", "literal": "x" },
        { "name": "a" },
        { "name": "a", "literal": "x", "header": { "name": "x-a" } },
        { "name": "a", "header": {} },
        { "name": "a", "header": { "name": "x a" } },
    ]);
    assert_eq!(
        violations(json!({ "backends": [], "tags": tags })),
        [
            "spec.default.tags[0].name: must be defined",
            "spec.default.tags[1].name: must be defined",
            "spec.default.tags[2]: must have exactly one defined: literal, header",
            "spec.default.tags[3]: must have exactly one defined: literal, header",
            "spec.default.tags[4].header.name: is \"\", must be the name of a header in lower case, of 1 to 256 characters",
            "spec.default.tags[5].header.name: is \"x a\", must be the name of a header in lower case, of 1 to 256 characters",
        ]
    );
}
