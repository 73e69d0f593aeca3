//! The load balancing algorithm of a cluster.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, ring_hash_lb_config,
};
use envoy_types::pb::envoy::config::core::v3::RuntimeDouble;
use envoy_types::pb::google::protobuf::UInt64Value;
use meshspan_model::kinds::mesh_load_balancing_strategy::{
    HashFunction, LeastRequest, LoadBalancer, LoadBalancerType, Maglev, RingHash,
};

use crate::wkt::uint;

/// Envoy wants a name under which the value could be changed at runtime; nobody does.
const BIAS_RUNTIME_KEY: &str = "meshspan.least_request.active_request_bias";

/// Entries of a ring if nothing is said, at least; Envoy's default.
const MIN_RING_SIZE: u32 = 1024;

/// Sets the algorithm. Weights of localities, and so the shares of zones, hold for each: Envoy multiplies them into the
/// entries that consistent hashing gives an endpoint.
pub(super) fn choose(balancer: &LoadBalancer, cluster: &mut Cluster) {
    let (policy, config) = match balancer.kind {
        None | Some(LoadBalancerType::RoundRobin) => (LbPolicy::RoundRobin, None),
        Some(LoadBalancerType::LeastRequest) => (
            LbPolicy::LeastRequest,
            balancer.least_request.as_ref().map(least_request),
        ),
        Some(LoadBalancerType::RingHash) => (LbPolicy::RingHash, balancer.ring_hash.as_ref().map(ring_hash)),
        Some(LoadBalancerType::Random) => (LbPolicy::Random, None),
        Some(LoadBalancerType::Maglev) => (LbPolicy::Maglev, balancer.maglev.as_ref().map(maglev)),
    };
    cluster.lb_policy = policy.into();
    cluster.lb_config = config;
}

fn least_request(settings: &LeastRequest) -> LbConfig {
    LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
        choice_count: settings.choice_count.and_then(uint),
        active_request_bias: settings.active_request_bias.map(|bias| RuntimeDouble {
            default_value: bias.value(),
            runtime_key: BIAS_RUNTIME_KEY.to_owned(),
        }),
        ..Default::default()
    })
}

/// Envoy refuses a minimum above the maximum, which confs of several policies may make together: the maximum, which is
/// about memory, wins.
fn ring_hash(settings: &RingHash) -> LbConfig {
    let max = settings.max_ring_size.unwrap_or(RingHash::MAX_RING_SIZE);
    let min = settings.min_ring_size.unwrap_or(MIN_RING_SIZE).min(max);
    let hash_function = match settings.hash_function {
        None | Some(HashFunction::XXHash) => ring_hash_lb_config::HashFunction::XxHash,
        Some(HashFunction::MurmurHash2) => ring_hash_lb_config::HashFunction::MurmurHash2,
    };
    LbConfig::RingHashLbConfig(RingHashLbConfig {
        minimum_ring_size: long(min),
        maximum_ring_size: long(max),
        hash_function: hash_function.into(),
    })
}

fn maglev(settings: &Maglev) -> LbConfig {
    LbConfig::MaglevLbConfig(MaglevLbConfig {
        table_size: settings.table_size.and_then(long),
    })
}

fn long(value: u32) -> Option<UInt64Value> {
    Some(UInt64Value { value: value.into() })
}
