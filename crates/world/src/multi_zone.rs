//! MeshMultiZoneServices: which MeshServices match, and the status that follows (`spec/resources.md` §4).

use std::collections::{BTreeMap, BTreeSet};

use meshspan_model::kinds::mesh_multi_zone_service::{
    MatchedMeshService, MeshMultiZoneService, MeshMultiZoneServiceStatus, Port,
};
use meshspan_model::kinds::mesh_multi_zone_service_insight::MeshMultiZoneServiceInsight;
use meshspan_model::kinds::mesh_service::{self, section};
use meshspan_model::{Kind, Resource, labels};

use crate::conditions;
use crate::ingress_addresses::IngressAddresses;
use crate::mesh_state::{MeshState, MultiZoneEntry};
use crate::service::vips;
use crate::view::{Destination, DestinationKey};
use crate::vips::VipRange;

/// Core names of the MeshServices of the mesh that carry every label of the selector. Looks at every service: for a
/// new selector only; later changes of services are matched one by one.
pub(crate) fn matches(mesh: &MeshState, spec: &MeshMultiZoneService) -> BTreeSet<String> {
    let wanted = &spec.selector.mesh_service;
    if wanted.match_labels.is_empty() {
        return BTreeSet::new();
    }
    mesh.services
        .iter()
        .filter(|(_, service)| wanted.matches(&service.resource.labels))
        .map(|(name, _)| name.clone())
        .collect()
}

/// The port of a service that a port of the MeshMultiZoneService means: by name if it has one and the service has a
/// port of that name (a nameless port's name is its number), else by number.
pub(crate) fn matching_port<'a>(ports: &'a [mesh_service::Port], wanted: &Port) -> Option<&'a mesh_service::Port> {
    let by_name = || ports.iter().find(|port| section(&port.name, port.port) == wanted.name);
    let by_number = || ports.iter().find(|port| port.port == wanted.port);
    if wanted.name.is_empty() {
        by_number()
    } else {
        by_name().or_else(by_number)
    }
}

/// The status to store.
pub(crate) fn status(
    mesh: &MeshState,
    entry: &MultiZoneEntry,
    destinations: &BTreeMap<DestinationKey, Destination>,
    ingresses: &IngressAddresses,
    range: VipRange,
) -> MeshMultiZoneServiceStatus {
    let (addresses, hostname_generators) = mesh
        .hostnames
        .of(&(Kind::MeshMultiZoneService, entry.resource.name.clone()));
    let mut mesh_services: Vec<_> = entry
        .matched
        .iter()
        .filter_map(|name| mesh.services.get(name))
        .map(|service| MatchedMeshService {
            name: service.resource.display_name().to_owned(),
            namespace: service.resource.namespace().to_owned(),
            zone: service.zone.clone(),
            mesh: service.resource.mesh.clone(),
        })
        .collect();
    mesh_services.sort();
    MeshMultiZoneServiceStatus {
        addresses,
        vips: vips(entry.vip, &entry.status.vips),
        mesh_services,
        hostname_generators,
        conditions: conditions::of(mesh, entry, destinations, ingresses, range),
        zones: Vec::new(),
    }
}

/// What the global is to know of a MeshMultiZoneService, if that differs from what it was told.
pub(crate) fn insight(
    mesh: &MeshState,
    entry: &MultiZoneEntry,
    status: &MeshMultiZoneServiceStatus,
    zone: &str,
) -> Option<Resource> {
    let insight = MeshMultiZoneServiceInsight {
        zone: zone.to_owned(),
        status: status.clone(),
    };
    let service = &entry.resource;
    if mesh.told.get(&service.name) == Some(&insight) {
        return None;
    }
    let resource = Resource::of(service.mesh.as_str(), service.name.as_str(), &insight)
        .with_label(labels::MESH, service.mesh.as_str())
        .with_label(labels::DISPLAY_NAME, service.display_name())
        .with_label(labels::ORIGIN, labels::ORIGIN_ZONE)
        .with_label(labels::ZONE, zone);
    Some(resource)
}
