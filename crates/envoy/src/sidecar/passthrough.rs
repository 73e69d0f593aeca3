//! The listeners to which interception redirects, and what becomes of traffic that no other listener takes
//! (`spec/dataplane.md` §2.6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use envoy_types::pb::envoy::config::accesslog::v3::AccessLog;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use envoy_types::pb::envoy::config::core::v3::{CidrRange, TrafficDirection};
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use meshspan_model::kinds::dataplane::{IpFamilyMode, TransparentProxying};
use meshspan_world::VipRange;
use meshspan_world::view::Sidecar;

use super::ProxyOptions;
use super::inbound::local_source;
use crate::encode::Encoded;
use crate::names::{self, Direction, NO_CLUSTER};
use crate::network::{address, bind_from, tcp_proxy_filter};
use crate::policies;
use crate::wkt::{flag, time, uint};

const OUTBOUND_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const INBOUND_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const OUTBOUND_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
const INBOUND_IDLE_TIMEOUT: Duration = Duration::from_secs(7200);

/// Listeners and clusters of both directions and families. Where the mesh does not allow traffic to unknown destinations
/// the outbound cluster is missing, so that Envoy closes connections.
pub(super) fn resources(settings: &TransparentProxying, sidecar: &Sidecar, options: &ProxyOptions) -> Vec<Encoded> {
    let (logs, log_clusters) = policies::passthrough_logs(sidecar);
    let mut resources: Vec<_> = log_clusters.iter().map(Encoded::cluster).collect();
    for ipv6 in [false, true] {
        if ipv6 && (settings.ip_family_mode == IpFamilyMode::IPv4 || !options.ipv6) {
            continue;
        }
        if settings.redirect_port_outbound != 0 {
            let vips = sidecar
                .vip_ranges
                .iter()
                .filter(|range| range.first().is_ipv6() == ipv6);
            resources.push(listener(
                Direction::Outbound,
                ipv6,
                settings.redirect_port_outbound,
                vips.copied().collect(),
                logs.clone(),
            ));
            if sidecar.passthrough {
                resources.push(cluster(Direction::Outbound, ipv6, options));
            }
        }
        if settings.redirect_port_inbound != 0 {
            resources.push(listener(
                Direction::Inbound,
                ipv6,
                settings.redirect_port_inbound,
                Vec::new(),
                Vec::new(),
            ));
            resources.push(cluster(Direction::Inbound, ipv6, options));
        }
    }
    resources
}

/// Connections to `closed` end at once.
fn listener(direction: Direction, ipv6: bool, port: u32, closed: Vec<VipRange>, access_log: Vec<AccessLog>) -> Encoded {
    let name = names::passthrough(direction, ipv6);
    let any: IpAddr = if ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let (traffic_direction, idle_timeout) = match direction {
        Direction::Outbound => (TrafficDirection::Outbound, OUTBOUND_IDLE_TIMEOUT),
        Direction::Inbound => (TrafficDirection::Inbound, INBOUND_IDLE_TIMEOUT),
    };
    // Who dials the port itself, without redirection, would be connected to it again and again.
    let itself = FilterChainMatch {
        destination_port: uint(port),
        ..Default::default()
    };
    // A VIP whose listener is not there yet, or not any more, must not look like a host that does not answer.
    let nobody = (!closed.is_empty()).then(|| FilterChainMatch {
        prefix_ranges: closed.iter().map(cidr).collect(),
        ..Default::default()
    });
    let refused = [Some(itself), nobody].into_iter().flatten().map(|found| FilterChain {
        filter_chain_match: Some(found),
        filters: vec![tcp_proxy_filter(&name, NO_CLUSTER, idle_timeout, Vec::new())],
        ..Default::default()
    });
    let mut filter_chains: Vec<_> = refused.collect();
    filter_chains.push(FilterChain {
        filters: vec![tcp_proxy_filter(&name, &name, idle_timeout, access_log)],
        ..Default::default()
    });
    Encoded::listener(&Listener {
        name,
        address: address(any, port),
        traffic_direction: traffic_direction.into(),
        enable_reuse_port: flag(true),
        use_original_dst: flag(true),
        filter_chains,
        ..Default::default()
    })
}

fn cidr(range: &VipRange) -> CidrRange {
    CidrRange {
        address_prefix: range.first().to_string(),
        prefix_len: uint(range.prefix_len().into()),
    }
}

fn cluster(direction: Direction, ipv6: bool, options: &ProxyOptions) -> Encoded {
    let name = names::passthrough(direction, ipv6);
    let (connect_timeout, bind) = match direction {
        Direction::Outbound => (OUTBOUND_CONNECT_TIMEOUT, None),
        Direction::Inbound => (
            INBOUND_CONNECT_TIMEOUT,
            bind_from(local_source(ipv6), options.socket_mark),
        ),
    };
    Encoded::cluster(&Cluster {
        alt_stat_name: names::stat_prefix(&name),
        name,
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into())),
        lb_policy: LbPolicy::ClusterProvided.into(),
        connect_timeout: time(connect_timeout),
        upstream_bind_config: bind,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn what_goes_to_a_vip_without_a_listener_is_closed_before_anything_passes() {
        let chains = |closed: &[&str]| {
            let ranges = closed.iter().map(|range| VipRange::parse(range).unwrap());
            let made = listener(Direction::Outbound, false, 15001, ranges.collect(), Vec::new());
            made.to_json().unwrap()["filterChains"].as_array().unwrap().clone()
        };
        let cluster = |chain: &serde_json::Value| chain["filters"][0]["typedConfig"]["cluster"].clone();
        let with = chains(&["241.0.0.0/8", "243.0.0.0/8"]);
        assert_eq!(
            with[1]["filterChainMatch"],
            serde_json::json!({ "prefixRanges": [
                { "addressPrefix": "241.0.0.0", "prefixLen": 8 },
                { "addressPrefix": "243.0.0.0", "prefixLen": 8 },
            ] })
        );
        assert_eq!(cluster(&with[1]), NO_CLUSTER);
        assert_eq!(cluster(&with[2]), "self_transparentproxy_passthrough_outbound_ipv4");
        assert_eq!(chains(&[]).len(), 2, "the port itself, and everything else");
    }
}
