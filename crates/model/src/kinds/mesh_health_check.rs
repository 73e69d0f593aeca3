//! MeshHealthCheck (`spec/policies.md` §2.4): how proxies find out whether endpoints work.

mod checkers;

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::policy::values::{Decimal, at_least, at_most, percentage, positive, required_at_least_one};
use crate::policy::{Conf as PolicyConf, Place, PolicyKind, PolicySpec};
use crate::violation::Violations;

pub use checkers::{Grpc, Http, RequestHeaders, Tcp, payload};

/// Active health checks.
pub type MeshHealthCheck = PolicySpec<Conf>;

/// Active health checks. Which of `tcp`, `http` and `grpc` is used depends on the protocol of the destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    /// Between two checks of an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// After which a check has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// Failures in a row after which an endpoint is unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy_threshold: Option<u32>,
    /// Successes in a row after which it is healthy again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_threshold: Option<u32>,
    /// The first check is this much later at most, at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_jitter: Option<GoDuration>,
    /// An interval is this much longer at most, at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_jitter: Option<GoDuration>,
    /// An interval is this share of it longer at most, at random, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_jitter_percent: Option<u32>,
    /// If less than this share of endpoints is healthy, in percent, health is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_panic_threshold: Option<Decimal>,
    /// True if requests fail then instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_traffic_on_panic: Option<bool>,
    /// A file of the proxy, for changes of health.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_log_path: Option<String>,
    /// True if every failed check is logged, not just the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always_log_health_check_failures: Option<bool>,
    /// The interval while there is no traffic to the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_traffic_interval: Option<GoDuration>,
    /// False if each check has a connection of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reuse_connection: Option<bool>,
    /// Checks by connecting, and perhaps exchanging bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
    /// Checks by a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Checks by a call of `grpc.health.v1.Health`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Grpc>,
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshHealthCheck;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        required_at_least_one(
            &[
                ("tcp", self.tcp.is_some()),
                ("http", self.http.is_some()),
                ("grpc", self.grpc.is_some()),
            ],
            place.path,
            violations,
        );
        for (field, duration) in [
            ("interval", self.interval),
            ("timeout", self.timeout),
            ("initialJitter", self.initial_jitter),
            ("intervalJitter", self.interval_jitter),
            ("noTrafficInterval", self.no_traffic_interval),
        ] {
            positive(duration, place.field(field), violations);
        }
        at_least(
            self.unhealthy_threshold,
            1,
            place.field("unhealthyThreshold"),
            violations,
        );
        at_least(self.healthy_threshold, 1, place.field("healthyThreshold"), violations);
        at_most(
            self.interval_jitter_percent,
            100,
            place.field("intervalJitterPercent"),
            violations,
        );
        percentage(
            self.healthy_panic_threshold,
            place.field("healthyPanicThreshold"),
            violations,
        );
        if let Some(path) = &self.event_log_path
            && (!path.starts_with('/') || path.contains('\0'))
        {
            violations.add(
                place.field("eventLogPath"),
                format!("is \"{path}\", must be the absolute path of a file of the proxy; leave it out for no log"),
            );
        }
        if let Some(tcp) = &self.tcp {
            tcp.check(&place.field("tcp"), violations);
        }
        if let Some(http) = &self.http {
            http.check(&place.field("http"), violations);
        }
        if let Some(grpc) = &self.grpc {
            grpc.check(&place.field("grpc"), violations);
        }
    }
}
