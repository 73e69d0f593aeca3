//! Limits of connections, and ejection of failing endpoints (`spec/policies.md` §2.3).

use envoy_types::pb::envoy::config::cluster::v3::CircuitBreakers;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use meshspan_model::kinds::mesh_circuit_breaker::Conf;

use super::{Effect, Towards};
use crate::outlier;
use crate::parts::ClusterParts;
use crate::wkt::uint;

/// [`Effect`] of the kind.
pub(crate) struct MeshCircuitBreaker;

/// Connections, pending requests, requests and retries, each. Envoy's own limit of retries is 3; when a zone is lost all
/// requests under way are retried at the same moment, and all beyond the third would fail.
const THRESHOLD: u32 = 1024;

impl Effect for MeshCircuitBreaker {
    type Conf = Conf;

    fn cluster(_conf: Option<&Conf>, to: &Towards<'_>, parts: &mut ClusterParts) {
        parts.cluster.circuit_breakers = Some(default_limits());
        parts.cluster.outlier_detection = if to.destination.protocol.is_http() {
            outlier::of_requests()
        } else {
            outlier::of_connections()
        };
    }
}

/// What applies where nothing is said.
pub(crate) fn default_limits() -> CircuitBreakers {
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: uint(THRESHOLD),
            max_pending_requests: uint(THRESHOLD),
            max_requests: uint(THRESHOLD),
            max_retries: uint(THRESHOLD),
            ..Default::default()
        }],
        ..Default::default()
    }
}
