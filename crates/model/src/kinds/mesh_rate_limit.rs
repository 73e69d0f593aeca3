//! MeshRateLimit (`spec/policies.md` §2.10): how many requests and connections each proxy lets through.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::policy::values::{HeaderModifier, at_least, at_most, required, required_at_least_one};
use crate::policy::{Conf as PolicyConf, Place, PolicyKind, PolicySpec};
use crate::violation::Violations;

/// Limits of request and connection rates.
pub type MeshRateLimit = PolicySpec<Conf>;

/// Rates must be counted over longer than this.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// Limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    /// Those that each proxy counts for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<Local>,
}

/// Limits of one proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Local {
    /// Of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<LocalHttp>,
    /// Of connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<LocalTcp>,
}

/// A limit of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalHttp {
    /// Switches off what other policies say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// The limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_rate: Option<Rate>,
    /// What requests above it get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_rate_limit: Option<OnRateLimit>,
}

/// A limit of connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalTcp {
    /// Switches off what other policies say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// The limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_rate: Option<Rate>,
}

/// So many in so much time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rate {
    /// How many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num: Option<u32>,
    /// In how much time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
}

/// The response to requests above the limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OnRateLimit {
    /// Its status; Envoy makes 429 of everything below 400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// Headers that it gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<HeaderModifier>,
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshRateLimit;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        let path = place.field("local");
        let Some(local) = &self.local else {
            violations.add(path, "must be defined");
            return;
        };
        let fields = [("http", local.http.is_some()), ("tcp", local.tcp.is_some())];
        required_at_least_one(&fields, &path, violations);
        if let Some(http) = &local.http {
            http.check(&format!("{path}.http"), violations);
        }
        if let Some(tcp) = &local.tcp {
            tcp.check(&format!("{path}.tcp"), violations);
        }
    }
}

impl LocalHttp {
    fn check(&self, path: &str, violations: &mut Violations) {
        let fields = [
            ("disabled", self.disabled.is_some()),
            ("requestRate", self.request_rate.is_some()),
            ("onRateLimit", self.on_rate_limit.is_some()),
        ];
        required_at_least_one(&fields, path, violations);
        if let Some(rate) = &self.request_rate {
            rate.check(&format!("{path}.requestRate"), violations);
        }
        let Some(response) = &self.on_rate_limit else { return };
        at_least(response.status, 100, format!("{path}.onRateLimit.status"), violations);
        at_most(response.status, 599, format!("{path}.onRateLimit.status"), violations);
        if let Some(headers) = &response.headers {
            let path = format!("{path}.onRateLimit.headers");
            headers.check(&path, violations);
            if headers.remove.is_some() {
                violations.add(
                    format!("{path}.remove"),
                    "must not be set: the proxy makes the response, so it has no headers to remove",
                );
            }
        }
    }
}

impl LocalTcp {
    fn check(&self, path: &str, violations: &mut Violations) {
        let fields = [
            ("disabled", self.disabled.is_some()),
            ("connectionRate", self.connection_rate.is_some()),
        ];
        required_at_least_one(&fields, path, violations);
        if let Some(rate) = &self.connection_rate {
            rate.check(&format!("{path}.connectionRate"), violations);
        }
    }
}

impl Rate {
    fn check(&self, path: &str, violations: &mut Violations) {
        required(self.num.is_some(), format!("{path}.num"), violations);
        at_least(self.num, 1, format!("{path}.num"), violations);
        let path = format!("{path}.interval");
        match self.interval {
            None => violations.add(path, "must be defined"),
            Some(interval) if interval.0 <= SHORTEST_INTERVAL => violations.add(
                path,
                format!("is {interval}, must be longer than {}", GoDuration(SHORTEST_INTERVAL)),
            ),
            Some(_) => {}
        }
    }
}
