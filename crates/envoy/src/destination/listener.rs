//! Where the application's traffic to a destination arrives.

use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener};
use meshspan_world::view::{Destination, DestinationPolicies, Outbound};

use crate::encode::Encoded;
use crate::network::address;
use crate::parts::{Chain, TcpChain};
use crate::policies::{self, Towards};
use crate::wkt::flag;
use crate::{http, names, network};

/// The listener of one outbound: at the VIP, reached through interception and shared by proxies, or bound at the address of
/// an explicit outbound.
///
/// A destination without endpoints answers 503 or resets the connection, at once.
pub fn outbound_listener(outbound: &Outbound) -> Encoded {
    let (destination, policies) = (&*outbound.destination, &*outbound.policies);
    let cluster = names::destination(&destination.key);
    let name = if outbound.bind {
        names::explicit_outbound(outbound.address, outbound.port)
    } else {
        cluster.clone()
    };
    // A MeshTCPRoute takes the bytes of requests too, unless a MeshHTTPRoute says more.
    let as_bytes = policies.tcp_backends.is_some() && policies.http_rules.is_none();
    let mut chain = if destination.protocol.is_http() && !as_bytes {
        Chain::Http(Box::new(http::outbound_chain(
            &name,
            &cluster,
            destination.protocol,
            &policies.confs,
        )))
    } else {
        Chain::Tcp(Box::new(TcpChain {
            filters: Vec::new(),
            proxy: network::tcp_proxy(&name, &cluster),
        }))
    };
    policies::outbound(&Towards { destination, policies }, &mut chain);
    Encoded::listener(&Listener {
        address: address(outbound.address, outbound.port),
        traffic_direction: TrafficDirection::Outbound.into(),
        bind_to_port: flag(outbound.bind),
        enable_reuse_port: flag(true),
        filter_chains: vec![FilterChain {
            filters: chain.build(),
            ..Default::default()
        }],
        name,
        ..Default::default()
    })
}

/// Clusters that the listener of a destination needs, other than those of destinations. Several destinations may need the
/// same one; it has the same name then.
pub fn outbound_clusters(destination: &Destination, policies: &DestinationPolicies) -> Vec<Encoded> {
    let clusters = policies::outbound_clusters(&Towards { destination, policies });
    clusters.iter().map(Encoded::cluster).collect()
}
