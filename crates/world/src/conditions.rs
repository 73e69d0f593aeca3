//! What a MeshMultiZoneService says about itself: whatever keeps a matched service from being reached, with the remedy
//! (DESIGN §4).

use std::collections::{BTreeMap, BTreeSet};

use meshspan_model::kinds::mesh_multi_zone_service::Port;
use meshspan_model::kinds::mesh_service::{Condition, State};

use crate::mesh_state::{MeshState, MultiZoneEntry, ServiceEntry};
use crate::multi_zone::matching_port;
use crate::vips::VipRange;
use crate::world::IngressAddresses;

/// Conditions in a fixed order; positive ones are kept so that a reader sees what was checked.
pub(crate) fn of(
    mesh: &MeshState,
    entry: &MultiZoneEntry,
    ingresses: &IngressAddresses,
    range: VipRange,
) -> Vec<Condition> {
    let matched: Vec<&ServiceEntry> = entry
        .matched
        .iter()
        .filter_map(|name| mesh.services.get(name))
        .collect();
    let mut conditions = vec![services_matched(entry, &matched)];
    if !matched.is_empty() {
        conditions.push(ports_matched(entry, &matched));
        conditions.push(services_available(&matched));
        conditions.push(zones_reachable(mesh, &matched, ingresses));
    }
    if entry.vip.is_none() {
        conditions.push(condition(
            "VipAllocated",
            Err((
                "RangeExhausted",
                format!(
                    "the range {range} has no free address: set KUMA_IPAM_MESH_MULTI_ZONE_SERVICE_CIDR to a larger one"
                ),
            )),
        ));
    }
    conditions
}

fn condition(condition_type: &str, outcome: Result<(&str, String), (&str, String)>) -> Condition {
    let (status, (reason, message)) = match outcome {
        Ok(good) => ("True", good),
        Err(bad) => ("False", bad),
    };
    Condition {
        condition_type: condition_type.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
    }
}

fn services_matched(entry: &MultiZoneEntry, matched: &[&ServiceEntry]) -> Condition {
    let labels = &entry.spec.selector.mesh_service.match_labels;
    let labels = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(", ");
    condition(
        "MeshServicesMatched",
        match matched.len() {
            0 => Err((
                "NoMatchesFound",
                format!(
                    "no MeshService of mesh {} has the labels {labels}: label the services, or change spec.selector",
                    entry.resource.mesh
                ),
            )),
            count => Ok(("MatchesFound", format!("{count} MeshServices match"))),
        },
    )
}

fn ports_matched(entry: &MultiZoneEntry, matched: &[&ServiceEntry]) -> Condition {
    let missing = |port: &&Port| {
        matched
            .iter()
            .all(|service| matching_port(&service.spec.ports, port).is_none())
    };
    let missing: Vec<_> = entry.spec.ports.iter().filter(missing).map(Port::section).collect();
    let offered: BTreeSet<String> = matched
        .iter()
        .flat_map(|service| &service.spec.ports)
        .map(|port| {
            if port.name.is_empty() {
                port.port.to_string()
            } else {
                format!("{} ({})", port.name, port.port)
            }
        })
        .collect();
    let offered = offered.into_iter().collect::<Vec<_>>().join(", ");
    condition(
        "PortsMatched",
        if missing.is_empty() {
            Ok((
                "AllPortsFound",
                format!("every port is on a matched service; they have {offered}"),
            ))
        } else {
            Err((
                "PortNotFound",
                format!(
                    "no matched service has port {}: they have {offered}; change spec.ports",
                    missing.join(", ")
                ),
            ))
        },
    )
}

fn services_available(matched: &[&ServiceEntry]) -> Condition {
    let names = |state: State| {
        let of_state = matched.iter().filter(|service| service.derived.state == state);
        of_state
            .map(|service| format!("{} in {}", service.resource.display_name(), service.zone))
            .collect::<Vec<_>>()
    };
    let (up, down) = (names(State::Available), names(State::Unavailable));
    condition(
        "ServicesAvailable",
        match (up.is_empty(), down.is_empty()) {
            (true, _) => Err((
                "NoneAvailable",
                format!(
                    "no instance is ready: {}; start one, or look at its Dataplane",
                    down.join(", ")
                ),
            )),
            (_, true) => Ok(("AllAvailable", format!("all have ready instances: {}", up.join(", ")))),
            _ => Err((
                "SomeUnavailable",
                format!(
                    "no instance is ready: {}; traffic goes to {}",
                    down.join(", "),
                    up.join(", ")
                ),
            )),
        },
    )
}

fn zones_reachable(mesh: &MeshState, matched: &[&ServiceEntry], ingresses: &IngressAddresses) -> Condition {
    let remote: BTreeMap<&str, Vec<&ServiceEntry>> =
        matched
            .iter()
            .filter(|service| !service.local)
            .fold(BTreeMap::new(), |mut zones, service| {
                zones
                    .entry(service.zone.as_str())
                    .or_insert_with(Vec::new)
                    .push(service);
                zones
            });
    if remote.is_empty() {
        return condition(
            "ZonesReachable",
            Ok(("OnlyLocal", "all matched services are in this zone".to_owned())),
        );
    }
    let zones = remote.keys().copied().collect::<Vec<_>>().join(", ");
    if mesh.mesh.as_ref().is_none_or(|mesh| mesh.enabled_backend().is_none()) {
        let message = format!("mTLS is off in the mesh, so zones {zones} cannot be reached: enable mtls in the Mesh");
        return condition("ZonesReachable", Err(("MtlsDisabled", message)));
    }
    let without_ingress: Vec<_> = remote
        .keys()
        .copied()
        .filter(|zone| ingresses.of_zone(zone).next().is_none())
        .collect();
    if !without_ingress.is_empty() {
        let message = format!(
            "no zone ingress with a public address in {}: run one with networking.advertisedAddress and advertisedPort",
            without_ingress.join(", ")
        );
        return condition("ZonesReachable", Err(("NoZoneIngress", message)));
    }
    let unknown: Vec<_> = remote
        .iter()
        .filter(|(_, services)| services.iter().all(|service| service.spec.identities.is_empty()))
        .map(|(zone, _)| *zone)
        .collect();
    if !unknown.is_empty() {
        let message = format!(
            "the services in {} have no identity yet, so they cannot be verified: start an instance with mTLS",
            unknown.join(", ")
        );
        return condition("ZonesReachable", Err(("IdentityUnknown", message)));
    }
    condition(
        "ZonesReachable",
        Ok((
            "AllReachable",
            format!("zones {zones} are reached through their zone ingresses"),
        )),
    )
}
