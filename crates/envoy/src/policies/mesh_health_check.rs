//! Active health checks (`spec/policies.md` §2.4). Without a policy there are none.
//!
//! Checks go where requests go, over mesh TLS and, to other zones, through their ingress; there each check finds some
//! instance, so it says whether the zone answers, not an instance of it.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, Payload, TcpHealthCheck, payload::Payload as Bytes,
};
use envoy_types::pb::envoy::config::core::v3::{HealthCheck, TypedExtensionConfig};
use envoy_types::pb::envoy::extensions::health_check::event_sinks::file::v3::HealthCheckEventFileSink;
use envoy_types::pb::envoy::r#type::v3::{CodecClientType, Int64Range, Percent};
use envoy_types::util::pack_any;
use meshspan_model::duration::GoDuration;
use meshspan_model::kinds::mesh_health_check::{Conf, Grpc, Http, Tcp, payload};
use meshspan_world::view::Protocol;

use super::{Effect, Towards, header_options};
use crate::parts::ClusterParts;
use crate::wkt::{flag, time, uint};

/// [`Effect`] of the kind.
pub(crate) struct MeshHealthCheck;

const INTERVAL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(15);
const UNHEALTHY_THRESHOLD: u32 = 5;
const HEALTHY_THRESHOLD: u32 = 1;
const PATH: &str = "/";

impl Effect for MeshHealthCheck {
    type Conf = Conf;

    fn cluster(conf: Option<&Conf>, to: &Towards<'_>, parts: &mut ClusterParts) {
        let Some(conf) = conf else { return };
        let Some(checker) = checker(conf, to.destination.protocol) else {
            return;
        };
        let cluster = &mut parts.cluster;
        cluster.health_checks = vec![health_check(conf, checker)];
        // Who is gone is gone, whatever the last check said (`spec/dataplane.md` §11).
        cluster.ignore_health_on_host_removal = true;
        if let Some(value) = panic_threshold(conf) {
            let common = cluster.common_lb_config.get_or_insert_default();
            common.healthy_panic_threshold = Some(Percent { value });
        }
    }
}

/// Below which share of healthy endpoints health is ignored. Envoy fails requests instead only where localities have no
/// weights, and ours have; never to ignore health comes to the same, but for requests that a healthy endpoint can take.
fn panic_threshold(conf: &Conf) -> Option<f64> {
    if conf.fail_traffic_on_panic == Some(true) {
        return Some(0.0);
    }
    conf.healthy_panic_threshold.map(|threshold| threshold.value())
}

/// The check that is closest to the protocol, of those that are there and not disabled; `None` if none is.
fn checker(conf: &Conf, protocol: Protocol) -> Option<HealthChecker> {
    let enabled = |disabled: Option<bool>| disabled != Some(true);
    let http = || conf.http.as_ref().filter(|http| enabled(http.disabled)).map(by_request);
    let grpc = || conf.grpc.as_ref().filter(|grpc| enabled(grpc.disabled)).map(by_call);
    let tcp = || conf.tcp.as_ref().filter(|tcp| enabled(tcp.disabled)).map(by_connection);
    match protocol {
        Protocol::Http | Protocol::Http2 => http().or_else(tcp),
        Protocol::Grpc => grpc().or_else(tcp),
        Protocol::Tcp => tcp(),
    }
}

fn health_check(conf: &Conf, checker: HealthChecker) -> HealthCheck {
    let optional = |value: Option<GoDuration>| value.and_then(|value| time(value.0));
    let event_logger = conf.event_log_path.iter().map(|path| TypedExtensionConfig {
        name: "envoy.health_check.event_sinks.file".to_owned(),
        typed_config: Some(pack_any(HealthCheckEventFileSink {
            event_log_path: path.clone(),
        })),
    });
    HealthCheck {
        interval: optional(conf.interval).or(time(INTERVAL)),
        timeout: optional(conf.timeout).or(time(TIMEOUT)),
        unhealthy_threshold: uint(conf.unhealthy_threshold.unwrap_or(UNHEALTHY_THRESHOLD)),
        healthy_threshold: uint(conf.healthy_threshold.unwrap_or(HEALTHY_THRESHOLD)),
        initial_jitter: optional(conf.initial_jitter),
        interval_jitter: optional(conf.interval_jitter),
        interval_jitter_percent: conf.interval_jitter_percent.unwrap_or_default(),
        no_traffic_interval: optional(conf.no_traffic_interval),
        reuse_connection: conf.reuse_connection.and_then(flag),
        event_logger: event_logger.collect(),
        always_log_health_check_failures: conf.always_log_health_check_failures.unwrap_or(false),
        health_checker: Some(checker),
        ..Default::default()
    }
}

fn by_connection(conf: &Tcp) -> HealthChecker {
    let bytes = |written: &String| {
        // Envoy wants it in hexadecimal.
        let text = payload(written)?.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Payload {
            payload: Some(Bytes::Text(text)),
        })
    };
    HealthChecker::TcpHealthCheck(TcpHealthCheck {
        send: conf.send.as_ref().and_then(bytes),
        receive: conf.receive.iter().flatten().filter_map(bytes).collect(),
        ..Default::default()
    })
}

fn by_request(conf: &Http) -> HealthChecker {
    let statuses = conf.expected_statuses.iter().flatten().map(|status| Int64Range {
        start: i64::from(*status),
        end: i64::from(*status) + 1,
    });
    let headers = conf.request_headers_to_add.clone().unwrap_or_default();
    HealthChecker::HttpHealthCheck(HttpHealthCheck {
        path: conf.path.clone().unwrap_or_else(|| PATH.to_owned()),
        expected_statuses: statuses.collect(),
        request_headers_to_add: header_options::added(headers.set.as_deref(), headers.add.as_deref()),
        // As all requests within the mesh.
        codec_client_type: CodecClientType::Http2.into(),
        ..Default::default()
    })
}

fn by_call(conf: &Grpc) -> HealthChecker {
    HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
        service_name: conf.service_name.clone().unwrap_or_default(),
        authority: conf.authority.clone().unwrap_or_default(),
        ..Default::default()
    })
}
