//! What the global shows of services: the status of a MeshMultiZoneService is computed in the zones, shown as their union
//! and one by one; what comes from a zone that is not connected is marked as old.

use std::collections::{BTreeMap, BTreeSet};

use meshspan_model::document::timestamp;
use meshspan_model::kinds::mesh_external_service::MeshExternalServiceStatus;
use meshspan_model::kinds::mesh_multi_zone_service::{MeshMultiZoneServiceStatus, ZoneView};
use meshspan_model::kinds::mesh_multi_zone_service_insight::MeshMultiZoneServiceInsight;
use meshspan_model::kinds::mesh_service::{Condition, MeshServiceStatus};
use meshspan_model::kinds::zone_insight::ZoneInsight;
use meshspan_model::{Kind, Resource, ResourceKey, ServiceKind, labels};
use meshspan_store::Snapshot;

use crate::settings::Mode;

/// The resource as this control plane shows it.
pub(crate) fn shown(resource: &Resource, mode: &Mode, snapshot: &Snapshot) -> Resource {
    let mut shown = resource.clone();
    if *mode != Mode::Global {
        return shown;
    }
    match resource.kind.service() {
        Some(ServiceKind::MeshMultiZoneService) => shown.status = serde_json::to_value(union(resource, snapshot)).ok(),
        Some(ServiceKind::MeshService) => {
            if let Some(lost) = lost(&BTreeSet::from([resource.zone()]), snapshot) {
                let stored = shown.status.take().unwrap_or_default();
                let mut status: MeshServiceStatus = serde_json::from_value(stored).unwrap_or_default();
                status.conditions.push(lost);
                shown.status = serde_json::to_value(status).ok();
            }
        }
        Some(ServiceKind::MeshExternalService) => {
            // One of the global may name the zone whose egress serves it, but what is said here comes from no zone.
            let from_zone = !resource.is_local(labels::ORIGIN_GLOBAL);
            let zones = BTreeSet::from([resource.zone()]);
            if let Some(lost) = from_zone.then(|| lost(&zones, snapshot)).flatten() {
                let stored = shown.status.take().unwrap_or_default();
                let mut status: MeshExternalServiceStatus = serde_json::from_value(stored).unwrap_or_default();
                status.conditions.push(lost);
                shown.status = serde_json::to_value(status).ok();
            }
        }
        None => {}
    }
    shown
}

/// Says which of these zones are not connected, so that what is known of them is old; `None` if all are, or were never.
fn lost(zones: &BTreeSet<&str>, snapshot: &Snapshot) -> Option<Condition> {
    let lost: Vec<String> = zones
        .iter()
        .filter_map(|zone| {
            let (since, reason) = lost_since(zone, snapshot)?;
            let reason = match reason.as_str() {
                "" => String::new(),
                reason => format!(" ({reason})"),
            };
            Some(format!(
                "the control plane of zone {zone} is not connected since {since}{reason}, see `meshspan inspect zone {zone}`"
            ))
        })
        .collect();
    if lost.is_empty() {
        return None;
    }
    let message = format!("{}: what is said of it is as of then", lost.join("; "));
    Some(Condition::new("ZonesConnected", Err(("ZoneOffline", message))))
}

/// When and why the last connection of a zone ended, if it has none now.
fn lost_since(zone: &str, snapshot: &Snapshot) -> Option<(String, String)> {
    let insight = snapshot.get(&ResourceKey::new(Kind::ZoneInsight, "", zone))?;
    let insight: ZoneInsight = insight.resource.parse().ok()?;
    if insight.is_online() {
        return None;
    }
    let (end, reason) = insight.last_end()?;
    Some((timestamp(end.replace_nanosecond(0).unwrap_or(end)), reason.to_owned()))
}

fn union(resource: &Resource, snapshot: &Snapshot) -> MeshMultiZoneServiceStatus {
    let insights = snapshot.list(Kind::MeshMultiZoneServiceInsight, Some(&resource.mesh));
    let mut views: Vec<MeshMultiZoneServiceInsight> = insights
        .filter(|stored| stored.resource.display_name() == resource.display_name())
        .filter_map(|stored| stored.resource.parse().ok())
        .collect();
    views.sort_by(|a, b| a.zone.cmp(&b.zone));
    let mut status = MeshMultiZoneServiceStatus::default();
    for view in &views {
        extend(&mut status.vips, &view.status.vips);
        extend(&mut status.mesh_services, &view.status.mesh_services);
        for address in &view.status.addresses {
            if !status.addresses.iter().any(|known| known.hostname == address.hostname) {
                status.addresses.push(address.clone());
            }
        }
    }
    status.mesh_services.sort();
    status.conditions = conditions(&views);
    status.conditions.extend(different_addresses(&views));
    let zones = views.iter().map(|view| view.zone.as_str());
    let zones = zones.chain(status.mesh_services.iter().map(|service| service.zone.as_str()));
    status.conditions.extend(lost(&zones.collect(), snapshot));
    status.zones = views
        .into_iter()
        .map(|view| ZoneView {
            zone: view.zone,
            addresses: view.status.addresses,
            vips: view.status.vips,
            conditions: view.status.conditions,
        })
        .collect();
    status
}

fn extend<T: Clone + PartialEq>(all: &mut Vec<T>, more: &[T]) {
    for one in more {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
}

/// One condition a type: met where it is met in every zone, else with what the zones say that do not meet it.
fn conditions(views: &[MeshMultiZoneServiceInsight]) -> Vec<Condition> {
    let mut order = Vec::new();
    let mut by_type: BTreeMap<&str, Vec<(&str, &Condition)>> = BTreeMap::new();
    for view in views {
        for condition in &view.status.conditions {
            let told = by_type.entry(&condition.condition_type).or_default();
            if told.is_empty() {
                order.push(condition.condition_type.as_str());
            }
            told.push((&view.zone, condition));
        }
    }
    let merged = order.into_iter().filter_map(|condition_type| {
        let told = by_type.get(condition_type)?;
        let unmet: Vec<_> = told
            .iter()
            .filter(|(_, condition)| condition.status != "True")
            .collect();
        let (_, first) = unmet.first().copied().or_else(|| told.first())?;
        let message = match unmet.is_empty() {
            true => format!("in every zone that was asked ({})", told.len()),
            false => by_message(&unmet, told.len()),
        };
        Some(Condition {
            message,
            ..(*first).clone()
        })
    });
    merged.collect()
}

/// What zones say, each sentence once, and which zones do if that is not all of the `asked` ones.
fn by_message(unmet: &[&(&str, &Condition)], asked: usize) -> String {
    let mut zones: Vec<(&str, Vec<&str>)> = Vec::new();
    for (zone, condition) in unmet {
        match zones.iter_mut().find(|(message, _)| *message == condition.message) {
            Some((_, zones)) => zones.push(zone),
            None => zones.push((&condition.message, vec![zone])),
        }
    }
    let said = zones.iter().map(|(message, zones)| match zones.len() {
        all if all == asked => (*message).to_owned(),
        1 => format!("as zone {} sees it: {message}", zones.concat()),
        _ => format!("as zones {} see it: {message}", zones.join(", ")),
    });
    said.collect::<Vec<_>>().join("; ")
}

/// A service has one address in all zones, unless their ranges differ.
fn different_addresses(views: &[MeshMultiZoneServiceInsight]) -> Option<Condition> {
    let addresses: Vec<_> = views
        .iter()
        .filter_map(|view| Some((view.zone.as_str(), view.status.vips.first()?.ip.as_str())))
        .collect();
    let distinct: BTreeSet<_> = addresses.iter().map(|(_, address)| address).collect();
    if distinct.len() < 2 {
        return None;
    }
    let list: Vec<_> = addresses
        .iter()
        .map(|(zone, address)| format!("{address} in {zone}"))
        .collect();
    let message = format!(
        "the service has {}: set KUMA_IPAM_MESH_MULTI_ZONE_SERVICE_CIDR to the same range in all zones, if clients are to know one \
         address",
        list.join(", ")
    );
    Some(Condition::new("AddressEqual", Err(("DifferentAddresses", message))))
}
