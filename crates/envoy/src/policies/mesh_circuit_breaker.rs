//! Limits of connections, and ejection of failing endpoints (`spec/policies.md` §2.3).

pub(crate) mod outlier;

use envoy_types::pb::envoy::config::cluster::v3::CircuitBreakers;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::r#type::v3::Percent;
use meshspan_model::kinds::mesh_circuit_breaker::{Conf, ConnectionLimits, OutlierDetection};
use meshspan_policy::InboundRules;

use super::{Effect, Incoming, Towards, for_all};
use crate::http::count_unreachable_only;
use crate::parts::ClusterParts;
use crate::wkt::uint;

/// [`Effect`] of the kind.
pub(crate) struct MeshCircuitBreaker;

/// Connections, pending requests, requests and retries, each. Envoy's own limit of retries is 3; when a zone is lost all
/// requests under way are retried at the same moment, and all beyond the third would fail.
const THRESHOLD: u32 = 1024;

impl Effect for MeshCircuitBreaker {
    type Conf = Conf;

    fn cluster(conf: Option<&Conf>, to: &Towards<'_>, parts: &mut ClusterParts) {
        let limits = conf.and_then(|conf| conf.connection_limits.as_ref());
        let detection = conf.and_then(|conf| conf.outlier_detection.as_ref());
        let carries_requests = to.destination.protocol.is_http();
        parts.cluster.circuit_breakers = Some(limits.map_or_else(default_limits, limit));
        parts.cluster.outlier_detection = match detection {
            None => Some(outlier::default_for(carries_requests)),
            Some(detection) => outlier::configured(detection, carries_requests),
        };
        if let (None, Some(options)) = (detection, &mut parts.http) {
            count_unreachable_only(options);
        }
        panic_below(detection, parts);
    }

    /// Nothing is limited here by default: what other proxies send was limited by them.
    fn inbound_cluster(rules: Option<&InboundRules>, from: &Incoming<'_>, parts: &mut ClusterParts) {
        let conf: Conf = for_all(rules).unwrap_or_default();
        if let Some(limits) = &conf.connection_limits {
            parts.cluster.circuit_breakers = Some(limit(limits));
        }
        if let Some(detection) = &conf.outlier_detection {
            parts.cluster.outlier_detection = outlier::configured(detection, from.port.protocol.is_http());
            panic_below(Some(detection), parts);
        }
    }
}

/// What applies where nothing is said.
pub(crate) fn default_limits() -> CircuitBreakers {
    thresholds(&ConnectionLimits::default(), false)
}

fn limit(limits: &ConnectionLimits) -> CircuitBreakers {
    // Who sets limits will want to see how much of them is left.
    thresholds(limits, true)
}

fn thresholds(limits: &ConnectionLimits, track_remaining: bool) -> CircuitBreakers {
    let or_default = |limit: Option<u32>| uint(limit.unwrap_or(THRESHOLD));
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: or_default(limits.max_connections),
            max_connection_pools: limits.max_connection_pools.and_then(uint),
            max_pending_requests: or_default(limits.max_pending_requests),
            max_requests: or_default(limits.max_requests),
            max_retries: or_default(limits.max_retries),
            track_remaining,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn panic_below(detection: Option<&OutlierDetection>, parts: &mut ClusterParts) {
    if let Some(threshold) = detection.and_then(|detection| detection.healthy_panic_threshold) {
        let common = parts.cluster.common_lb_config.get_or_insert_default();
        common.healthy_panic_threshold = Some(Percent {
            value: threshold.value(),
        });
    }
}
