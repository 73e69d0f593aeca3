//! How a destination is reached.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::common_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig,
};
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use envoy_types::pb::envoy::r#type::v3::Percent;
use meshspan_world::view::{Destination, DestinationPolicies};

use crate::encode::Encoded;
use crate::network::ads;
use crate::parts::ClusterParts;
use crate::policies::{self, Towards};
use crate::wkt::time;
use crate::{http, names, tls};

/// Behind a zone ingress Envoy balances per connection, so a connection must not live for ever (`spec/dataplane.md` §3.4).
const REQUESTS_PER_INGRESS_CONNECTION: u32 = 100;

/// The cluster of a destination in sidecars. Its endpoints come over EDS, from [`destination_endpoints`].
///
/// In-mesh HTTP is always HTTP/2, whatever the application speaks. One locality per zone with equal weight and the other
/// settings of `spec/dataplane.md` §11 let zones share equally and let traffic leave a failing zone at once.
///
/// [`destination_endpoints`]: crate::destination_endpoints
pub fn destination_cluster(destination: &Destination, policies: &DestinationPolicies) -> Encoded {
    cluster_parts(destination, policies).encode()
}

pub(super) fn cluster_parts(destination: &Destination, policies: &DestinationPolicies) -> ClusterParts {
    let max_requests = destination
        .goes_through_ingress()
        .then_some(REQUESTS_PER_INGRESS_CONNECTION);
    let mesh = &destination.key.service.mesh;
    let mut parts = ClusterParts {
        cluster: eds_cluster(names::destination(&destination.key)),
        http: destination.protocol.is_http().then(|| http::to_peer(max_requests)),
        tls: destination.tls.as_ref().map(|peer| tls::upstream(mesh, peer)),
    };
    policies::cluster(
        &Towards {
            destination,
            policies,
            source: None,
        },
        &mut parts,
    );
    parts
}

/// What clusters of services have in common in sidecars and zone ingresses.
pub(crate) fn eds_cluster(name: String) -> Cluster {
    Cluster {
        alt_stat_name: names::stat_prefix(&name),
        name,
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: ads(),
            ..Default::default()
        }),
        lb_policy: LbPolicy::RoundRobin.into(),
        common_lb_config: Some(CommonLbConfig {
            locality_config_specifier: Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
                LocalityWeightedLbConfig {},
            )),
            // Never send to endpoints that are known to be bad.
            healthy_panic_threshold: Some(Percent { value: 0.0 }),
            // Apply changes of health at once; Envoy's default is a second.
            update_merge_window: time(std::time::Duration::ZERO),
            ..Default::default()
        }),
        ..Default::default()
    }
}
