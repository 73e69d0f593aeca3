//! How endpoints are chosen, within and across zones (`spec/policies.md` §2.5, §7.3).
//!
//! Where nothing is said, endpoints stay as they are built: the own zone first, then all others, each zone one locality of
//! weight 1, in turn (`spec/dataplane.md` §11).

mod balancer;
mod hash;
mod localities;
mod tiers;

use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meshspan_model::kinds::mesh_load_balancing_strategy::Conf;

use super::{Effect, Towards};
use crate::parts::{Chain, ClusterParts, RouteParts};

/// [`Effect`] of the kind.
pub(crate) struct MeshLoadBalancingStrategy;

impl Effect for MeshLoadBalancingStrategy {
    type Conf = Conf;

    fn cluster(conf: Option<&Conf>, _to: &Towards<'_>, parts: &mut ClusterParts) {
        if let Some(balancer) = conf.and_then(|conf| conf.load_balancer.as_ref()) {
            balancer::choose(balancer, &mut parts.cluster);
        }
    }

    fn endpoints(conf: Option<&Conf>, to: &Towards<'_>, assignment: &mut ClusterLoadAssignment) {
        if let Some(awareness) = conf.and_then(|conf| conf.locality_awareness.as_ref()) {
            localities::arrange(awareness, to.destination, &to.policies.client.tags, assignment);
        }
    }

    fn outbound<'a>(conf: Option<&Conf>, _to: &Towards<'a>, chain: &mut Chain<'a>) {
        if let (Some(conf), Chain::Tcp(tcp)) = (conf, chain) {
            tcp.proxy.hash_policy = hash::of_connections(conf.hash_policies());
        }
    }

    fn route(conf: Option<&Conf>, _to: &Towards<'_>, route: &mut RouteParts<'_>) {
        if let (Some(conf), Some(action)) = (conf, route.action()) {
            action.hash_policy = hash::of_requests(conf.hash_policies());
        }
    }
}

#[cfg(test)]
mod tests;
