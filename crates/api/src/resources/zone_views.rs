//! The status of a MeshMultiZoneService on the global: computed in the zones, shown as their union and one by one.

use std::collections::BTreeMap;

use meshspan_model::kinds::mesh_multi_zone_service::{MeshMultiZoneServiceStatus, ZoneView};
use meshspan_model::kinds::mesh_multi_zone_service_insight::MeshMultiZoneServiceInsight;
use meshspan_model::kinds::mesh_service::Condition;
use meshspan_model::{Kind, Resource};
use meshspan_store::Snapshot;

use crate::settings::Mode;

/// The resource as this control plane shows it.
pub(crate) fn shown(resource: &Resource, mode: &Mode, snapshot: &Snapshot) -> Resource {
    let mut shown = resource.clone();
    if *mode == Mode::Global && resource.kind == Kind::MeshMultiZoneService {
        shown.status = serde_json::to_value(union(resource, snapshot)).ok();
    }
    shown
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
            false => {
                let told = unmet
                    .iter()
                    .map(|(zone, condition)| format!("zone {zone}: {}", condition.message));
                told.collect::<Vec<_>>().join("; ")
            }
        };
        Some(Condition {
            message,
            ..(*first).clone()
        })
    });
    merged.collect()
}
