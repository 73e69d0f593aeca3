//! ZoneInsight (`spec/resources.md` §2.3): what the global knows of a connected zone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::dataplane_insight::ServiceStats;
use super::{Spec, is_default};
use crate::kind::Kind;
use crate::violation::Violations;

/// Insight of a zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneInsight {
    /// Connections, oldest first; the newest 10 are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<KdsSubscription>,
    /// Which global instance holds the admin streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_admin_streams: Option<EnvoyAdminStreams>,
    /// The zone's last sign of life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

/// One connection of a zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KdsSubscription {
    /// Unique id.
    pub id: String,
    /// The global instance.
    pub global_instance_id: String,
    /// The zone instance.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone_instance_id: String,
    /// When it connected.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub connect_time: Option<OffsetDateTime>,
    /// When it disconnected; absent while connected.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub disconnect_time: Option<OffsetDateTime>,
    /// Why it disconnected, or has not come back since: beyond the reference.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub disconnect_reason: String,
    /// When the token expires that the zone showed; absent for one that does not expire. Beyond the reference.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub token_expires: Option<OffsetDateTime>,
    /// Heartbeat.
    #[serde(skip_serializing_if = "is_default")]
    pub generation: u32,
    /// Counters.
    pub status: KdsSubscriptionStatus,
    /// Version of the zone control plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<KdsVersion>,
    /// The zone's configuration as a JSON string, secrets masked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub config: String,
    /// True if the zone showed a token.
    #[serde(skip_serializing_if = "is_default")]
    pub auth_token_provided: bool,
}

/// Counters of one connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KdsSubscriptionStatus {
    /// When a counter last changed.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<OffsetDateTime>,
    /// All kinds.
    pub total: ServiceStats,
    /// Each kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stat: BTreeMap<String, ServiceStats>,
    /// What the global refuses of the zone: beyond the reference. The first ones if there are many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<ZoneRejection>,
}

/// A resource of a zone that the global refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneRejection {
    /// Its kind.
    #[serde(rename = "type")]
    pub resource_type: String,
    /// Its kind, mesh and name.
    pub name: String,
    /// What is wrong with it.
    pub message: String,
}

/// Version of a zone control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KdsVersion {
    /// The control plane.
    pub kuma_cp: CpVersion,
}

/// Version of a control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CpVersion {
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
    /// True if it fits this global.
    #[serde(skip_serializing_if = "is_default")]
    pub kuma_cp_global_compatible: bool,
}

/// Global instances that hold the admin streams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvoyAdminStreams {
    /// For config dumps.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub config_dump_global_instance_id: String,
    /// For stats.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stats_global_instance_id: String,
    /// For clusters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub clusters_global_instance_id: String,
}

/// Last sign of life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// When.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub time: Option<OffsetDateTime>,
}

impl ZoneInsight {
    /// True if some connection is open.
    pub fn is_online(&self) -> bool {
        self.subscriptions
            .iter()
            .any(|subscription| subscription.connect_time.is_some() && subscription.disconnect_time.is_none())
    }

    /// When the last connection ended, and why, as far as that is known; `None` while one is open, and if there was none.
    pub fn last_end(&self) -> Option<(OffsetDateTime, &str)> {
        let ends = self.subscriptions.iter().filter_map(|subscription| {
            let end = subscription.disconnect_time?;
            Some((end, subscription.disconnect_reason.as_str()))
        });
        ends.max_by_key(|(end, _)| *end).filter(|_| !self.is_online())
    }
}

impl Spec for ZoneInsight {
    const KIND: Kind = Kind::ZoneInsight;

    fn validate(&self, _root: &str, _violations: &mut Violations) {}
}
