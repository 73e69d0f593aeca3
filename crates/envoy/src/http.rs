//! HTTP on both sides of a proxy: connection managers, routes, upstream protocol; before any policy.

use std::time::Duration;

use envoy_types::pb::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use envoy_types::pb::envoy::config::accesslog::v3::{AccessLogFilter, ResponseFlagFilter};
use envoy_types::pb::envoy::config::common::matcher::v3::{HttpHeadersMatch, MatchPredicate, match_predicate};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, route, route_action, route_match,
};
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3::{FilterConfig as GrpcStats, filter_config};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, ForwardClientCertDetails, ServerHeaderTransformation, SetCurrentClientCertDetails, UpgradeConfig,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, LocalReplyConfig, ResponseMapper, http_filter,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, OutlierDetection, UpstreamProtocolOptions,
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

/// What one proxy accepts of another. More than Envoy's 100 headers and 60 KiB, by which applications are measured, because
/// proxies and routes add headers of their own: a request or response that was accepted from an application must not be
/// one too many for the next proxy, which could only reset it.
const PEER_MAX_HEADERS: u32 = 200;
const PEER_MAX_HEADERS_KIB: u32 = 96;

/// Tells the client's proxy that the server's could not connect to its application. Of all that is answered with 503 only
/// this says that the instance is dead; the rest may be the application's own answer. Applications neither send it nor see it.
const UNREACHABLE: &str = "x-meshspan-application-unreachable";
/// Envoy's flag of a response for want of a connection (`%RESPONSE_FLAGS%`).
const CONNECTION_FAILURE: &str = "UF";

/// From the application to the service that `cluster` holds. `host` stands in where HTTP/1.0 names none.
pub(crate) fn outbound_chain<'a>(
    listener: &str,
    cluster: &str,
    host: &str,
    protocol: Protocol,
    confs: &'a Confs,
) -> HttpChain<'a> {
    HttpChain {
        manager: manager(listener, host),
        filters: filters(protocol),
        route_configuration: route_configuration(cluster),
        routes: vec![RouteParts {
            route: everything_to(cluster),
            confs,
        }],
    }
}

/// From other proxies to the application behind `cluster`.
pub(crate) fn inbound_chain<'a>(
    listener: &str,
    cluster: &str,
    host: &str,
    protocol: Protocol,
    confs: &'a Confs,
) -> HttpChain<'a> {
    HttpChain {
        manager: HttpConnectionManager {
            common_http_protocol_options: Some(core::HttpProtocolOptions {
                max_headers_count: uint(PEER_MAX_HEADERS),
                ..Default::default()
            }),
            max_request_headers_kb: uint(PEER_MAX_HEADERS_KIB),
            forward_client_cert_details: ForwardClientCertDetails::SanitizeSet.into(),
            set_current_client_cert_details: Some(SetCurrentClientCertDetails {
                uri: true,
                ..Default::default()
            }),
            local_reply_config: Some(LocalReplyConfig {
                mappers: vec![unreachable_application()],
                ..Default::default()
            }),
            ..manager(listener, host)
        },
        route_configuration: RouteConfiguration {
            // Written by Kuma proxies of other zones, for their peers and not for the application.
            request_headers_to_remove: vec!["x-kuma-tags".to_owned()],
            ..route_configuration(cluster)
        },
        ..outbound_chain(listener, cluster, host, protocol, confs)
    }
}

fn unreachable_application() -> ResponseMapper {
    let connection_failure = ResponseFlagFilter {
        flags: vec![CONNECTION_FAILURE.to_owned()],
    };
    ResponseMapper {
        filter: Some(AccessLogFilter {
            filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(connection_failure)),
        }),
        headers_to_add: vec![core::HeaderValueOption {
            header: Some(core::HeaderValue {
                key: UNREACHABLE.to_owned(),
                value: "true".to_owned(),
                ..Default::default()
            }),
            append_action: core::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Connections to other proxies. `max_requests` limits what one of them carries.
pub(crate) fn to_peer(max_requests: Option<u32>) -> HttpProtocolOptions {
    let common = core::HttpProtocolOptions {
        max_requests_per_connection: max_requests.and_then(uint),
        max_headers_count: uint(PEER_MAX_HEADERS),
        max_response_headers_kb: uint(PEER_MAX_HEADERS_KIB),
        ..Default::default()
    };
    upstream_options(http2_to_peer(), common)
}

/// Connections to what is no proxy of the mesh.
pub(crate) fn to_application(protocol: ProtocolConfig) -> HttpProtocolOptions {
    upstream_options(protocol, core::HttpProtocolOptions::default())
}

/// Of responses, outlier detection counts those alone by which a proxy says that its application is unreachable.
pub(crate) fn count_unreachable_only(options: &mut HttpProtocolOptions) {
    let header = HeaderMatcher {
        name: UNREACHABLE.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
        ..Default::default()
    };
    let headers = HttpHeadersMatch { headers: vec![header] };
    options.outlier_detection = Some(OutlierDetection {
        error_matcher: Some(MatchPredicate {
            rule: Some(match_predicate::Rule::HttpResponseHeadersMatch(headers)),
        }),
    });
}

fn upstream_options(protocol: ProtocolConfig, common: core::HttpProtocolOptions) -> HttpProtocolOptions {
    HttpProtocolOptions {
        common_http_protocol_options: Some(common),
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
fn http2_to_peer() -> ProtocolConfig {
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

fn manager(listener: &str, host: &str) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: names::stat_prefix(listener),
        codec_type: CodecType::Auto.into(),
        // The application's own `server` header reaches its clients.
        server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
        // Paths are compared in the form in which applications understand them, so that no other spelling evades a rule.
        // Slashes are left as they are, repeated and escaped ones: some applications tell them apart.
        normalize_path: flag(true),
        http_protocol_options: Some(core::Http1ProtocolOptions {
            accept_http_10: true,
            default_host_for_http_10: host.to_owned(),
            ..Default::default()
        }),
        // Between proxies an upgraded connection is an extended CONNECT (RFC 8441).
        http2_protocol_options: Some(core::Http2ProtocolOptions {
            allow_connect: true,
            ..Default::default()
        }),
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..Default::default()
        }],
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
        response_headers_to_remove: vec![UNREACHABLE.to_owned()],
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
