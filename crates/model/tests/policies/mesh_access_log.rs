use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures;

fn violations(conf: Value) -> Vec<String> {
    let to = json!([{"targetRef": {"kind": "Mesh"}, "default": conf}]);
    fixtures::violations(Kind::MeshAccessLog, json!({"to": to}))
}

/// What is wrong with one backend, with paths from there.
fn backend(backend: Value) -> Vec<String> {
    let found = violations(json!({"backends": [backend]}));
    let prefix = "spec.to[0].default.backends[0]";
    let relative = found
        .iter()
        .map(|text| text.strip_prefix(prefix).unwrap_or_else(|| panic!("{text}")));
    relative.map(|text| text.trim_start_matches('.').to_owned()).collect()
}

fn file(format: Value) -> Value {
    json!({"type": "File", "file": {"path": "/dev/stdout", "format": format}})
}

/// What is wrong with a plain format.
fn plain(format: &str) -> String {
    let mut found = backend(file(json!({"type": "Plain", "plain": format})));
    assert!(found.len() <= 1, "{found:?}");
    let found = found.pop().unwrap_or_default();
    found.trim_start_matches("file.format.plain: ").to_owned()
}

#[test]
fn every_backend_is_taken() {
    for valid in [
        json!({"type": "File", "file": {"path": "/var/log/access.log"}}),
        file(json!({"type": "Plain", "plain": "[%START_TIME%] %KUMA_MESH% %REQ(:METHOD)% 100%%"})),
        file(json!({
            "type": "Json",
            "json": [{"key": "time", "value": "%START_TIME%"}, {"key": "fixed", "value": "text"}],
            "omitEmptyValues": true,
        })),
        json!({"type": "Tcp", "tcp": {"address": "logs.example:514"}}),
        json!({"type": "Tcp", "tcp": {"address": "[fd00::1]:514", "format": {"type": "Plain", "plain": "x"}}}),
        json!({"type": "OpenTelemetry", "openTelemetry": {"endpoint": "collector"}}),
        json!({"type": "OpenTelemetry", "openTelemetry": {
            "endpoint": "collector:4317",
            "attributes": [{"key": "mesh", "value": "%KUMA_MESH%"}],
            "body": "%REQ(:METHOD)%",
        }}),
        json!({"type": "OpenTelemetry", "openTelemetry": {
            "endpoint": "collector:4317",
            "body": {"kvlistValue": {"values": [
                {"key": "flags", "value": {"stringValue": "%RESPONSE_FLAGS%"}},
                {"key": "bytes", "value": {"arrayValue": {"values": [{"stringValue": "%BYTES_SENT%"}]}}},
            ]}},
        }}),
    ] {
        assert_eq!(backend(valid.clone()), [""; 0], "{valid}");
    }
    assert_eq!(violations(json!({"backends": []})), [""; 0]);
}

#[test]
fn backends_are_required_and_bounded() {
    assert_eq!(
        violations(json!({})),
        ["spec.to[0].default.backends: must be defined; [] switches access logs off"]
    );
    let many: Vec<_> = std::iter::repeat_n(json!({"type": "File", "file": {"path": "/x"}}), 17).collect();
    assert_eq!(
        violations(json!({"backends": many})),
        ["spec.to[0].default.backends: has 17 items, must have no more than 16"]
    );
}

#[test]
fn a_backend_has_what_its_type_says() {
    for (kind, field) in [("Tcp", "tcp"), ("File", "file"), ("OpenTelemetry", "openTelemetry")] {
        assert_eq!(
            backend(json!({"type": kind})),
            [format!("{field}: must be defined with type {kind}")]
        );
    }
    let unknown = backend(json!({"type": "Syslog"}));
    assert!(
        unknown.len() == 1 && unknown[0].starts_with("type: ") && unknown[0].contains("OpenTelemetry"),
        "{unknown:?}"
    );
    let missing = backend(json!({"file": {"path": "/x"}}));
    assert!(
        missing.len() == 1 && missing[0].contains("must have a field \"type\""),
        "{missing:?}"
    );
}

#[test]
fn addresses_and_paths_are_those_that_can_be_opened() {
    for address in ["", "logs", "http://logs:514", "logs:0"] {
        assert_eq!(
            backend(json!({"type": "Tcp", "tcp": {"address": address}})),
            [format!(
                "tcp.address: is \"{address}\", must be a host and a port without a scheme, for example \
                 \"logs.example:514\""
            )]
        );
    }
    assert_eq!(
        backend(json!({"type": "OpenTelemetry", "openTelemetry": {"endpoint": "grpc://collector"}})),
        [
            "openTelemetry.endpoint: is \"grpc://collector\", must be a host and a port without a scheme, for example \
             \"otel-collector:4317\""
        ]
    );
    for path in ["", "access.log", "/var/log/"] {
        assert_eq!(
            backend(json!({"type": "File", "file": {"path": path}})),
            [format!(
                "file.path: is \"{path}\", must be the absolute path of a file, such as /dev/stdout or /var/log/access.log"
            )]
        );
    }
}

#[test]
fn formats_are_filled_in() {
    for (format, expected) in [
        (
            json!({"type": "Plain"}),
            "file.format.plain: must be defined with type Plain",
        ),
        (
            json!({"type": "Plain", "plain": ""}),
            "file.format.plain: must be defined with type Plain",
        ),
        (
            json!({"type": "Json"}),
            "file.format.json: must be defined with type Json",
        ),
        (
            json!({"type": "Json", "json": []}),
            "file.format.json: must be defined with type Json",
        ),
        (
            json!({"type": "Json", "json": [{"value": "x"}]}),
            "file.format.json[0].key: must be defined",
        ),
        (
            json!({"type": "Json", "json": [{"key": "x"}]}),
            "file.format.json[0].value: must be defined",
        ),
        (
            json!({"type": "Json", "json": [{"key": "x", "value": "%NOPE%"}]}),
            "file.format.json[0].value: %NOPE% is no operator of Envoy 1.40; see its list of access log command operators",
        ),
    ] {
        assert_eq!(backend(file(format)), [expected]);
    }
    let fields: Vec<_> = (0..129).map(|n| json!({"key": n.to_string(), "value": "x"})).collect();
    assert_eq!(
        backend(file(json!({"type": "Json", "json": fields}))),
        ["file.format.json: has 129 items, must have no more than 128"]
    );
}

#[test]
fn operators_are_those_of_envoy() {
    for (format, expected) in [
        ("%DURATION% %REQ(X-A?X-B):10%", ""),
        ("%KUMA_TRAFFIC_DIRECTION%", ""),
        (
            "%NOPE%",
            "%NOPE% is no operator of Envoy 1.40; see its list of access log command operators",
        ),
        (
            "100% sure",
            "\"% sure\" starts no operator: write %NAME%, %NAME(parameters)% or %NAME(parameters):length%, and %% for a \
             percent sign",
        ),
        (
            "%KUMA_NOPE%",
            "%KUMA_NOPE% is no placeholder, must be one of %KUMA_SOURCE_ADDRESS%, %KUMA_SOURCE_ADDRESS_WITHOUT_PORT%, \
             %KUMA_SOURCE_SERVICE%, %KUMA_DESTINATION_SERVICE%, %KUMA_MESH%, %KUMA_TRAFFIC_DIRECTION%",
        ),
        ("%KUMA_MESH(x)%", "%KUMA_MESH% takes neither parameters nor a length"),
        ("%DURATION(x)%", "%DURATION% takes neither parameters nor a length"),
        ("%DURATION:5%", "%DURATION% takes neither parameters nor a length"),
        (
            "%REQ%",
            "%REQ% needs the name of a header as parameter, or two as in (X-A?X-B)",
        ),
        (
            "%START_TIME(%n)%",
            "%START_TIME% takes a strftime format without %n as parameter, and no length",
        ),
        (
            "%CEL(request.path)%",
            "%CEL(…)% is not supported: a mistake in its parameters would make proxies refuse their listeners",
        ),
    ] {
        assert_eq!(plain(format), expected, "{format}");
    }
}

#[test]
fn records_of_open_telemetry_hold_formats_only() {
    let otel = |field: &str, value: Value| {
        backend(json!({"type": "OpenTelemetry", "openTelemetry": {"endpoint": "collector", field: value}}))
    };
    for (field, value, path, message) in [
        ("body", json!("%NOPE%"), "body", "%NOPE% is no operator"),
        (
            "body",
            json!({"stringValue": "%"}),
            "body.stringValue",
            "starts no operator",
        ),
        ("body", json!({"intValue": 1}), "body", "is \"intValue\""),
        ("body", json!(1), "body", "is 1, must be"),
        (
            "body",
            json!({"kvlistValue": {"values": [{"key": "", "value": {"stringValue": "x"}}]}}),
            "body.kvlistValue.values[0].key",
            "must be defined",
        ),
        (
            "body",
            json!({"arrayValue": {"values": [{"stringValue": "x"}, {"stringValue": "%NOPE%"}]}}),
            "body.arrayValue.values[1].stringValue",
            "%NOPE% is no operator",
        ),
        (
            "attributes",
            json!([{"key": "a", "value": "%NOPE%"}]),
            "attributes[0].value",
            "%NOPE% is no operator",
        ),
    ] {
        let found = otel(field, value);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("openTelemetry.{path}: ")) && found[0].contains(message),
            "{found:?}"
        );
    }
    let mut deep = json!({"stringValue": "x"});
    for _ in 0..9 {
        deep = json!({"arrayValue": {"values": [deep]}});
    }
    let found = otel("body", deep);
    assert!(
        found.len() == 1 && found[0].ends_with("is nested deeper than 8 levels"),
        "{found:?}"
    );
}

#[test]
fn the_last_of_equal_fields_counts() {
    let field = |value: &str| json!({"key": "x", "value": value});
    let format = json!({"type": "Json", "json": [field("a"), field("b")]});
    let conf = json!({"backends": [{"type": "File", "file": {"path": "/tmp/log", "format": format}}]});
    let spec = json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": conf}]});
    assert_eq!(
        fixtures::warnings(Kind::MeshAccessLog, spec),
        [
            "spec.to[0].default.backends[0].file.format.json[1].key: \"x\" stands there more than once; the last one counts"
        ]
    );
}
