//! Which zones, and which parts of the own zone, get traffic first.

use serde::{Deserialize, Serialize};

use crate::policy::values::Decimal;
use crate::policy::{Place, TargetKind};
use crate::violation::Violations;

/// Which localities come first. `local_zone` and `cross_zone` go before `disabled`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalityAwareness {
    /// True spreads traffic over all zones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Which instances of the own zone are preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_zone: Option<LocalZone>,
    /// Which zones take over when the own zone fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_zone: Option<CrossZone>,
}

/// Preferences within the own zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalZone {
    /// Tags that client and instance have in common, the closest first; an instance counts by the first one it shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity_tags: Option<Vec<AffinityTag>>,
}

/// One level of closeness.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AffinityTag {
    /// The tag whose value must be the same.
    pub key: String,
    /// Share of the traffic, relative to the other tags and to 1 for instances that share none. Without weights the
    /// tags get 90%, 9%, 0.9% and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// Preferences among the other zones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CrossZone {
    /// In order of preference; the first rule that accepts a zone decides, and a zone that none accepts gets nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover: Option<Vec<Failover>>,
    /// When traffic begins to leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover_threshold: Option<FailoverThreshold>,
}

/// Zones that take over together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Failover {
    /// For clients in these zones; in all zones if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<FromZones>,
    /// The zones that take over.
    pub to: ToZones,
}

/// Zones of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FromZones {
    /// Their names.
    pub zones: Vec<String>,
}

/// Zones that take over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ToZones {
    /// How `zones` is meant; must be set.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub how: Option<ToZonesType>,
    /// Names of zones, for [`ToZonesType::Only`] and [`ToZonesType::AnyExcept`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zones: Option<Vec<String>>,
}

/// How zones are selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToZonesType {
    /// All zones.
    Any,
    /// No zone, whatever the rules below say.
    None,
    /// The listed zones.
    Only,
    /// All zones but the listed ones.
    AnyExcept,
}

/// When traffic begins to leave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailoverThreshold {
    /// Percentage of healthy instances below which traffic begins to go to the next zones, in (0, 100]; must be set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentage: Option<Decimal>,
}

impl FailoverThreshold {
    /// What holds where nothing is said, in percent.
    pub const DEFAULT: Decimal = Decimal(50.0);
}

/// Most affinity tags without weights: each gets ten times the weight of the next, and Envoy adds all of them up in 32
/// bits.
const MAX_UNWEIGHTED_TAGS: usize = 9;
/// What weights may add up to in Envoy, without 1 for instances that share no tag.
const MAX_WEIGHTS: u64 = u32::MAX as u64 - 1;

impl LocalityAwareness {
    pub(super) fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        if let Some(tags) = self.local_zone.as_ref().and_then(|zone| zone.affinity_tags.as_deref()) {
            check_affinity_tags(
                tags,
                &place.field("localityAwareness.localZone.affinityTags"),
                violations,
            );
        }
        if let Some(cross_zone) = &self.cross_zone {
            let path = place.field("localityAwareness.crossZone");
            check_target(place, &path, violations);
            cross_zone.check(&path, violations);
        }
    }
}

fn check_affinity_tags(tags: &[AffinityTag], path: &str, violations: &mut Violations) {
    for (index, tag) in tags.iter().enumerate() {
        if tag.key.is_empty() {
            violations.add(format!("{path}[{index}].key"), "must not be empty; name a tag");
        }
        if tag.weight == Some(0) {
            violations.add(format!("{path}[{index}].weight"), "is 0, must be greater than 0");
        }
    }
    let weighted = tags.iter().filter(|tag| tag.weight.is_some()).count();
    if weighted != 0 && weighted != tags.len() {
        violations.add(
            path,
            format!(
                "{weighted} of {} have a weight, all or none of the affinity tags must",
                tags.len()
            ),
        );
    } else if weighted == 0 && tags.len() > MAX_UNWEIGHTED_TAGS {
        violations.add(
            path,
            format!(
                "has {} items without weights, must have no more than {MAX_UNWEIGHTED_TAGS}; give each a weight",
                tags.len()
            ),
        );
    }
    let sum: u64 = tags.iter().filter_map(|tag| tag.weight).map(u64::from).sum();
    if sum > MAX_WEIGHTS {
        violations.add(
            path,
            format!("weights add up to {sum}, must add up to no more than {MAX_WEIGHTS}; use smaller ones"),
        );
    }
}

/// Some destinations are in one zone, or in none.
fn check_target(place: &Place<'_>, path: &str, violations: &mut Violations) {
    let Some(target) = place.target else { return };
    let service = target.kind == TargetKind::MeshService.name();
    if service && (target.section_name.is_some() || target.labels.is_some()) {
        violations.add(
            path,
            "must not be set for a MeshService with sectionName or labels: its traffic never leaves its zone; refer to \
             a MeshMultiZoneService",
        );
    } else if target.kind == TargetKind::MeshExternalService.name() {
        violations.add(
            path,
            "must not be set for a MeshExternalService: it is in no zone; refer to a MeshMultiZoneService",
        );
    }
}

impl CrossZone {
    fn check(&self, path: &str, violations: &mut Violations) {
        for (index, rule) in self.failover.iter().flatten().enumerate() {
            rule.check(&format!("{path}.failover[{index}]"), violations);
        }
        if let Some(threshold) = &self.failover_threshold {
            let path = format!("{path}.failoverThreshold.percentage");
            match threshold.percentage {
                None => violations.add(path, "must be defined"),
                Some(Decimal(percentage)) if percentage <= 0.0 || percentage > 100.0 => {
                    violations.add(path, format!("is {percentage}, must be greater than 0 and at most 100"))
                }
                Some(_) => {}
            }
        }
    }
}

impl Failover {
    fn check(&self, path: &str, violations: &mut Violations) {
        if let Some(from) = &self.from {
            let path = format!("{path}.from.zones");
            if from.zones.is_empty() {
                violations.add(&path, "must not be empty; name zones, or leave from out for all zones");
            }
            check_names(&from.zones, &path, violations);
        }
        let zones = self.to.zones.as_deref().unwrap_or_default();
        let zones_path = format!("{path}.to.zones");
        match self.to.how {
            None => violations.add(
                format!("{path}.to.type"),
                "must be defined: Any, None, Only or AnyExcept",
            ),
            Some(how @ (ToZonesType::Any | ToZonesType::None)) if !zones.is_empty() => violations.add(
                &zones_path,
                format!("must be empty when type is {how:?}; use Only or AnyExcept with zones"),
            ),
            Some(how @ (ToZonesType::Only | ToZonesType::AnyExcept)) if zones.is_empty() => violations.add(
                &zones_path,
                format!("must not be empty when type is {how:?}; name zones"),
            ),
            Some(_) => {}
        }
        check_names(zones, &zones_path, violations);
    }
}

fn check_names(zones: &[String], path: &str, violations: &mut Violations) {
    for (index, zone) in zones.iter().enumerate() {
        if zone.is_empty() {
            violations.add(format!("{path}[{index}]"), "must not be empty; name a zone");
        }
    }
}
