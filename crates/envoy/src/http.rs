//! HTTP on both sides of a proxy: connection managers, routes, upstream protocol; before any policy.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, route, route_action, route_match,
};
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3::{FilterConfig as GrpcStats, filter_config};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, ForwardClientCertDetails, ServerHeaderTransformation, SetCurrentClientCertDetails,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};
use envoy_types::pb::google::protobuf::{Any, BoolValue};
use envoy_types::util::pack_any;
use meshspan_policy::Confs;
use meshspan_world::view::Protocol;
use prost::Name;

use crate::names;
use crate::parts::{HttpChain, RouteParts};
use crate::wkt::{flag, time, uint};

/// Between pings on connections to other proxies, and how long an answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// From the application to the service that `cluster` holds.
pub(crate) fn outbound_chain<'a>(listener: &str, cluster: &str, protocol: Protocol, confs: &'a Confs) -> HttpChain<'a> {
    HttpChain {
        manager: manager(listener),
        filters: filters(protocol),
        route_configuration: route_configuration(cluster),
        routes: vec![RouteParts {
            route: everything_to(cluster),
            confs,
        }],
    }
}

/// From other proxies to the application behind `cluster`.
pub(crate) fn inbound_chain<'a>(listener: &str, cluster: &str, protocol: Protocol, confs: &'a Confs) -> HttpChain<'a> {
    HttpChain {
        manager: HttpConnectionManager {
            forward_client_cert_details: ForwardClientCertDetails::SanitizeSet.into(),
            // Permissions of paths must not be evaded by another spelling.
            normalize_path: flag(true),
            set_current_client_cert_details: Some(SetCurrentClientCertDetails {
                uri: true,
                ..Default::default()
            }),
            ..manager(listener)
        },
        route_configuration: RouteConfiguration {
            // Written by Kuma proxies of other zones, for their peers and not for the application.
            request_headers_to_remove: vec!["x-kuma-tags".to_owned()],
            ..route_configuration(cluster)
        },
        ..outbound_chain(listener, cluster, protocol, confs)
    }
}

/// The protocol of a cluster's connections. `max_requests` limits what one connection carries.
pub(crate) fn upstream_options(protocol: ProtocolConfig, max_requests: Option<u32>) -> HttpProtocolOptions {
    HttpProtocolOptions {
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            max_requests_per_connection: max_requests.and_then(uint),
            ..Default::default()
        }),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(protocol),
        })),
        ..Default::default()
    }
}

/// HTTP/2 to an application.
pub(crate) fn http2() -> ProtocolConfig {
    ProtocolConfig::Http2ProtocolOptions(core::Http2ProtocolOptions::default())
}

/// HTTP/2 to another proxy. A host that vanished, with its zone perhaps, says nothing: pings find out.
pub(crate) fn http2_to_peer() -> ProtocolConfig {
    ProtocolConfig::Http2ProtocolOptions(core::Http2ProtocolOptions {
        connection_keepalive: Some(core::KeepaliveSettings {
            interval: time(PING_INTERVAL),
            timeout: time(PING_TIMEOUT),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// HTTP/1.1 upstream.
pub(crate) fn http1() -> ProtocolConfig {
    ProtocolConfig::HttpProtocolOptions(core::Http1ProtocolOptions::default())
}

pub(crate) fn http_filter(name: &str, config: impl Name) -> HttpFilter {
    packed_http_filter(name, pack_any(config))
}

pub(crate) fn packed_http_filter(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn manager(listener: &str) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: names::stat_prefix(listener),
        codec_type: CodecType::Auto.into(),
        // The application's own `server` header reaches its clients.
        server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
        ..Default::default()
    }
}

fn filters(protocol: Protocol) -> Vec<HttpFilter> {
    if protocol != Protocol::Grpc {
        return Vec::new();
    }
    let grpc_stats = GrpcStats {
        emit_filter_state: true,
        per_method_stat_specifier: Some(filter_config::PerMethodStatSpecifier::StatsForAllMethods(BoolValue {
            value: true,
        })),
        ..Default::default()
    };
    vec![http_filter("envoy.filters.http.grpc_stats", grpc_stats)]
}

fn route_configuration(name: &str) -> RouteConfiguration {
    RouteConfiguration {
        name: name.to_owned(),
        // Listener and cluster may arrive in either order.
        validate_clusters: flag(false),
        ..Default::default()
    }
}

/// The route that takes what no other route does.
pub(crate) fn everything_to(cluster: &str) -> Route {
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix("/".to_owned())),
            ..Default::default()
        }),
        action: Some(route::Action::Route(RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
            ..Default::default()
        })),
        ..Default::default()
    }
}
