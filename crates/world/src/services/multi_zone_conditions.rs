//! What a MeshMultiZoneService says about itself: whatever keeps a matched service from being reached, with the remedy
//! (DESIGN §4). Where traffic goes is read from the destinations that are projected; what cannot be known here, such as
//! whether an address of another zone answers, is not claimed.

use std::collections::{BTreeMap, BTreeSet};

use meshspan_model::ServiceKind;
use meshspan_model::kinds::mesh_multi_zone_service::Port;
use meshspan_model::kinds::mesh_service::{Condition, State};

use super::Context;
use super::mesh_service::MeshServiceEntry;
use super::mesh_service_conditions::{in_zone, traffic_permitted};
use super::multi_zone::{MultiZoneEntry, matching_port};
use super::reach::egress_known;
use crate::address_range;
use crate::mesh_state::MeshState;
use crate::view::{Destination, DestinationKey, EgressRoute, Reach};
use crate::zone_proxies::ZoneProxies;

/// Conditions in a fixed order; positive ones are kept so that a reader sees what was checked.
pub(crate) fn of(
    mesh: &MeshState,
    entry: &MultiZoneEntry,
    destinations: &BTreeMap<DestinationKey, Destination>,
    context: &Context<'_>,
) -> Vec<Condition> {
    let matched: Vec<&MeshServiceEntry> = entry.members(mesh).collect();
    let mut conditions = vec![services_matched(entry, &matched)];
    if !matched.is_empty() {
        conditions.push(ports_matched(entry, &matched));
        conditions.push(services_available(&matched));
        conditions.push(ingresses_known(mesh, entry, &matched, destinations, context.ingresses));
        let is_remote = matched.iter().any(|service| !service.local);
        conditions.extend(egress_known(mesh, context).filter(|_| is_remote));
        let local: Vec<_> = matched.into_iter().filter(|service| service.local).collect();
        conditions.extend(traffic_permitted(mesh, &local));
    }
    conditions.extend(address_range::condition(
        mesh,
        ServiceKind::MeshMultiZoneService,
        entry.vip,
        context.range,
    ));
    conditions
}

fn services_matched(entry: &MultiZoneEntry, matched: &[&MeshServiceEntry]) -> Condition {
    let labels = &entry.spec.selector.mesh_service.match_labels;
    let labels = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(", ");
    Condition::new(
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

/// A port that one service has and another lacks is a problem too: clients are not sent there for it.
fn ports_matched(entry: &MultiZoneEntry, matched: &[&MeshServiceEntry]) -> Condition {
    let mut nowhere = Vec::new();
    let mut somewhere = Vec::new();
    for port in &entry.spec.ports {
        let lacking: Vec<_> = matched
            .iter()
            .filter(|service| matching_port(&service.spec.ports, port).is_none())
            .map(|service| format!("{}, which has {}", in_zone(service), ports_of([*service])))
            .collect();
        if lacking.len() == matched.len() {
            nowhere.push(port.section());
        } else if !lacking.is_empty() {
            somewhere.push(format!(
                "port {} is not on {}",
                port.section(),
                lacking.join(", nor on ")
            ));
        }
    }
    let outcome = if !nowhere.is_empty() {
        Err((
            "PortNotFound",
            format!(
                "no matched service has port {}: they have {}; change spec.ports",
                nowhere.join(", "),
                ports_of(matched.iter().copied())
            ),
        ))
    } else if somewhere.is_empty() {
        Ok(("AllPortsFound", "every matched service has every port".to_owned()))
    } else {
        Err((
            "PortMissing",
            format!("{}: clients are not sent there for it", somewhere.join("; ")),
        ))
    };
    Condition::new("PortsMatched", outcome)
}

fn ports_of<'a>(services: impl IntoIterator<Item = &'a MeshServiceEntry>) -> String {
    let ports: BTreeSet<String> = services
        .into_iter()
        .flat_map(|service| &service.spec.ports)
        .map(|port| {
            if port.name.is_empty() {
                port.port.to_string()
            } else {
                format!("{} ({})", port.name, port.port)
            }
        })
        .collect();
    if ports.is_empty() {
        return "no ports".to_owned();
    }
    ports.into_iter().collect::<Vec<_>>().join(", ")
}

/// What the zones of the services say. Where traffic goes among those that are ready is for policies to say.
fn services_available(matched: &[&MeshServiceEntry]) -> Condition {
    let names = |state: State| {
        let of_state = matched.iter().filter(|service| service.derived.state == state);
        of_state.map(|service| in_zone(service)).collect::<Vec<_>>()
    };
    let (up, down) = (names(State::Available), names(State::Unavailable));
    Condition::new(
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
                    "no instance is ready: {} (start one, or look at its Dataplane); there are ready ones: {}",
                    down.join(", "),
                    up.join(", ")
                ),
            )),
        },
    )
}

/// Whether traffic to other zones has somewhere to go. That the ingress answers there is not known here.
fn ingresses_known(
    mesh: &MeshState,
    entry: &MultiZoneEntry,
    matched: &[&MeshServiceEntry],
    destinations: &BTreeMap<DestinationKey, Destination>,
    ingresses: &ZoneProxies,
) -> Condition {
    const TYPE: &str = "ZoneIngressesKnown";
    let has_port = |service: &MeshServiceEntry| {
        let ports: &[Port] = &entry.spec.ports;
        ports
            .iter()
            .any(|port| matching_port(&service.spec.ports, port).is_some())
    };
    let mut remote: BTreeMap<&str, Vec<&MeshServiceEntry>> = BTreeMap::new();
    for service in matched.iter().filter(|service| !service.local && has_port(service)) {
        remote.entry(&service.zone).or_default().push(service);
    }
    if remote.is_empty() {
        let message = "no service of another zone is matched".to_owned();
        return Condition::new(TYPE, Ok(("OnlyLocal", message)));
    }
    let zones = remote.keys().copied().collect::<Vec<_>>().join(", ");
    if mesh.mesh.as_ref().is_none_or(|mesh| mesh.enabled_backend().is_none()) {
        let message = format!("mTLS is off in the mesh, so zones {zones} cannot be reached: enable mtls in the Mesh");
        return Condition::new(TYPE, Err(("MtlsDisabled", message)));
    }
    let mut addresses: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let behind_egress = |destination: &'_ Destination| match &destination.egress {
        Some(EgressRoute::Zones(zones)) => zones.clone(),
        Some(EgressRoute::External(_)) | None => destination.localities.clone(),
    };
    let localities: Vec<_> = destinations.values().flat_map(behind_egress).collect();
    for locality in localities.iter().filter(|locality| locality.reach == Reach::Ingress) {
        let of_zone = addresses.entry(&locality.zone).or_default();
        for endpoint in &locality.endpoints {
            of_zone.insert(
                std::net::SocketAddr::new(endpoint.address, u16::try_from(endpoint.port).unwrap_or_default())
                    .to_string(),
            );
        }
    }
    addresses.retain(|_, addresses| !addresses.is_empty());
    let without: Vec<_> = remote
        .keys()
        .copied()
        .filter(|zone| !addresses.contains_key(zone))
        .collect();
    let unresolved: Vec<_> = without
        .iter()
        .flat_map(|zone| {
            ingresses
                .unresolved_of_zone(zone)
                .map(move |problem| format!("{zone}: {problem}"))
        })
        .collect();
    if !unresolved.is_empty() {
        return Condition::new(TYPE, Err(("AddressUnresolved", unresolved.join("; "))));
    }
    if !without.is_empty() {
        let message = format!(
            "no zone ingress with a public address in {}: run one with networking.advertisedAddress and advertisedPort",
            without.join(", ")
        );
        return Condition::new(TYPE, Err(("NoZoneIngress", message)));
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
        return Condition::new(TYPE, Err(("IdentityUnknown", message)));
    }
    let known = addresses.iter().map(|(zone, addresses)| {
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        format!("{zone} at {}", addresses.join(", "))
    });
    let message = format!(
        "zones are entered at the addresses that their ingresses give: {}; whether these answer is not checked",
        known.collect::<Vec<_>>().join("; ")
    );
    Condition::new(TYPE, Ok(("AddressesKnown", message)))
}
