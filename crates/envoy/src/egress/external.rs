//! Services outside the mesh, from the egress on.

use std::net::IpAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, LbPolicy,
};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint as EnvoyEndpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use envoy_types::pb::envoy::config::listener::v3::FilterChain;
use envoy_types::pb::envoy::config::route::v3::route_action::HostRewriteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::ForwardClientCertDetails;
use meshspan_model::kinds::mesh_external_service::Endpoint;
use meshspan_policy::Confs;
use meshspan_world::view::{Destination, External, Protocol};

use crate::encode::Encoded;
use crate::network::{socket_address, tcp_proxy};
use crate::parts::{Chain, ClusterParts, TcpChain};
use crate::sidecar::ProxyOptions;
use crate::wkt::{flag, time, uint};
use crate::zone_proxy::IDLE_TIMEOUT;
use crate::{http, names, policies, secrets, tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The filter chain that ends mutual TLS and passes on who may leave.
pub(super) fn chain(destination: &Destination, external: &External) -> FilterChain {
    let name = names::destination(&destination.key);
    let mesh = &destination.key.service.mesh;
    let nothing = Confs::new();
    let mut chain = if destination.protocol.is_http() {
        let host = &destination.key.service.name;
        let mut chain = http::inbound_chain(&name, &name, host, destination.protocol, &nothing);
        // The service is nobody's peer: it does not hear who in the mesh asks, and that it cannot be reached is not said of
        // the egress.
        chain.manager = HttpConnectionManager {
            forward_client_cert_details: ForwardClientCertDetails::Sanitize.into(),
            set_current_client_cert_details: None,
            local_reply_config: None,
            ..chain.manager
        };
        for route in &mut chain.routes {
            if let Some(action) = route.action() {
                action.host_rewrite_specifier = flag(true).map(HostRewriteSpecifier::AutoHostRewrite);
                // How long it may take is decided by the client's proxy.
                action.timeout = time(Duration::ZERO);
            }
        }
        Chain::Http(Box::new(chain))
    } else {
        let mut proxy = tcp_proxy(&name, &name);
        proxy.idle_timeout = time(IDLE_TIMEOUT);
        Chain::Tcp(Box::new(TcpChain {
            filters: Vec::new(),
            proxy,
        }))
    };
    policies::leaving(&external.access, mesh, &name, &mut chain);
    FilterChain {
        transport_socket: Some(tls::downstream(mesh, None)),
        filters: chain.build(),
        ..Default::default()
    }
}

/// The cluster of the service, and the certificates that it needs.
pub(super) fn resources(destination: &Destination, external: &External, options: &ProxyOptions) -> Vec<Encoded> {
    let name = names::destination(&destination.key);
    let tls = tls::to_external(&name, external, options.system_ca.as_deref());
    let usable = tls.is_ok();
    let cluster = ClusterParts {
        cluster: Cluster {
            alt_stat_name: names::stat_prefix(&name),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery(external).into())),
            connect_timeout: time(CONNECT_TIMEOUT),
            lb_policy: LbPolicy::RoundRobin.into(),
            // A name that nobody resolves must not hold up what is sent after it, revocations among it.
            wait_for_warm_on_init: flag(false),
            dns_lookup_family: dns_lookup_family(options).into(),
            circuit_breakers: Some(policies::default_limits()),
            outlier_detection: Some(policies::outlier::of_connections()),
            // Without the certificates that it asks for nothing is sent.
            load_assignment: Some(assignment(&name, external, usable)),
            name: name.clone(),
            ..Default::default()
        },
        http: match destination.protocol {
            Protocol::Tcp => None,
            Protocol::Http => Some(http::to_application(http::http1())),
            Protocol::Http2 | Protocol::Grpc => Some(http::to_application(http::http2())),
        },
        tls: tls.ok().flatten(),
    };
    let certificates = &external.certificates;
    let ca = certificates.ca.as_deref().map(|pem| secrets::external_ca(&name, pem));
    let client = certificates
        .client
        .as_ref()
        .map(|(cert, key)| secrets::external_certificate(&name, cert, key));
    [cluster.encode()].into_iter().chain(ca).chain(client).collect()
}

fn discovery(external: &External) -> DiscoveryType {
    let is_address = |endpoint: &Endpoint| endpoint.address.parse::<IpAddr>().is_ok();
    if external.service.endpoints.iter().all(is_address) {
        DiscoveryType::Static
    } else {
        DiscoveryType::StrictDns
    }
}

fn dns_lookup_family(options: &ProxyOptions) -> DnsLookupFamily {
    if options.ipv6 {
        DnsLookupFamily::All
    } else {
        DnsLookupFamily::V4Only
    }
}

fn assignment(name: &str, external: &External, usable: bool) -> ClusterLoadAssignment {
    let mut priorities: Vec<u32> = external.service.endpoints.iter().map(priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    // Envoy wants priorities without gaps.
    let groups = (0_u32..).zip(priorities).map(|(position, wanted)| {
        let endpoints = external.service.endpoints.iter();
        LocalityLbEndpoints {
            priority: position,
            load_balancing_weight: uint(1),
            lb_endpoints: endpoints
                .filter(|endpoint| priority(endpoint) == wanted)
                .map(lb_endpoint)
                .collect(),
            ..Default::default()
        }
    });
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: groups.filter(|_| usable).collect(),
        ..Default::default()
    }
}

fn priority(endpoint: &Endpoint) -> u32 {
    endpoint.priority.unwrap_or_default()
}

fn lb_endpoint(endpoint: &Endpoint) -> LbEndpoint {
    let socket = match endpoint.address.parse::<IpAddr>() {
        Ok(ip) => socket_address(ip, endpoint.port),
        Err(_) => core::SocketAddress {
            address: endpoint.address.clone(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(endpoint.port)),
            ..Default::default()
        },
    };
    let endpoint = EnvoyEndpoint {
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(socket)),
        }),
        // The host that requests are for.
        hostname: endpoint.address.clone(),
        ..Default::default()
    };
    LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    }
}
