//! HTTP on both sides of a proxy: connection managers, routes, retries, upstream protocol.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3::Filter;
use envoy_types::pb::envoy::config::route::v3::{
    RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, retry_policy, route, route_action,
    route_match,
};
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3::{FilterConfig as GrpcStats, filter_config};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, ForwardClientCertDetails, RouteSpecifier, ServerHeaderTransformation, SetCurrentClientCertDetails,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};
use envoy_types::pb::google::protobuf::{Any, BoolValue};
use envoy_types::util::pack_any;
use meshspan_world::view::{Permission, Protocol};
use prost::Name;

use crate::defaults::{inbound, outbound};
use crate::network::network_filter;
use crate::wkt::{flag, time, uint};
use crate::{names, rbac};

/// From the application to the service that `cluster` holds.
pub(crate) fn outbound_manager(listener: &str, cluster: &str, protocol: Protocol) -> Filter {
    let action = RouteAction {
        timeout: time(outbound::REQUEST_TIMEOUT),
        retry_policy: Some(retries(protocol)),
        ..route_to(cluster)
    };
    let routes = route_configuration(cluster, action);
    manager(HttpConnectionManager {
        common_http_protocol_options: idle_after(outbound::IDLE_TIMEOUT),
        stream_idle_timeout: time(outbound::STREAM_IDLE_TIMEOUT),
        http_filters: filters(protocol, None),
        ..base(listener, routes)
    })
}

/// From other proxies to the application behind `cluster`; `permission` where clients have an identity.
pub(crate) fn inbound_manager(
    listener: &str,
    cluster: &str,
    protocol: Protocol,
    permission: Option<Permission>,
) -> Filter {
    let action = RouteAction {
        timeout: time(Duration::ZERO),
        ..route_to(cluster)
    };
    let routes = RouteConfiguration {
        // Written by Kuma proxies of other zones, for their peers and not for the application.
        request_headers_to_remove: vec!["x-kuma-tags".to_owned()],
        ..route_configuration(cluster, action)
    };
    manager(HttpConnectionManager {
        common_http_protocol_options: idle_after(inbound::IDLE_TIMEOUT),
        stream_idle_timeout: time(inbound::STREAM_IDLE_TIMEOUT),
        forward_client_cert_details: ForwardClientCertDetails::SanitizeSet.into(),
        // Permissions of paths must not be evaded by another spelling.
        normalize_path: flag(true),
        set_current_client_cert_details: Some(SetCurrentClientCertDetails {
            uri: true,
            ..Default::default()
        }),
        http_filters: filters(protocol, permission),
        ..base(listener, routes)
    })
}

/// The protocol of a cluster's connections and their limits, for `typed_extension_protocol_options`.
/// `max_requests` limits what one connection carries.
pub(crate) fn upstream_options(
    protocol: ProtocolConfig,
    idle_timeout: Duration,
    max_requests: Option<u32>,
) -> HashMap<String, Any> {
    let options = HttpProtocolOptions {
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: time(idle_timeout),
            max_requests_per_connection: max_requests.and_then(uint),
            ..Default::default()
        }),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(protocol),
        })),
        ..Default::default()
    };
    HashMap::from([(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
        pack_any(options),
    )])
}

/// HTTP/2 to an application.
pub(crate) fn http2() -> ProtocolConfig {
    ProtocolConfig::Http2ProtocolOptions(core::Http2ProtocolOptions::default())
}

/// HTTP/2 to another proxy. A host that vanished, with its zone perhaps, says nothing: pings find out.
pub(crate) fn http2_to_peer() -> ProtocolConfig {
    ProtocolConfig::Http2ProtocolOptions(core::Http2ProtocolOptions {
        connection_keepalive: Some(core::KeepaliveSettings {
            interval: time(outbound::PING_INTERVAL),
            timeout: time(outbound::PING_TIMEOUT),
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
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack_any(config))),
        ..Default::default()
    }
}

fn base(listener: &str, routes: RouteConfiguration) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: names::stat_prefix(listener),
        codec_type: CodecType::Auto.into(),
        // The application's own `server` header reaches its clients.
        server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        ..Default::default()
    }
}

fn manager(config: HttpConnectionManager) -> Filter {
    network_filter("envoy.filters.network.http_connection_manager", config)
}

fn idle_after(timeout: Duration) -> Option<core::HttpProtocolOptions> {
    Some(core::HttpProtocolOptions {
        idle_timeout: time(timeout),
        ..Default::default()
    })
}

fn filters(protocol: Protocol, permission: Option<Permission>) -> Vec<HttpFilter> {
    let grpc_stats = GrpcStats {
        emit_filter_state: true,
        per_method_stat_specifier: Some(filter_config::PerMethodStatSpecifier::StatsForAllMethods(BoolValue {
            value: true,
        })),
        ..Default::default()
    };
    let grpc = protocol == Protocol::Grpc;
    permission
        .map(rbac::http)
        .into_iter()
        .chain(grpc.then(|| http_filter("envoy.filters.http.grpc_stats", grpc_stats)))
        .chain([http_filter("envoy.filters.http.router", Router::default())])
        .collect()
}

fn route_configuration(name: &str, action: RouteAction) -> RouteConfiguration {
    let everything = RouteMatch {
        path_specifier: Some(route_match::PathSpecifier::Prefix("/".to_owned())),
        ..Default::default()
    };
    let route = Route {
        r#match: Some(everything),
        action: Some(route::Action::Route(action)),
        ..Default::default()
    };
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: name.to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..Default::default()
        }],
        // Listener and cluster may arrive in either order.
        validate_clusters: flag(false),
        ..Default::default()
    }
}

fn route_to(cluster: &str) -> RouteAction {
    RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    }
}

/// Every retry leaves the priority, that is the zone, that has just failed (`spec/dataplane.md` §11).
fn retries(protocol: Protocol) -> RetryPolicy {
    let retry_on = if protocol == Protocol::Grpc {
        outbound::GRPC_RETRY_ON
    } else {
        outbound::HTTP_RETRY_ON
    };
    let other_zones = pack_any(PreviousPrioritiesConfig { update_frequency: 1 });
    RetryPolicy {
        retry_on: retry_on.to_owned(),
        num_retries: uint(outbound::HTTP_RETRIES),
        per_try_timeout: time(outbound::PER_TRY_TIMEOUT),
        retry_back_off: Some(retry_policy::RetryBackOff {
            base_interval: time(outbound::RETRY_BACK_OFF),
            max_interval: time(outbound::RETRY_BACK_OFF_MAX),
        }),
        retry_priority: Some(retry_policy::RetryPriority {
            name: "envoy.retry_priorities.previous_priorities".to_owned(),
            config_type: Some(retry_policy::retry_priority::ConfigType::TypedConfig(other_zones)),
        }),
        ..Default::default()
    }
}
