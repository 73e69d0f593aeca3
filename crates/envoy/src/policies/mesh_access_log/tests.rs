#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::LazyLock;

use envoy_types::pb::envoy::config::accesslog::v3::access_log::ConfigType;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::substitution_format_string::Format;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3::FileAccessLog;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3::file_access_log::AccessLogFormat;
use envoy_types::pb::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use envoy_types::pb::opentelemetry::proto::common::v1::any_value;
use meshspan_world::view::Source;
use prost::Message;
use serde_json::{Value, json};

use super::*;

static SOURCE: LazyLock<Source> = LazyLock::new(|| Source {
    service: "web 100%".to_owned(),
    address: "fd00::1".to_owned(),
});

static FACTS: LazyLock<Facts<'static>> = LazyLock::new(|| Facts {
    mesh: "default",
    direction: "OUTBOUND",
    source: LoggedSource::Known(&SOURCE),
    destination_service: "backend",
});

fn conf(backends: Value) -> Conf {
    serde_json::from_value(json!({ "backends": backends })).unwrap()
}

fn logs(backends: Value, protocol: Protocol, facts: &Facts<'_>) -> Vec<AccessLog> {
    logger::loggers(Some(&conf(backends)), protocol, facts, Side::Own)
}

fn config<M: Message + Default>(log: &AccessLog) -> M {
    let Some(ConfigType::TypedConfig(any)) = &log.config_type else {
        panic!("{log:?}")
    };
    M::decode(any.value.as_slice()).unwrap()
}

fn file(format: Value) -> Value {
    json!([{ "type": "File", "file": { "path": "/tmp/log", "format": format } }])
}

/// The text that Envoy gets for a plain format.
fn plain(format: &str, facts: &Facts<'_>) -> String {
    let logs = logs(file(json!({ "type": "Plain", "plain": format })), Protocol::Http, facts);
    let file: FileAccessLog = config(&logs[0]);
    let Some(AccessLogFormat::LogFormat(format)) = file.access_log_format else {
        panic!()
    };
    match format.format {
        Some(Format::TextFormatSource(source)) => match source.specifier {
            Some(Specifier::InlineString(text)) => text,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_logged_unless_a_backend_is_named() {
    assert!(logger::loggers(None, Protocol::Http, &FACTS, Side::Own).is_empty());
    assert!(logs(json!([]), Protocol::Http, &FACTS).is_empty());
    assert!(logger::loggers(Some(&Conf::default()), Protocol::Http, &FACTS, Side::Own).is_empty());
}

#[test]
fn placeholders_are_filled_in_and_operators_are_left() {
    for (format, expected) in [
        ("%KUMA_MESH% %DURATION% 5%%", "default %DURATION% 5%%\n"),
        (
            "%KUMA_SOURCE_SERVICE%->%KUMA_DESTINATION_SERVICE%",
            "web 100%%->backend\n",
        ),
        ("%KUMA_SOURCE_ADDRESS%", "[fd00::1]:0\n"),
        ("%KUMA_SOURCE_ADDRESS_WITHOUT_PORT%", "fd00::1\n"),
        ("%KUMA_TRAFFIC_DIRECTION%", "OUTBOUND\n"),
    ] {
        assert_eq!(plain(format, &FACTS), expected);
    }
    let of_node = Facts {
        source: LoggedSource::Node,
        ..*FACTS
    };
    assert_eq!(
        plain("%KUMA_SOURCE_SERVICE% %KUMA_SOURCE_ADDRESS_WITHOUT_PORT%", &of_node),
        "%CEL(xds.node.metadata['accessLog.source.service'])% %CEL(xds.node.metadata['accessLog.source.address'])%\n"
    );
    let incoming = Facts {
        source: LoggedSource::Peer,
        ..*FACTS
    };
    assert_eq!(
        plain("%KUMA_SOURCE_ADDRESS% %KUMA_SOURCE_ADDRESS_WITHOUT_PORT%", &incoming),
        "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\n"
    );
}

#[test]
fn a_format_that_cannot_be_read_costs_its_backend_only() {
    let mixed = json!([
        { "type": "File", "file": { "path": "/tmp/a", "format": { "type": "Plain", "plain": "%NOPE%" } } },
        { "type": "File", "file": { "path": "/tmp/b" } },
        { "type": "Tcp" },
    ]);
    let logs = logs(mixed, Protocol::Tcp, &FACTS);
    assert_eq!(logs.len(), 1);
    assert_eq!(config::<FileAccessLog>(&logs[0]).path, "/tmp/b");
}

#[test]
fn json_has_all_fields_and_the_same_bytes_every_time() {
    let fields: Vec<_> = (0..8)
        .map(|n| json!({ "key": format!("k{n}"), "value": "%KUMA_MESH%" }))
        .collect();
    let format = file(json!({ "type": "Json", "json": fields, "omitEmptyValues": true }));
    let first = logs(format.clone(), Protocol::Http, &FACTS);
    let Some(AccessLogFormat::LogFormat(made)) = config::<FileAccessLog>(&first[0]).access_log_format else {
        panic!()
    };
    assert!(made.omit_empty_values);
    let Some(Format::JsonFormat(object)) = made.format else {
        panic!()
    };
    assert_eq!(object.fields.len(), 8);
    for _ in 0..20 {
        assert_eq!(logs(format.clone(), Protocol::Http, &FACTS), first);
    }
}

#[test]
fn standard_streams_are_not_opened_again() {
    for (path, name) in [
        ("/dev/stdout", "envoy.access_loggers.stdout"),
        ("/dev/stderr", "envoy.access_loggers.stderr"),
        ("/var/log/x", "envoy.access_loggers.file"),
    ] {
        let logs = logs(
            json!([{ "type": "File", "file": { "path": path } }]),
            Protocol::Tcp,
            &FACTS,
        );
        assert_eq!(logs[0].name, name);
    }
}

#[test]
fn bodies_and_attributes_are_filled_in_too() {
    let backends = json!([{ "type": "OpenTelemetry", "openTelemetry": {
        "endpoint": "collector",
        "attributes": [{ "key": "mesh", "value": "%KUMA_MESH%" }],
        "body": { "kvlistValue": { "values": [
            { "key": "to", "value": { "arrayValue": { "values": [{ "stringValue": "%KUMA_DESTINATION_SERVICE%" }] } } },
        ] } },
    } }]);
    let otel: OpenTelemetryAccessLogConfig = config(&logs(backends.clone(), Protocol::Http, &FACTS)[0]);
    let attribute = &otel.attributes.unwrap().values[0];
    assert_eq!(
        attribute.value.as_ref().unwrap().value,
        Some(any_value::Value::StringValue("default".to_owned()))
    );
    let body = format!("{:?}", otel.body.unwrap());
    assert!(body.contains("\"backend\"") && !body.contains("KUMA"), "{body}");

    for side in [Side::Shared, Side::Own] {
        let clusters = otel::clusters(Some(&conf(backends.clone())), side);
        let logs = logger::loggers(Some(&conf(backends.clone())), Protocol::Http, &FACTS, side);
        let used = format!("{:?}", config::<OpenTelemetryAccessLogConfig>(&logs[0]));
        assert!(used.contains(&format!("\"{}\"", clusters[0].name)), "{used}");
    }
}

#[test]
fn a_collector_is_found_by_name_or_address() {
    for (endpoint, name, discovery) in [
        (
            "collector",
            "meshaccesslog:opentelemetry:collector:4317",
            DiscoveryType::StrictDns,
        ),
        (
            "10.0.0.1:99",
            "meshaccesslog:opentelemetry:10.0.0.1:99",
            DiscoveryType::Static,
        ),
        ("[::1]:99", "meshaccesslog:opentelemetry:::1:99", DiscoveryType::Static),
    ] {
        let conf = conf(json!([{ "type": "OpenTelemetry", "openTelemetry": { "endpoint": endpoint } }]));
        let clusters = otel::clusters(Some(&conf), Side::Shared);
        assert_eq!(clusters[0].name, name);
        assert_eq!(
            clusters[0].cluster_discovery_type,
            Some(ClusterDiscoveryType::Type(discovery.into()))
        );
    }
}
