//! When an endpoint that fails is left alone for a while (`spec/dataplane.md` §11).
//!
//! What counts is a gateway failure: 502, 503, 504, a failed connection or a timeout, the same as what is retried. A plain
//! 500 is an answer of the application, which another zone would give as well; counting it would let one bad URL take a
//! whole service out.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::OutlierDetection;

use crate::wkt::{time, uint};

const INTERVAL: Duration = Duration::from_millis(250);
/// An ejection bridges the moment until readiness from the control plane says the same; a short one lets traffic return
/// to the own zone soon after it recovers.
const REQUEST_EJECTION: Duration = Duration::from_secs(2);
/// Shorter, because here the first failure counts, and may be nobody's fault: see [`of_connections`].
const CONNECTION_EJECTION: Duration = Duration::from_millis(500);
/// Each further ejection lasts longer, up to this.
const MAX_EJECTION: Duration = Duration::from_secs(30);

/// Requests fail for many reasons, and a failed one is retried elsewhere in any case: five in a row.
pub(crate) fn of_requests() -> Option<OutlierDetection> {
    Some(after_failures(5, REQUEST_EJECTION))
}

/// All that is known of bytes is whether the connection came about, and a connection has five attempts only, which may all
/// meet dead endpoints: the first failure counts. The price is that an instance which dies behind another zone's ingress
/// resets the handshakes on their way to it, and for these the whole ingress is left alone, although its next connection
/// would succeed. Hence the endpoint is tried again very soon.
///
/// A dead application behind a live sidecar is often not noticed here, because the sidecar may complete the handshake
/// before it knows. Only readiness, from probes, takes such an endpoint out for sure.
pub(crate) fn of_connections() -> Option<OutlierDetection> {
    Some(after_failures(1, CONNECTION_EJECTION))
}

fn after_failures(count: u32, ejection: Duration) -> OutlierDetection {
    OutlierDetection {
        consecutive_gateway_failure: uint(count),
        enforcing_consecutive_gateway_failure: uint(100),
        enforcing_consecutive_5xx: uint(0),
        enforcing_success_rate: uint(0),
        interval: time(INTERVAL),
        base_ejection_time: time(ejection),
        max_ejection_time: time(MAX_EJECTION),
        // The default of 10 ejects nothing in a cluster of fewer than ten endpoints.
        max_ejection_percent: uint(100),
        ..Default::default()
    }
}
