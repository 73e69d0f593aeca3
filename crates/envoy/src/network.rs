//! Addresses, sockets and network filters: what listeners and clusters of every kind are made of.

use std::net::IpAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::accesslog::v3::AccessLog;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3::{Filter, ListenerFilter, filter, listener_filter};
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::direct_response::v3::Config as DirectResponse;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::util::pack_any;
use prost::Name;

use crate::names;
use crate::wkt::{time, uint};

const CONNECT_BACK_OFF: Duration = Duration::from_millis(25);
const CONNECT_BACK_OFF_MAX: Duration = Duration::from_millis(250);

/// `SOL_SOCKET` and `SO_MARK` of Linux, the only system that has marks.
pub(crate) const SOL_SOCKET: i64 = 1;
pub(crate) const SO_MARK: i64 = 36;
pub(crate) const SOCKET_MARK_DESCRIPTION: &str = "mark by which interception knows Envoy's own connections";

pub(crate) fn socket_address(ip: IpAddr, port: u32) -> core::SocketAddress {
    core::SocketAddress {
        address: ip.to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..Default::default()
    }
}

pub(crate) fn address(ip: IpAddr, port: u32) -> Option<core::Address> {
    Some(core::Address {
        address: Some(core::address::Address::SocketAddress(socket_address(ip, port))),
    })
}

/// How a cluster's sockets are bound when it cannot use the binding of all clusters in the bootstrap: from `source`, and
/// still with the mark (0 for none).
pub(crate) fn bind_from(source: IpAddr, socket_mark: u32) -> Option<core::BindConfig> {
    let mark = core::SocketOption {
        description: SOCKET_MARK_DESCRIPTION.to_owned(),
        level: SOL_SOCKET,
        name: SO_MARK,
        state: core::socket_option::SocketState::StatePrebind.into(),
        value: Some(core::socket_option::Value::IntValue(i64::from(socket_mark))),
        ..Default::default()
    };
    Some(core::BindConfig {
        source_address: Some(socket_address(source, 0)),
        socket_options: if socket_mark == 0 { Vec::new() } else { vec![mark] },
        ..Default::default()
    })
}

/// Resources that come over the stream that delivered the resource which names them.
pub(crate) fn ads() -> Option<core::ConfigSource> {
    Some(core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        ..Default::default()
    })
}

pub(crate) fn network_filter(name: &str, config: impl Name) -> Filter {
    packed_network_filter(name, pack_any(config))
}

pub(crate) fn packed_network_filter(name: &str, config: Any) -> Filter {
    Filter {
        name: name.to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(config)),
    }
}

/// Finds out whether a client speaks TLS, and with which server name and protocols.
pub(crate) fn tls_inspector() -> ListenerFilter {
    ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(pack_any(
            TlsInspector::default(),
        ))),
        ..Default::default()
    }
}

/// Bytes to a cluster, on one attempt.
pub(crate) fn tcp_proxy(listener: &str, cluster: &str) -> TcpProxy {
    TcpProxy {
        stat_prefix: names::stat_prefix(listener),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    }
}

/// Bytes to a cluster, for traffic that no policy but logs is about.
pub(crate) fn tcp_proxy_filter(
    listener: &str,
    cluster: &str,
    idle_timeout: Duration,
    access_log: Vec<AccessLog>,
) -> Filter {
    let config = TcpProxy {
        access_log,
        idle_timeout: time(idle_timeout),
        ..tcp_proxy(listener, cluster)
    };
    network_filter("envoy.filters.network.tcp_proxy", config)
}

/// Connects again after a failed attempt, which ejects its endpoint, so that the next one, a moment later, goes elsewhere.
pub(crate) fn retry_connects(proxy: &mut TcpProxy, attempts: u32) {
    proxy.max_connect_attempts = uint(attempts);
    // Without a pause all attempts would be over before the ejection reaches the thread that makes them.
    proxy.backoff_options = Some(core::BackoffStrategy {
        base_interval: time(CONNECT_BACK_OFF),
        max_interval: time(CONNECT_BACK_OFF_MAX),
    });
}

/// Sends `text` and closes.
pub(crate) fn direct_response(text: String) -> Filter {
    let response = core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text)),
        ..Default::default()
    };
    network_filter(
        "envoy.filters.network.direct_response",
        DirectResponse {
            response: Some(response),
        },
    )
}
