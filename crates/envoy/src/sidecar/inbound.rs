//! Listener and local cluster of an inbound (`spec/dataplane.md` §2.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch, Listener};
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_world::view::{InboundTls, Permission, Protocol, Sidecar};

use super::ProxyOptions;
use super::ports::Port;
use crate::defaults::inbound;
use crate::encode::Encoded;
use crate::network::{address, bind_from, tcp_proxy, tls_inspector};
use crate::wkt::{flag, time};
use crate::{http, names, rbac, tls};

/// Source of connections from Envoy to the application, which interception leaves alone.
pub(super) fn local_source(ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into()
    } else {
        Ipv4Addr::new(127, 0, 0, 6).into()
    }
}

pub(super) fn listener(sidecar: &Sidecar, port: &Port) -> Encoded {
    let name = names::inbound(&port.section);
    let plaintext = || FilterChain {
        filters: app_filters(&name, port.protocol, None),
        ..Default::default()
    };
    let mesh_tls = || FilterChain {
        filters: app_filters(&name, port.protocol, Some(sidecar.permission)),
        transport_socket: tls::downstream(&sidecar.mesh),
        ..Default::default()
    };
    let mut listener = Listener {
        address: address(port.listen, port.port),
        traffic_direction: TrafficDirection::Inbound.into(),
        bind_to_port: flag(!is_intercepted(&sidecar.dataplane)),
        enable_reuse_port: flag(true),
        ..Default::default()
    };
    match sidecar.inbound_tls {
        InboundTls::Off => listener.filter_chains = vec![plaintext()],
        InboundTls::Strict => listener.filter_chains = vec![mesh_tls()],
        InboundTls::Permissive => {
            let own_tls = FilterChain {
                filters: vec![tcp_proxy(&name, &name, inbound::IDLE_TIMEOUT)],
                ..Default::default()
            };
            listener.listener_filters = vec![tls_inspector()];
            listener.listener_filters_timeout = time(inbound::PROTOCOL_DETECTION_TIMEOUT);
            listener.continue_on_listener_filters_timeout = true;
            listener.filter_chains = vec![
                matching("raw_buffer", None, plaintext()),
                matching("tls", None, own_tls),
                matching("tls", Some(tls::MESH_ALPN), mesh_tls()),
            ];
        }
    }
    listener.name = name;
    Encoded::listener(&listener)
}

/// The application. Requests reach it with the protocol that it speaks.
pub(super) fn cluster(dataplane: &Dataplane, port: &Port, options: &ProxyOptions) -> Encoded {
    let name = names::inbound(&port.section);
    let endpoint = Endpoint {
        address: address(port.app, port.app_port),
        ..Default::default()
    };
    let mut cluster = Cluster {
        alt_stat_name: names::stat_prefix(&name),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        connect_timeout: time(inbound::CONNECT_TIMEOUT),
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
    match port.protocol {
        Protocol::Tcp => {}
        Protocol::Http => {
            cluster.typed_extension_protocol_options =
                http::upstream_options(http::http1(), inbound::IDLE_TIMEOUT, None);
        }
        Protocol::Http2 | Protocol::Grpc => {
            cluster.typed_extension_protocol_options =
                http::upstream_options(http::http2(), inbound::IDLE_TIMEOUT, None);
        }
    }
    // Interception would send a connection to an address of the host back to the inbound listener.
    if is_intercepted(dataplane) && !port.app.is_loopback() {
        cluster.upstream_bind_config = bind_from(local_source(port.app.is_ipv6()), options.socket_mark);
    }
    Encoded::cluster(&cluster)
}

fn is_intercepted(dataplane: &Dataplane) -> bool {
    dataplane.networking.transparent_proxying.is_some()
}

fn app_filters(name: &str, protocol: Protocol, permission: Option<Permission>) -> Vec<Filter> {
    if protocol.is_http() {
        return vec![http::inbound_manager(name, name, protocol, permission)];
    }
    let check = permission.map(|permission| rbac::network(name, permission));
    check
        .into_iter()
        .chain([tcp_proxy(name, name, inbound::IDLE_TIMEOUT)])
        .collect()
}

fn matching(transport_protocol: &str, alpn: Option<&str>, chain: FilterChain) -> FilterChain {
    FilterChain {
        filter_chain_match: Some(FilterChainMatch {
            transport_protocol: transport_protocol.to_owned(),
            application_protocols: alpn.map(str::to_owned).into_iter().collect(),
            ..Default::default()
        }),
        ..chain
    }
}
