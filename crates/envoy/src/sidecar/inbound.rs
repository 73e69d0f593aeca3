//! Listener and local cluster of an inbound (`spec/dataplane.md` §2.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_policy::Confs;
use meshspan_world::view::{InboundTls, Protocol, Sidecar};

use super::ProxyOptions;
use super::ports::Port;
use crate::encode::Encoded;
use crate::network::{address, bind_from, tcp_proxy, tls_inspector};
use crate::parts::{Chain, ClusterParts, TcpChain};
use crate::policies::{self, Incoming};
use crate::wkt::{flag, time};
use crate::{http, names, tls};

/// How long a Permissive listener waits for a client that may never speak first, before it takes it for plaintext.
const PROTOCOL_DETECTION_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

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
    let policies = sidecar.inbound_policies(port.index);
    let tls = policies::inbound_tls(policies, sidecar.inbound_tls);
    let chain = |has_identity: bool, protocol: Protocol| {
        let from = Incoming {
            sidecar,
            port,
            policies,
            has_identity,
        };
        let nothing = Confs::new();
        let mut chain = app_chain(&name, &sidecar.source.service, protocol, &nothing);
        policies::inbound(&from, &mut chain);
        FilterChain {
            filters: chain.build(),
            ..Default::default()
        }
    };
    let mesh_tls = || FilterChain {
        transport_socket: Some(tls::downstream(&sidecar.mesh, tls.parameters.clone())),
        ..chain(true, port.protocol)
    };
    let mut listener = Listener {
        address: address(port.listen, port.port),
        traffic_direction: TrafficDirection::Inbound.into(),
        bind_to_port: flag(!is_intercepted(&sidecar.dataplane)),
        enable_reuse_port: flag(true),
        ..Default::default()
    };
    if tls.mode != InboundTls::Off {
        // Permissions may ask for the server name.
        listener.listener_filters = vec![tls_inspector()];
        listener.listener_filters_timeout = time(PROTOCOL_DETECTION_TIMEOUT);
        listener.continue_on_listener_filters_timeout = true;
    }
    match tls.mode {
        InboundTls::Off => listener.filter_chains = vec![chain(false, port.protocol)],
        // Differs from Permissive in nothing but chains, and has the chain of mesh TLS as it is there: so Envoy takes a
        // change of the mode without a new listener, and connections of that chain live on.
        InboundTls::Strict => {
            listener.filter_chains = vec![matching("tls", Some(tls::MESH_ALPN), mesh_tls())];
            // Clients that announce nothing, or speak later than others.
            listener.default_filter_chain = Some(mesh_tls());
        }
        InboundTls::Permissive => {
            listener.filter_chains = vec![
                matching("raw_buffer", None, chain(false, port.protocol)),
                // The application's own TLS.
                matching("tls", None, chain(false, Protocol::Tcp)),
                matching("tls", Some(tls::MESH_ALPN), mesh_tls()),
            ];
        }
    }
    listener.name = name;
    Encoded::listener(&listener)
}

/// The application, and whatever else the listener needs.
pub(super) fn clusters(sidecar: &Sidecar, port: &Port, options: &ProxyOptions) -> Vec<Encoded> {
    let from = Incoming {
        sidecar,
        port,
        policies: sidecar.inbound_policies(port.index),
        has_identity: false,
    };
    let mut parts = app_cluster(&sidecar.dataplane, port, options);
    policies::inbound_cluster(&from, &mut parts);
    let others = policies::inbound_clusters(&from);
    [parts.encode()]
        .into_iter()
        .chain(others.iter().map(Encoded::cluster))
        .collect()
}

/// The application. Requests reach it with the protocol that it speaks.
fn app_cluster(dataplane: &Dataplane, port: &Port, options: &ProxyOptions) -> ClusterParts {
    let name = names::inbound(&port.section);
    let endpoint = Endpoint {
        address: address(port.app, port.app_port),
        ..Default::default()
    };
    let mut cluster = Cluster {
        alt_stat_name: names::stat_prefix(&name),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
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
    // Interception would send a connection to an address of the host back to the inbound listener.
    if is_intercepted(dataplane) && !port.app.is_loopback() {
        cluster.upstream_bind_config = bind_from(local_source(port.app.is_ipv6()), options.socket_mark);
    }
    let http = match port.protocol {
        Protocol::Tcp => None,
        Protocol::Http => Some(http::to_application(http::http1())),
        Protocol::Http2 | Protocol::Grpc => Some(http::to_application(http::http2())),
    };
    ClusterParts {
        cluster,
        http,
        tls: None,
    }
}

fn is_intercepted(dataplane: &Dataplane) -> bool {
    dataplane.networking.transparent_proxying.is_some()
}

fn app_chain<'a>(name: &str, host: &str, protocol: Protocol, confs: &'a Confs) -> Chain<'a> {
    if protocol.is_http() {
        Chain::Http(Box::new(http::inbound_chain(name, name, host, protocol, confs)))
    } else {
        Chain::Tcp(Box::new(TcpChain {
            filters: Vec::new(),
            proxy: tcp_proxy(name, name),
        }))
    }
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
