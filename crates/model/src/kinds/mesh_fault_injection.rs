//! MeshFaultInjection (`spec/policies.md` §2.11): failures made on purpose.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::duration::GoDuration;
use crate::policy::values::{Decimal, at_least, at_most, percentage, required, required_at_least_one};
use crate::policy::{Conf as PolicyConf, Place, PolicyKind, PolicySpec};
use crate::violation::Violations;

/// Injected faults.
pub type MeshFaultInjection = PolicySpec<Conf>;

/// Faults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    /// Faults of requests, each injected for itself; an empty list takes away what other policies inject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Vec<Fault>>,
}

/// What happens to some requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Fault {
    /// They get a response that the proxy makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
    /// They wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Their responses come slowly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bandwidth: Option<ResponseBandwidth>,
}

/// A response that the proxy makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Abort {
    /// Its status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u32>,
    /// The share of requests that get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentage: Option<Decimal>,
}

/// A delay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Delay {
    /// How long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<GoDuration>,
    /// The share of requests that wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentage: Option<Decimal>,
}

/// A limit of the speed of responses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResponseBandwidth {
    /// The limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Bandwidth>,
    /// The share of responses that it applies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentage: Option<Decimal>,
}

/// A speed, in kbit/s; written as a number with a unit, `10kbps`, `50 Mbps` or `1Gbps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bandwidth(pub u64);

impl Bandwidth {
    fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at_checked(end)?;
        let factor = match unit.strip_prefix(' ').unwrap_or(unit) {
            "kbps" => 1,
            "Mbps" => 1_000,
            "Gbps" => 1_000_000,
            _ => return None,
        };
        let kbps = number.parse::<u64>().ok()?.checked_mul(factor)?;
        (kbps > 0).then_some(Self(kbps))
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}kbps", self.0)
    }
}

impl Serialize for Bandwidth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bandwidth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Bandwidth::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "is \"{text}\", must be a whole number above 0 with unit kbps, Mbps or Gbps, such as 50Mbps"
            ))
        })
    }
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshFaultInjection;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        for (index, fault) in self.http.iter().flatten().enumerate() {
            fault.check(&format!("{}[{index}]", place.field("http")), violations);
        }
    }
}

impl Fault {
    fn check(&self, path: &str, violations: &mut Violations) {
        let fields = [
            ("abort", self.abort.is_some()),
            ("delay", self.delay.is_some()),
            ("responseBandwidth", self.response_bandwidth.is_some()),
        ];
        required_at_least_one(&fields, path, violations);
        let mut share = |value: Option<Decimal>, fault: &str| {
            let path = format!("{path}.{fault}.percentage");
            required(value.is_some(), path.clone(), violations);
            percentage(value, path, violations);
        };
        if let Some(abort) = &self.abort {
            share(abort.percentage, "abort");
        }
        if let Some(delay) = &self.delay {
            share(delay.percentage, "delay");
        }
        if let Some(bandwidth) = &self.response_bandwidth {
            share(bandwidth.percentage, "responseBandwidth");
        }
        if let Some(abort) = &self.abort {
            let path = format!("{path}.abort.httpStatus");
            required(abort.http_status.is_some(), path.clone(), violations);
            at_least(abort.http_status, 100, path.clone(), violations);
            at_most(abort.http_status, 599, path, violations);
        }
        if let Some(delay) = &self.delay {
            required(delay.value.is_some(), format!("{path}.delay.value"), violations);
        }
        if let Some(bandwidth) = &self.response_bandwidth {
            let path = format!("{path}.responseBandwidth.limit");
            required(bandwidth.limit.is_some(), path, violations);
        }
    }
}
