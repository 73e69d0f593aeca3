//! When an endpoint that fails is left alone for a while (`spec/dataplane.md` §11).
//!
//! What counts is a gateway failure: 502, 503, 504, a failed connection or a timeout, the same as what is retried. A plain
//! 500 is an answer of the application, which another zone would give as well; counting it would let one bad URL take a
//! whole service out.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::OutlierDetection;

use crate::wkt::{time, uint};

const INTERVAL: Duration = Duration::from_millis(500);
/// An ejection bridges the moment until readiness from the control plane says the same; a short one lets traffic return
/// to the own zone soon after it recovers.
const BASE_EJECTION: Duration = Duration::from_secs(2);
/// Each further ejection lasts longer, up to this.
const MAX_EJECTION: Duration = Duration::from_secs(30);

/// Requests fail for many reasons, and a failed one is retried elsewhere in any case: five in a row.
pub(crate) fn of_requests() -> Option<OutlierDetection> {
    Some(after_failures(5))
}

/// All that is known of bytes is whether the connection came about. A single failure proves nothing: an instance that dies behind another
/// zone's ingress resets the handshakes that are on their way to it, and that ingress, whose next connection would succeed, must not be
/// left alone for it (measured: two seconds without an answer from a healthy zone). Three in a row, because a connection has five attempts
/// and should still come to a live endpoint after a dead one.
///
/// A dead application behind a live sidecar is often not noticed here, because the sidecar may complete the handshake
/// before it knows. Only readiness, from probes, takes such an endpoint out for sure.
pub(crate) fn of_connections() -> Option<OutlierDetection> {
    Some(after_failures(3))
}

fn after_failures(count: u32) -> OutlierDetection {
    OutlierDetection {
        consecutive_gateway_failure: uint(count),
        enforcing_consecutive_gateway_failure: uint(100),
        enforcing_consecutive_5xx: uint(0),
        enforcing_success_rate: uint(0),
        interval: time(INTERVAL),
        base_ejection_time: time(BASE_EJECTION),
        max_ejection_time: time(MAX_EJECTION),
        // The default of 10 ejects nothing in a cluster of fewer than ten endpoints.
        max_ejection_percent: uint(100),
        ..Default::default()
    }
}
