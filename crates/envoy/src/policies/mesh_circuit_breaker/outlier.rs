//! When an endpoint that fails is left alone for a while (`spec/dataplane.md` §11).
//!
//! By default what counts is that an endpoint cannot be reached: failed connections, connections that die under their requests,
//! requests without any answer in time, and a proxy's word that it cannot reach its application. An answer of the
//! application, of whatever status, is an answer, which another instance would give as well; counting it would let one bad
//! URL take a whole service out for all of its clients.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::OutlierDetection;
use envoy_types::pb::google::protobuf::UInt32Value;
use meshspan_model::kinds::mesh_circuit_breaker as conf;
use meshspan_model::kinds::mesh_circuit_breaker::MAX_DEVIATION_FACTOR;
use meshspan_model::policy::values::Decimal;

use crate::wkt::{time, uint};

const INTERVAL: Duration = Duration::from_millis(250);
/// An ejection bridges the moment until readiness from the control plane says the same; a short one lets traffic return
/// to the own zone soon after it recovers.
const REQUEST_EJECTION: Duration = Duration::from_secs(2);
/// Shorter, because here the first failure counts, and may be nobody's fault: see [`of_connections`].
const CONNECTION_EJECTION: Duration = Duration::from_millis(500);
/// Each further ejection lasts longer, up to this.
const MAX_EJECTION: Duration = Duration::from_secs(30);

/// Of the endpoints of all zones together, in percent. Envoy's default of 10 ejects nothing in a cluster of fewer than ten; 100
/// would leave nobody where the last endpoint is merely slow to come back.
const ALL_BUT_ONE: u32 = 99;

/// What applies where nothing is said.
pub(super) fn default_for(carries_requests: bool) -> OutlierDetection {
    if carries_requests {
        of_requests()
    } else {
        of_connections()
    }
}

/// The detectors that are listed and no other; `None` if ejection is switched off. What is not said of them is as in the
/// default, and what that does not have as Envoy has it.
pub(super) fn configured(detection: &conf::OutlierDetection, carries_requests: bool) -> Option<OutlierDetection> {
    if !detection.is_enabled() {
        return None;
    }
    let default = default_for(carries_requests);
    let detectors = detection.detectors.clone().unwrap_or_default();
    let consecutive = |detector: &Option<conf::ConsecutiveFailures>| {
        detector
            .as_ref()
            .and_then(|detector| detector.consecutive)
            .and_then(uint)
    };
    let rate = detectors.success_rate.clone().unwrap_or_default();
    let percentage = detectors.failure_percentage.clone().unwrap_or_default();
    Some(OutlierDetection {
        interval: detection.interval.map_or(default.interval, |interval| time(interval.0)),
        base_ejection_time: detection
            .base_ejection_time
            .map_or(default.base_ejection_time, |ejection| time(ejection.0)),
        // Envoy's own limit, 300 s, is never below the time of the first ejection.
        max_ejection_time: match detection.base_ejection_time {
            None => default.max_ejection_time,
            Some(_) => None,
        },
        max_ejection_percent: detection
            .max_ejection_percent
            .map_or(default.max_ejection_percent, uint),
        split_external_local_origin_errors: detection.split_external_and_local_errors.unwrap_or(false),
        consecutive_5xx: consecutive(&detectors.total_failures),
        enforcing_consecutive_5xx: if_listed(&detectors.total_failures),
        consecutive_gateway_failure: consecutive(&detectors.gateway_failures)
            .or(default.consecutive_local_origin_failure),
        enforcing_consecutive_gateway_failure: if_listed(&detectors.gateway_failures),
        consecutive_local_origin_failure: consecutive(&detectors.local_origin_failures)
            .or(default.consecutive_local_origin_failure),
        enforcing_consecutive_local_origin_failure: if_listed(&detectors.local_origin_failures),
        success_rate_minimum_hosts: rate.minimum_hosts.and_then(uint),
        success_rate_request_volume: rate.request_volume.and_then(uint),
        success_rate_stdev_factor: rate.standard_deviation_factor.and_then(thousandths),
        enforcing_success_rate: if_listed(&detectors.success_rate),
        enforcing_local_origin_success_rate: if_listed(&detectors.success_rate),
        failure_percentage_minimum_hosts: percentage.minimum_hosts.and_then(uint),
        failure_percentage_request_volume: percentage.request_volume.and_then(uint),
        failure_percentage_threshold: percentage.threshold.and_then(uint),
        enforcing_failure_percentage: if_listed(&detectors.failure_percentage),
        enforcing_failure_percentage_local_origin: if_listed(&detectors.failure_percentage),
        ..Default::default()
    })
}

/// In how many percent of the cases a detector ejects.
fn if_listed<T>(detector: &Option<T>) -> Option<UInt32Value> {
    uint(if detector.is_some() { 100 } else { 0 })
}

fn thousandths(factor: Decimal) -> Option<UInt32Value> {
    let factor = if factor > MAX_DEVIATION_FACTOR {
        MAX_DEVIATION_FACTOR
    } else {
        factor
    };
    // Small, and checked not to be negative; a float becomes the closest integer that there is.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    uint((factor.value() * 1000.0).round() as u32)
}

/// For a cluster behind which stands another: where nothing is said of it, all endpoints may be ejected.
pub(crate) fn let_the_last_go(detection: &mut OutlierDetection) {
    if detection.max_ejection_percent == uint(ALL_BUT_ONE) {
        detection.max_ejection_percent = uint(100);
    }
}

/// Requests fail for many reasons, and a failed one is retried elsewhere in any case: five in a row.
fn of_requests() -> OutlierDetection {
    OutlierDetection {
        // What counts as one is in the options of the cluster, see `http::count_unreachable_only`.
        consecutive_gateway_failure: uint(5),
        enforcing_consecutive_gateway_failure: uint(100),
        ..after_failures(5, REQUEST_EJECTION)
    }
}

/// All that is known of bytes is whether the connection came about, and a connection has five attempts only, which may all
/// meet dead endpoints: the first failure counts. The price is that an instance which dies behind another zone's ingress
/// resets the handshakes on their way to it, and for these the whole ingress is left alone, although its next connection
/// would succeed. Hence the endpoint is tried again very soon.
///
/// A dead application behind a live sidecar is often not noticed here, because the sidecar may complete the handshake
/// before it knows. Only readiness, from probes, takes such an endpoint out for sure.
pub(crate) fn of_connections() -> OutlierDetection {
    after_failures(1, CONNECTION_EJECTION)
}

/// After this many failures in a row to reach an endpoint, and nothing else.
fn after_failures(count: u32, ejection: Duration) -> OutlierDetection {
    OutlierDetection {
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: uint(count),
        enforcing_consecutive_local_origin_failure: uint(100),
        enforcing_local_origin_success_rate: uint(0),
        enforcing_consecutive_gateway_failure: uint(0),
        enforcing_consecutive_5xx: uint(0),
        enforcing_success_rate: uint(0),
        interval: time(INTERVAL),
        base_ejection_time: time(ejection),
        max_ejection_time: time(MAX_EJECTION),
        max_ejection_percent: uint(ALL_BUT_ONE),
        ..Default::default()
    }
}
