//! Routes of TCP connections (`spec/policies.md` §2.7).
//!
//! Whether a destination that speaks HTTP is treated as bytes because of one is decided where its listener is built.

use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier, WeightedCluster,
};
use meshspan_model::kinds::mesh_tcp_route::Conf;

use super::shares::{Share, shares};
use super::{Effect, Towards};
use crate::parts::Chain;

/// [`Effect`] of the kind.
pub(crate) struct MeshTCPRoute;

impl Effect for MeshTCPRoute {
    type Conf = Conf;

    fn outbound<'a>(_conf: Option<&Conf>, to: &Towards<'a>, chain: &mut Chain<'a>) {
        let backends = to.policies.tcp_backends.as_deref().unwrap_or_default();
        if let Chain::Tcp(tcp) = chain
            && !backends.is_empty()
        {
            tcp.proxy.cluster_specifier = Some(specifier(shares(backends)));
        }
    }
}

/// Envoy closes connections to a cluster that does not exist at once.
fn specifier(shares: Vec<Share>) -> ClusterSpecifier {
    if let [only] = shares.as_slice() {
        return ClusterSpecifier::Cluster(only.cluster.clone());
    }
    let weighted = shares.into_iter().map(|share| ClusterWeight {
        name: share.cluster,
        weight: share.weight,
        ..Default::default()
    });
    ClusterSpecifier::WeightedClusters(WeightedCluster {
        clusters: weighted.collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use meshspan_world::view::RouteBackend;

    use super::*;

    fn backends(weights: &[u32]) -> Vec<RouteBackend> {
        let unresolved = |&weight| RouteBackend {
            weight,
            destination: None,
        };
        weights.iter().map(unresolved).collect()
    }

    #[test]
    fn one_backend_is_a_cluster_and_several_have_weights_without_zero() {
        let cluster = |weights: &[u32]| match specifier(shares(&backends(weights))) {
            ClusterSpecifier::Cluster(_) => Vec::new(),
            ClusterSpecifier::WeightedClusters(all) => all.clusters.iter().map(|one| one.weight).collect(),
        };
        assert_eq!(cluster(&[5]), [0; 0]);
        assert_eq!(cluster(&[0, 5]), [0; 0]);
        assert_eq!(cluster(&[0]), [0; 0], "nothing is left, so all connections fail");
        assert_eq!(cluster(&[9, 0, 1]), [9, 1]);
    }
}
