//! What counts as a failing endpoint.

use serde::{Deserialize, Serialize};

use crate::policy::values::{Decimal, at_least, at_most, required_at_least_one};
use crate::violation::Violations;

/// Detectors; an absent one is off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Detectors {
    /// Statuses of 500 and above, and, unless they are split, failed connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_failures: Option<ConsecutiveFailures>,
    /// Statuses 502, 503 and 504, and, unless they are split, failed connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_failures: Option<ConsecutiveFailures>,
    /// Failed connections; counted only if they are split from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_origin_failures: Option<ConsecutiveFailures>,
    /// An endpoint that succeeds much less often than the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<SuccessRate>,
    /// An endpoint that fails too often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_percentage: Option<FailurePercentage>,
}

/// Failures in a row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsecutiveFailures {
    /// How many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive: Option<u32>,
}

/// Success in comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SuccessRate {
    /// Endpoints with enough requests, without which there is no comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_hosts: Option<u32>,
    /// Requests in an interval, without which an endpoint is not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_volume: Option<u32>,
    /// By how many standard deviations an endpoint is below the mean when it is ejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_deviation_factor: Option<Decimal>,
}

/// Failures as a share of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailurePercentage {
    /// Endpoints with enough requests, without which none is ejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_hosts: Option<u32>,
    /// Requests in an interval, without which an endpoint is not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_volume: Option<u32>,
    /// The share, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
}

/// Greater factors act as this one: it is far more than makes sense, and far less than overflows thousandths of it.
pub const MAX_DEVIATION_FACTOR: Decimal = Decimal(1000.0);

impl Detectors {
    pub(super) const NAMES: [&str; 5] = [
        "totalFailures",
        "gatewayFailures",
        "localOriginFailures",
        "successRate",
        "failurePercentage",
    ];

    pub(super) fn check(&self, path: &str, violations: &mut Violations) {
        let consecutive = [
            &self.total_failures,
            &self.gateway_failures,
            &self.local_origin_failures,
        ];
        let is_set = consecutive
            .iter()
            .map(|detector| detector.is_some())
            .chain([self.success_rate.is_some(), self.failure_percentage.is_some()]);
        let named: Vec<_> = Self::NAMES.into_iter().zip(is_set).collect();
        required_at_least_one(&named, path, violations);
        for (name, detector) in Self::NAMES.iter().zip(consecutive) {
            let count = detector.as_ref().and_then(|detector| detector.consecutive);
            at_least(count, 1, format!("{path}.{name}.consecutive"), violations);
        }
        if let Some(rate) = &self.success_rate {
            let path = format!("{path}.successRate");
            check_volume(rate.minimum_hosts, rate.request_volume, &path, violations);
            let (factor, path) = (
                rate.standard_deviation_factor,
                format!("{path}.standardDeviationFactor"),
            );
            at_least(factor, Decimal(0.0), path, violations);
        }
        if let Some(percentage) = &self.failure_percentage {
            let path = format!("{path}.failurePercentage");
            check_volume(percentage.minimum_hosts, percentage.request_volume, &path, violations);
            at_most(percentage.threshold, 100, format!("{path}.threshold"), violations);
        }
    }
}

fn check_volume(hosts: Option<u32>, requests: Option<u32>, path: &str, violations: &mut Violations) {
    at_least(hosts, 1, format!("{path}.minimumHosts"), violations);
    at_least(requests, 1, format!("{path}.requestVolume"), violations);
}
