//! MeshCircuitBreaker (`spec/policies.md` §2.3): limits of connections and requests, and ejection of failing endpoints.

mod detectors;

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::policy::values::{Decimal, at_least, at_most, percentage, positive, required_at_least_one};
use crate::policy::{Conf as PolicyConf, Place, PolicyKind, PolicySpec};
use crate::violation::Violations;

pub use detectors::{ConsecutiveFailures, Detectors, FailurePercentage, MAX_DEVIATION_FACTOR, SuccessRate};

/// Limits of connections, and ejection of failing endpoints.
pub type MeshCircuitBreaker = PolicySpec<Conf>;

/// Limits and ejection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    /// How much there may be at a time. What is beyond fails at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_limits: Option<ConnectionLimits>,
    /// When an endpoint that fails is left alone for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
}

/// Limits of one proxy, for all endpoints of a destination together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionLimits {
    /// Connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Pools of connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_pools: Option<u32>,
    /// Requests that wait for a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// Retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
}

/// Ejection of failing endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutlierDetection {
    /// True if nothing is ejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Between two looks at rates; also when ejections end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// How long the first ejection lasts; the n-th lasts n times as long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_ejection_time: Option<GoDuration>,
    /// The share of endpoints that may be ejected at a time, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejection_percent: Option<u32>,
    /// Tells failures of the connection from failures that the endpoint answers with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_external_and_local_errors: Option<bool>,
    /// What counts as failing; those that are absent are off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detectors: Option<Detectors>,
    /// If less than this share of endpoints is healthy, in percent, health is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_panic_threshold: Option<Decimal>,
}

impl OutlierDetection {
    /// True if endpoints may be ejected.
    pub fn is_enabled(&self) -> bool {
        self.disabled != Some(true)
    }
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshCircuitBreaker;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        required_at_least_one(
            &[
                ("connectionLimits", self.connection_limits.is_some()),
                ("outlierDetection", self.outlier_detection.is_some()),
            ],
            place.path,
            violations,
        );
        if let Some(limits) = &self.connection_limits {
            limits.check(&place.field("connectionLimits"), violations);
        }
        if let Some(detection) = &self.outlier_detection {
            detection.check(&place.field("outlierDetection"), violations);
        }
    }

    fn warn(&self, place: &Place<'_>, warnings: &mut Vec<String>) {
        if let Some(factor) = self
            .standard_deviation_factor()
            .filter(|factor| *factor > MAX_DEVIATION_FACTOR)
        {
            warnings.push(format!(
                "{}: {factor} acts as {MAX_DEVIATION_FACTOR}, which no endpoint reaches; write 1.9 for 1.9 standard deviations",
                place.field("outlierDetection.detectors.successRate.standardDeviationFactor")
            ));
        }
    }
}

impl Conf {
    fn standard_deviation_factor(&self) -> Option<Decimal> {
        let detectors = self.outlier_detection.as_ref()?.detectors.as_ref()?;
        detectors.success_rate.as_ref()?.standard_deviation_factor
    }
}

impl ConnectionLimits {
    fn check(&self, path: &str, violations: &mut Violations) {
        let limits = [
            ("maxConnections", self.max_connections),
            ("maxConnectionPools", self.max_connection_pools),
            ("maxPendingRequests", self.max_pending_requests),
            ("maxRetries", self.max_retries),
            ("maxRequests", self.max_requests),
        ];
        for (field, limit) in limits {
            at_least(limit, 1, format!("{path}.{field}"), violations);
        }
    }
}

impl OutlierDetection {
    fn check(&self, path: &str, violations: &mut Violations) {
        positive(self.interval, format!("{path}.interval"), violations);
        positive(self.base_ejection_time, format!("{path}.baseEjectionTime"), violations);
        at_most(
            self.max_ejection_percent,
            100,
            format!("{path}.maxEjectionPercent"),
            violations,
        );
        percentage(
            self.healthy_panic_threshold,
            format!("{path}.healthyPanicThreshold"),
            violations,
        );
        let detectors = format!("{path}.detectors");
        match &self.detectors {
            Some(found) => found.check(&detectors, violations),
            None if self.is_enabled() => violations.add(
                detectors,
                format!(
                    "must be defined, with at least one of {}; or set disabled: true",
                    Detectors::NAMES.join(", ")
                ),
            ),
            None => {}
        }
    }
}
