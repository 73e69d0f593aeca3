//! Access logs as records of OpenTelemetry, and the clusters that lead to collectors.

use std::net::IpAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::{self as core, GrpcService, grpc_service};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint as EnvoyEndpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use envoy_types::pb::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::opentelemetry::proto::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value};
use envoy_types::util::pack_any;
use meshspan_model::kinds::mesh_access_log::format::FormatError;
use meshspan_model::kinds::mesh_access_log::{BackendType, Body, Conf, OTEL_PORT, OtelBackend, OtelValue};
use meshspan_model::policy::values::Endpoint;

use super::line::{Facts, Protocol};
use super::logger::backends;
use crate::parts::ClusterParts;
use crate::wkt::time;
use crate::{http, names};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which half of a proxy's configuration something belongs to; names of clusters must not meet across halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// What proxies share: destinations.
    Shared,
    /// What is the proxy's own: inbounds, interception.
    Own,
}

/// The clusters that the loggers of a conf need.
pub(super) fn clusters(conf: Option<&Conf>, side: Side) -> Vec<Cluster> {
    let collectors = backends(conf).filter(|backend| backend.kind == BackendType::OpenTelemetry);
    let endpoints = collectors.filter_map(|backend| endpoint(backend.open_telemetry.as_ref()?));
    endpoints.map(|(host, port)| collector(host, port, side)).collect()
}

/// The logger of a backend; `None` if something about it cannot be read.
pub(super) fn logger(
    backend: &OtelBackend,
    protocol: Protocol,
    facts: &Facts<'_>,
    side: Side,
) -> Option<(&'static str, Any)> {
    let (host, port) = endpoint(backend)?;
    let config = config(backend, collector_name(host, port, side), protocol, facts).ok()?;
    Some(("envoy.access_loggers.open_telemetry", pack_any(config)))
}

fn config(
    backend: &OtelBackend,
    cluster_name: String,
    protocol: Protocol,
    facts: &Facts<'_>,
) -> Result<OpenTelemetryAccessLogConfig, FormatError> {
    let body = match &backend.body {
        None => text(facts.fill_in(protocol.default_format())?),
        Some(Body::Text(format)) => text(facts.fill_in(format)?),
        Some(Body::Value(value)) => filled(value, facts)?,
    };
    let fields = backend.attributes.iter().flatten();
    let attributes = fields.map(|field| Ok(key_value(&field.key, text(facts.fill_in(&field.value)?))));
    Ok(OpenTelemetryAccessLogConfig {
        log_name: "MeshAccessLog".to_owned(),
        grpc_service: Some(GrpcService {
            target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(grpc_service::EnvoyGrpc {
                cluster_name,
                ..Default::default()
            })),
            ..Default::default()
        }),
        body: Some(body),
        attributes: Some(KeyValueList {
            values: attributes.collect::<Result<_, FormatError>>()?,
        }),
        ..Default::default()
    })
}

fn filled(written: &OtelValue, facts: &Facts<'_>) -> Result<AnyValue, FormatError> {
    let value = match written {
        OtelValue::StringValue(format) => return Ok(text(facts.fill_in(format)?)),
        OtelValue::ArrayValue { values } => any_value::Value::ArrayValue(ArrayValue {
            values: values
                .iter()
                .map(|value| filled(value, facts))
                .collect::<Result<_, _>>()?,
        }),
        OtelValue::KvlistValue { values } => {
            let fields = values
                .iter()
                .map(|field| Ok(key_value(&field.key, filled(&field.value, facts)?)));
            any_value::Value::KvlistValue(KeyValueList {
                values: fields.collect::<Result<_, FormatError>>()?,
            })
        }
    };
    Ok(AnyValue { value: Some(value) })
}

fn key_value(key: &str, value: AnyValue) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(value),
        ..Default::default()
    }
}

fn text(text: String) -> AnyValue {
    AnyValue {
        value: Some(any_value::Value::StringValue(text)),
    }
}

fn endpoint(backend: &OtelBackend) -> Option<(&str, u16)> {
    let endpoint = Endpoint::parse(&backend.endpoint)?;
    Some((endpoint.host, endpoint.port.unwrap_or(OTEL_PORT)))
}

fn collector_name(host: &str, port: u16, side: Side) -> String {
    let own = match side {
        Side::Shared => "",
        Side::Own => "own:",
    };
    format!("meshaccesslog:opentelemetry:{own}{host}:{port}")
}

/// A collector, which speaks HTTP/2 without TLS.
fn collector(host: &str, port: u16, side: Side) -> Cluster {
    let name = collector_name(host, port, side);
    let discovery = match host.parse::<IpAddr>() {
        Ok(_) => DiscoveryType::Static,
        Err(_) => DiscoveryType::StrictDns,
    };
    let address = core::SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    let endpoint = EnvoyEndpoint {
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(address)),
        }),
        ..Default::default()
    };
    let cluster = Cluster {
        alt_stat_name: names::stat_prefix(&name),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        connect_timeout: time(CONNECT_TIMEOUT),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: vec![LbEndpoint {
                    host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }),
        name,
        ..Default::default()
    };
    let http = Some(http::to_application(http::http2()));
    ClusterParts {
        cluster,
        http,
        tls: None,
    }
    .build()
}
