//! How a destination is reached.

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::common_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig,
};
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use envoy_types::pb::envoy::r#type::v3::Percent;
use meshspan_world::view::Destination;

use crate::defaults::outbound;
use crate::encode::Encoded;
use crate::network::ads;
use crate::wkt::{time, uint};
use crate::{http, names, outlier, tls};

/// The cluster of a destination in sidecars. Its endpoints come over EDS, from [`destination_endpoints`].
///
/// In-mesh HTTP is always HTTP/2, whatever the application speaks. One locality per zone with equal weight and the other
/// settings of `spec/dataplane.md` §11 let zones share equally and let traffic leave a failing zone at once.
///
/// [`destination_endpoints`]: crate::destination_endpoints
pub fn destination_cluster(destination: &Destination) -> Encoded {
    let through_ingress = destination.localities.iter().any(|locality| locality.through_ingress);
    let mut cluster = eds_cluster(names::destination(&destination.key));
    if let Some(peer) = &destination.tls {
        cluster.transport_socket = tls::upstream(&destination.key.service.mesh, peer);
    }
    if destination.protocol.is_http() {
        let max_requests = through_ingress.then_some(outbound::REQUESTS_PER_INGRESS_CONNECTION);
        cluster.typed_extension_protocol_options =
            http::upstream_options(http::http2_to_peer(), outbound::IDLE_TIMEOUT, max_requests);
        cluster.outlier_detection = outlier::of_requests();
    }
    Encoded::cluster(&cluster)
}

/// What clusters of services have in common in sidecars and zone ingresses; treats traffic as bytes.
pub(crate) fn eds_cluster(name: String) -> Cluster {
    Cluster {
        alt_stat_name: names::stat_prefix(&name),
        name,
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: ads(),
            ..Default::default()
        }),
        connect_timeout: time(outbound::CONNECT_TIMEOUT),
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
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_connections: uint(outbound::CIRCUIT_BREAKER_THRESHOLD),
                max_pending_requests: uint(outbound::CIRCUIT_BREAKER_THRESHOLD),
                max_requests: uint(outbound::CIRCUIT_BREAKER_THRESHOLD),
                max_retries: uint(outbound::CIRCUIT_BREAKER_THRESHOLD),
                ..Default::default()
            }],
            ..Default::default()
        }),
        outlier_detection: outlier::of_connections(),
        ..Default::default()
    }
}
