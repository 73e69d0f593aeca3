//! DataplaneInsight, ZoneIngressInsight and ZoneEgressInsight (`spec/resources.md` §2.5): what the control plane knows of a proxy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::dataplane::Inbound;
use super::presence::Presence;
use super::{Spec, is_default};
use crate::kind::Kind;
use crate::resource::Resource;
use crate::violation::Violations;

/// Insight of a Dataplane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataplaneInsight {
    /// Connections, oldest first; the newest 2 are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<DiscoverySubscription>,
    /// Its certificate; absent when mTLS is off.
    #[serde(rename = "mTLS", skip_serializing_if = "Option::is_none")]
    pub mtls: Option<MtlsInsight>,
    /// Beyond the reference: what is to be known of inbounds. Those of which there is nothing to say are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inbounds: Vec<InboundInsight>,
    /// Whether the proxy is there, and what it serves.
    #[serde(skip_serializing_if = "is_default")]
    pub presence: Presence,
    /// Beyond the reference: what keeps clients from the proxy although its resource is valid, each with its remedy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// What the agent found out about an inbound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InboundInsight {
    /// `networking.inbound[].port`.
    pub port: u32,
    /// Why the application is not ready; empty if it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub not_ready: String,
    /// Connections or requests that no MeshTrafficPermission allowed, since the proxy's Envoy started.
    #[serde(with = "string_u64", skip_serializing_if = "is_default")]
    pub denied: u64,
    /// When the control plane last heard of such a denial.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub last_denied: Option<OffsetDateTime>,
}

/// Insight of a ZoneIngress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneIngressInsight {
    /// Connections, oldest first; the newest 2 are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<DiscoverySubscription>,
    /// Whether the proxy is there.
    #[serde(skip_serializing_if = "is_default")]
    pub presence: Presence,
    /// Beyond the reference: what keeps clients from the proxy although its resource is valid, each with its remedy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Insight of a ZoneEgress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneEgressInsight {
    /// Connections, oldest first; the newest 2 are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<DiscoverySubscription>,
    /// Whether the proxy is there.
    #[serde(skip_serializing_if = "is_default")]
    pub presence: Presence,
    /// Beyond the reference: what keeps clients from the proxy although its resource is valid, each with its remedy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl DataplaneInsight {
    /// Whether traffic may go to an inbound: it is ready, the proxy is there, and its Envoy listens.
    pub fn serves(&self, inbound: &Inbound) -> bool {
        inbound.is_ready() && self.presence.takes_traffic() && self.presence.listens(&inbound.section())
    }
}

/// One connection of a proxy to a control plane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiscoverySubscription {
    /// Unique id.
    pub id: String,
    /// The control plane instance.
    pub control_plane_instance_id: String,
    /// When it connected.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub connect_time: Option<OffsetDateTime>,
    /// When it disconnected; absent while connected.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub disconnect_time: Option<OffsetDateTime>,
    /// Heartbeat.
    #[serde(skip_serializing_if = "is_default")]
    pub generation: u32,
    /// Counters of discovery responses.
    pub status: DiscoverySubscriptionStatus,
    /// Versions of agent and Envoy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<ProxyVersion>,
}

/// Counters of one connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiscoverySubscriptionStatus {
    /// When a counter last changed.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<OffsetDateTime>,
    /// All types.
    pub total: ServiceStats,
    /// Clusters.
    pub cds: ServiceStats,
    /// Endpoints.
    pub eds: ServiceStats,
    /// Listeners.
    pub lds: ServiceStats,
    /// Routes.
    pub rds: ServiceStats,
    /// The rejected resources that are still not accepted: beyond the reference, with Envoy's message.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<Rejection>,
}

/// A resource that Envoy rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rejection {
    /// `cluster`, `endpoint`, `listener`, `route`, `secret`.
    #[serde(rename = "type")]
    pub resource_type: String,
    /// Names in the rejected response.
    pub names: Vec<String>,
    /// Envoy's own words.
    pub message: String,
}

/// Counters of one resource type; 64-bit, so strings in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStats {
    /// Responses sent.
    #[serde(with = "string_u64", skip_serializing_if = "is_default")]
    pub responses_sent: u64,
    /// Responses accepted.
    #[serde(with = "string_u64", skip_serializing_if = "is_default")]
    pub responses_acknowledged: u64,
    /// Responses rejected.
    #[serde(with = "string_u64", skip_serializing_if = "is_default")]
    pub responses_rejected: u64,
}

/// Versions of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyVersion {
    /// The agent.
    pub kuma_dp: AgentVersion,
    /// Envoy.
    pub envoy: EnvoyVersion,
    /// Other programs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<String, String>,
}

/// Version of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentVersion {
    /// Its version.
    pub version: String,
    /// Its git tag.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub git_tag: String,
    /// Its git commit.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub git_commit: String,
    /// Its build date.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build_date: String,
    /// True if it fits this control plane.
    #[serde(skip_serializing_if = "is_default")]
    pub kuma_cp_compatible: bool,
}

/// Version of Envoy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvoyVersion {
    /// Its version.
    pub version: String,
    /// Its build string.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build: String,
    /// True if it fits the agent.
    #[serde(skip_serializing_if = "is_default")]
    pub kuma_dp_compatible: bool,
}

/// The certificate of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MtlsInsight {
    /// When it expires.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub certificate_expiration_time: Option<OffsetDateTime>,
    /// When it was issued.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub last_certificate_regeneration: Option<OffsetDateTime>,
    /// How many were issued.
    #[serde(skip_serializing_if = "is_default")]
    pub certificate_regenerations: u32,
    /// The backend that issued it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub issued_backend: String,
    /// The backends that it trusts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supported_backends: Vec<String>,
}

/// The connections in the insight of a proxy, whatever kind of proxy it is; none if it cannot be read.
pub fn connections(insight: &Resource) -> Vec<DiscoverySubscription> {
    let subscriptions = insight.spec.get("subscriptions").cloned().unwrap_or_default();
    serde_json::from_value(subscriptions).unwrap_or_default()
}

/// True if some connection is open.
pub fn is_online(subscriptions: &[DiscoverySubscription]) -> bool {
    subscriptions
        .iter()
        .any(|subscription| subscription.connect_time.is_some() && subscription.disconnect_time.is_none())
}

/// 64-bit integers are strings in proto3 JSON; numbers are accepted.
pub(crate) mod string_u64 {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(number) => Ok(number),
            Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl Spec for DataplaneInsight {
    const KIND: Kind = Kind::DataplaneInsight;

    fn validate(&self, _root: &str, _violations: &mut Violations) {}
}

impl Spec for ZoneIngressInsight {
    const KIND: Kind = Kind::ZoneIngressInsight;

    fn validate(&self, _root: &str, _violations: &mut Violations) {}
}

impl Spec for ZoneEgressInsight {
    const KIND: Kind = Kind::ZoneEgressInsight;

    fn validate(&self, _root: &str, _violations: &mut Violations) {}
}
