//! Where the application's traffic to a destination arrives.

use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener};
use meshspan_world::view::Outbound;

use crate::encode::Encoded;
use crate::network::{address, tcp_proxy_with_retries};
use crate::wkt::flag;
use crate::{http, names};

/// The listener of one outbound: at the VIP, reached through interception and shared by the mesh, or bound at the address of
/// an explicit outbound.
///
/// A destination without endpoints answers 503 or resets the connection, at once.
pub fn outbound_listener(outbound: &Outbound) -> Encoded {
    let destination = &outbound.destination;
    let cluster = names::destination(&destination.key);
    let name = if outbound.bind {
        names::explicit_outbound(outbound.address, outbound.port)
    } else {
        cluster.clone()
    };
    let filter = if destination.protocol.is_http() {
        http::outbound_manager(&name, &cluster, destination.protocol)
    } else {
        tcp_proxy_with_retries(&name, &cluster)
    };
    Encoded::listener(&Listener {
        address: address(outbound.address, outbound.port),
        traffic_direction: TrafficDirection::Outbound.into(),
        bind_to_port: flag(outbound.bind),
        enable_reuse_port: flag(true),
        filter_chains: vec![FilterChain {
            filters: vec![filter],
            ..Default::default()
        }],
        name,
        ..Default::default()
    })
}
