//! Where the application's traffic to a destination arrives.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, CustomClusterType, LbPolicy};
use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::listener::DrainType;
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener};
use envoy_types::pb::envoy::extensions::clusters::aggregate::v3::ClusterConfig as AggregateConfig;
use envoy_types::util::pack_any;
use meshspan_world::view::{Destination, DestinationPolicies, Outbound};

use super::cluster::cluster_parts;
use crate::encode::Encoded;
use crate::network::address;
use crate::parts::{Chain, TcpChain};
use crate::policies::{self, Towards};
use crate::wkt::{flag, time};
use crate::{http, names, network};

/// The listener of one outbound: at the VIP, reached through interception and shared by proxies, or bound at the address of
/// an explicit outbound.
///
/// A destination without endpoints answers 503 or resets the connection, at once.
pub fn outbound_listener(outbound: &Outbound) -> Encoded {
    let (destination, policies) = (&*outbound.destination, &*outbound.policies);
    let name = if outbound.bind {
        names::explicit_outbound(outbound.address, outbound.port)
    } else {
        names::destination(&destination.key)
    };
    let cluster = if outbound.fallbacks.is_empty() {
        names::destination(&destination.key)
    } else {
        name.clone()
    };
    // A MeshTCPRoute takes the bytes of requests too, unless a MeshHTTPRoute says more.
    let as_bytes = policies.tcp_backends.is_some() && policies.http_rules.is_none();
    let mut chain = if destination.protocol.is_http() && !as_bytes {
        Chain::Http(Box::new(http::outbound_chain(
            &name,
            &cluster,
            &destination.key.service.name,
            destination.protocol,
            &policies.confs,
        )))
    } else {
        Chain::Tcp(Box::new(TcpChain {
            filters: Vec::new(),
            proxy: network::tcp_proxy(&name, &cluster),
        }))
    };
    let towards = Towards {
        destination,
        policies,
        source: outbound.source.as_ref(),
    };
    policies::outbound(&towards, &mut chain);
    Encoded::listener(&Listener {
        address: address(outbound.address, outbound.port),
        traffic_direction: TrafficDirection::Outbound.into(),
        // An Envoy that fails health checks, as it does while it drains, ends connections of listeners of any other type.
        drain_type: DrainType::ModifyOnly.into(),
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

/// The clusters of an outbound that has several destinations, one behind the other: as priorities of one cluster, so that
/// retries leave a zone here too. The destination gets a cluster of its own in it, whose last endpoint is not the last of all
/// and may be ejected.
pub(crate) fn fallback_clusters(outbound: &Outbound) -> Vec<Encoded> {
    if outbound.fallbacks.is_empty() {
        return Vec::new();
    }
    let destination = names::destination(&outbound.destination.key);
    let name = names::explicit_outbound(outbound.address, outbound.port);
    let mut first = cluster_parts(&outbound.destination, &outbound.policies);
    first.cluster.name = format!("{name}:first");
    first.cluster.alt_stat_name = names::stat_prefix(&first.cluster.name);
    if let Some(eds) = &mut first.cluster.eds_cluster_config {
        eds.service_name = destination;
    }
    if let Some(detection) = &mut first.cluster.outlier_detection {
        policies::outlier::let_the_last_go(detection);
    }
    let behind = outbound.fallbacks.iter().map(names::destination);
    let config = AggregateConfig {
        clusters: [first.cluster.name.clone()].into_iter().chain(behind).collect(),
    };
    let all = Cluster {
        alt_stat_name: names::stat_prefix(&name),
        name,
        cluster_discovery_type: Some(ClusterDiscoveryType::ClusterType(CustomClusterType {
            name: "envoy.clusters.aggregate".to_owned(),
            typed_config: Some(pack_any(config)),
        })),
        lb_policy: LbPolicy::ClusterProvided.into(),
        // Connections are made by the clusters within; Envoy wants a time here too.
        connect_timeout: time(Duration::from_secs(5)),
        ..Default::default()
    };
    vec![first.encode(), Encoded::cluster(&all)]
}

/// Clusters that the listener of a destination needs, other than those of destinations. Several destinations may need the
/// same one; it has the same name then.
pub fn outbound_clusters(destination: &Destination, policies: &DestinationPolicies) -> Vec<Encoded> {
    let clusters = policies::outbound_clusters(&Towards {
        destination,
        policies,
        source: None,
    });
    clusters.iter().map(Encoded::cluster).collect()
}
