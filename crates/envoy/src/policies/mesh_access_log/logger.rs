//! Envoy's access loggers, one for each backend.
//!
//! A backend whose format cannot be read is left out: Envoy would refuse the whole listener for it.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::accesslog::v3::{AccessLog, access_log};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::SubstitutionFormatString;
use envoy_types::pb::envoy::config::core::v3::substitution_format_string::Format as EnvoyFormat;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use envoy_types::pb::envoy::extensions::access_loggers::fluentd::v3::FluentdAccessLogConfig;
use envoy_types::pb::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use envoy_types::pb::google::protobuf::{Any, ListValue, Struct, Value, value};
use meshspan_model::kinds::mesh_access_log::format::{FormatError, escape};
use meshspan_model::kinds::mesh_access_log::{Backend, BackendType, Conf, FileBackend, Format, FormatType, TcpBackend};

use super::line::{Facts, Protocol};
use super::otel::{self, Side};
use crate::encode::merged;
use crate::wkt::time;

/// The cluster of the bootstrap that leads to the agent, which passes lines on over TCP. Its name in Kuma.
pub(crate) const SINK_CLUSTER: &str = "access_log_sink";
/// How long lines may wait for company on their way to the agent.
const SINK_FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// The loggers of a conf.
pub(super) fn loggers(conf: Option<&Conf>, protocol: Protocol, facts: &Facts<'_>, side: Side) -> Vec<AccessLog> {
    backends(conf)
        .filter_map(|backend| logger(backend, protocol, facts, side))
        .map(|(name, config)| AccessLog {
            name: name.to_owned(),
            config_type: Some(access_log::ConfigType::TypedConfig(config)),
            ..Default::default()
        })
        .collect()
}

pub(super) fn backends(conf: Option<&Conf>) -> impl Iterator<Item = &Backend> {
    conf.and_then(|conf| conf.backends.as_ref()).into_iter().flatten()
}

fn logger(backend: &Backend, protocol: Protocol, facts: &Facts<'_>, side: Side) -> Option<(&'static str, Any)> {
    match backend.kind {
        BackendType::File => file(backend.file.as_ref()?, protocol, facts).ok(),
        BackendType::Tcp => sink(backend.tcp.as_ref()?, protocol, facts).ok(),
        BackendType::OpenTelemetry => otel::logger(backend.open_telemetry.as_ref()?, protocol, facts, side),
    }
}

/// A format with everything filled in.
enum Line {
    Text(String),
    Object(Vec<(String, String)>),
}

fn line(format: Option<&Format>, protocol: Protocol, facts: &Facts<'_>) -> Result<Line, FormatError> {
    let text = |format: &str| facts.fill_in(format).map(Line::Text);
    match format {
        None => text(protocol.default_format()),
        Some(format) => match format.kind {
            FormatType::Plain => text(format.plain.as_deref().unwrap_or(protocol.default_format())),
            FormatType::Json => {
                let fields = format.json.iter().flatten();
                let filled = fields.map(|field| Ok((field.key.clone(), facts.fill_in(&field.value)?)));
                filled.collect::<Result<_, _>>().map(Line::Object)
            }
        },
    }
}

fn file(backend: &FileBackend, protocol: Protocol, facts: &Facts<'_>) -> Result<(&'static str, Any), FormatError> {
    let format = backend.format.as_ref();
    let formats = match line(format, protocol, facts)? {
        Line::Text(text) => vec![EnvoyFormat::TextFormatSource(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(format!("{text}\n"))),
            ..Default::default()
        })],
        Line::Object(fields) => fields
            .into_iter()
            .map(|(key, format)| EnvoyFormat::JsonFormat(object(key, text_value(format))))
            .collect(),
    };
    let parts = formats.into_iter().map(|one| SubstitutionFormatString {
        omit_empty_values: format.and_then(|format| format.omit_empty_values).unwrap_or_default(),
        format: Some(one),
        ..Default::default()
    });
    // Opening these files fails where they are sockets, as under a service manager; Envoy has them open already.
    Ok(match backend.path.as_str() {
        "/dev/stdout" => (
            "envoy.access_loggers.stdout",
            merged(parts.map(|part| StdoutAccessLog {
                access_log_format: Some(stdout_access_log::AccessLogFormat::LogFormat(part)),
            })),
        ),
        "/dev/stderr" => (
            "envoy.access_loggers.stderr",
            merged(parts.map(|part| StderrAccessLog {
                access_log_format: Some(stderr_access_log::AccessLogFormat::LogFormat(part)),
            })),
        ),
        path => (
            "envoy.access_loggers.file",
            merged(parts.map(|part| FileAccessLog {
                path: path.to_owned(),
                access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(part)),
            })),
        ),
    })
}

/// Records `{address, message}` to the agent. The message is a string, or a list of objects with one field each, which
/// together are the object to write: so its fields keep their order. Envoy cannot leave out empty values there.
fn sink(backend: &TcpBackend, protocol: Protocol, facts: &Facts<'_>) -> Result<(&'static str, Any), FormatError> {
    let message = match line(backend.format.as_ref(), protocol, facts)? {
        Line::Text(text) => text_value(text),
        Line::Object(fields) => Value {
            kind: Some(value::Kind::ListValue(ListValue {
                values: fields
                    .into_iter()
                    .map(|(key, format)| Value {
                        kind: Some(value::Kind::StructValue(object(key, text_value(format)))),
                    })
                    .collect(),
            })),
        },
    };
    let fields = [("address", text_value(escape(&backend.address))), ("message", message)];
    let parts = fields.map(|(key, value)| FluentdAccessLogConfig {
        cluster: SINK_CLUSTER.to_owned(),
        tag: "access_log".to_owned(),
        stat_prefix: SINK_CLUSTER.to_owned(),
        buffer_flush_interval: time(SINK_FLUSH_INTERVAL),
        record: Some(object(key.to_owned(), value)),
        ..Default::default()
    });
    Ok(("envoy.access_loggers.fluentd", merged(parts)))
}

fn object(key: String, value: Value) -> Struct {
    Struct {
        fields: HashMap::from([(key, value)]),
    }
}

fn text_value(text: String) -> Value {
    Value {
        kind: Some(value::Kind::StringValue(text)),
    }
}
