//! MeshMultiZoneServices: which MeshServices match, the destinations that unite them, and the status that follows
//! (`spec/resources.md` §4, `spec/dataplane.md` §3.2).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meshspan_model::kinds::mesh_multi_zone_service::{
    MatchedMeshService, MeshMultiZoneService, MeshMultiZoneServiceStatus, Port,
};
use meshspan_model::kinds::mesh_multi_zone_service_insight::MeshMultiZoneServiceInsight;
use meshspan_model::kinds::mesh_service::{self, State, section};
use meshspan_model::{Resource, ServiceIdentity, ServiceKind, Violations, labels};

use super::mesh_service::{MeshServiceEntry, add_endpoint, local_endpoints};
use super::reach::{LOCAL, NO_SYSTEM_NAMESPACE, Way, spiffe_ids, through_ingress, way_to_other_zones};
use super::reference::Reference;
use super::{Context, Names, Outcome, ServiceKey, multi_zone_conditions, names, status_value, stored_status, vips};
use crate::mesh_state::{MeshState, insert, remove};
use crate::sni::sni;
use crate::view::{Destination, DestinationKey, Locality, PeerTls, Protocol, Reach};

/// A MeshMultiZoneService.
#[derive(Clone, Debug)]
pub(crate) struct MultiZoneEntry {
    pub(crate) resource: Arc<Resource>,
    pub(crate) spec: Arc<MeshMultiZoneService>,
    pub(crate) status: MeshMultiZoneServiceStatus,
    /// Core names of the MeshServices that match.
    pub(crate) matched: BTreeSet<String>,
    pub(crate) vip: Option<IpAddr>,
}

impl MultiZoneEntry {
    pub(super) fn load(resource: Arc<Resource>, old: Option<&Self>, mesh: &MeshState) -> Result<Self, Violations> {
        let spec: MeshMultiZoneService = resource.parse()?;
        let matched = match old {
            Some(old) if old.spec.selector == spec.selector => old.matched.clone(),
            _ => matches(mesh, &spec),
        };
        Ok(Self {
            status: stored_status(&resource),
            resource,
            spec: Arc::new(spec),
            matched,
            vip: old.and_then(|old| old.vip),
        })
    }

    pub(super) fn index(&self, mesh: &mut MeshState) {
        if let Some(label) = self.first_label() {
            insert(&mut mesh.index.multi_zone_by_label, label, &self.resource.name);
        }
    }

    pub(super) fn deindex(&self, mesh: &mut MeshState) {
        if let Some(label) = self.first_label() {
            remove(&mut mesh.index.multi_zone_by_label, &label, &self.resource.name);
        }
    }

    fn first_label(&self) -> Option<(String, String)> {
        let labels = &self.spec.selector.mesh_service.match_labels;
        let (key, value) = labels.first_key_value()?;
        Some((key.clone(), value.clone()))
    }

    /// The MeshServices that match.
    pub(super) fn members<'a>(&'a self, mesh: &'a MeshState) -> impl Iterator<Item = &'a MeshServiceEntry> {
        self.matched.iter().filter_map(|name| mesh.services.mesh_service(name))
    }
}

/// Core names of the MeshServices of the mesh that carry every label of a new selector; later changes of services are matched
/// one by one.
fn matches(mesh: &MeshState, spec: &MeshMultiZoneService) -> BTreeSet<String> {
    let wanted = &spec.selector.mesh_service;
    let Some((key, value)) = wanted.match_labels.first_key_value() else {
        return BTreeSet::new();
    };
    let label = Reference::Label(ServiceKind::MeshService, key.clone(), value.clone());
    let candidates = mesh.services.answering(&label).into_iter();
    candidates
        .filter(|(_, service)| wanted.matches(&service.resource().labels))
        .map(|(key, _)| key.name.clone())
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

/// Derives one that is there.
pub(super) fn derive(mesh: &mut MeshState, name: &str, vip: Option<IpAddr>, context: &Context<'_>) -> Outcome {
    if let Some(entry) = mesh.services.multi_zone_mut(name) {
        entry.vip = vip;
    }
    let Some(entry) = mesh.services.multi_zone(name) else {
        return Outcome::default();
    };
    let key = ServiceKey::new(ServiceKind::MeshMultiZoneService, name);
    let destinations = destinations(mesh, entry, context);
    let status = status(mesh, entry, &destinations, names(mesh, &key), context);
    let insight = context.federated.then(|| insight(mesh, entry, &status, context.zone));
    Outcome {
        insight: insight.flatten(),
        put: None,
        status: (status != entry.status).then(|| status_value(&status)),
        destinations,
        dependents: Vec::new(),
    }
}

/// One destination a port of a MeshMultiZoneService: the union of what matches, one locality a zone.
fn destinations(
    mesh: &MeshState,
    entry: &MultiZoneEntry,
    context: &Context<'_>,
) -> BTreeMap<DestinationKey, Destination> {
    let Some(spec) = &mesh.mesh else { return BTreeMap::new() };
    let has_mtls = spec.enabled_backend().is_some();
    let identity = ServiceIdentity::of(ServiceKind::MeshMultiZoneService, &entry.resource);
    let mut destinations = BTreeMap::new();
    for port in &entry.spec.ports {
        let mut local = BTreeMap::new();
        let mut remote: BTreeMap<&str, bool> = BTreeMap::new();
        let mut spiffe = BTreeSet::new();
        for service in entry.members(mesh) {
            let Some(service_port) = matching_port(&service.spec.ports, port) else {
                continue;
            };
            spiffe.extend(spiffe_ids(&identity.mesh, &service.derived.identities));
            if service.local {
                for endpoint in local_endpoints(mesh, service, service_port) {
                    add_endpoint(&mut local, endpoint);
                }
            } else if has_mtls {
                *remote.entry(&service.zone).or_default() |= service.derived.state == State::Available;
            }
        }
        let own = Locality {
            zone: context.zone.to_owned(),
            priority: LOCAL,
            reach: Reach::Direct,
            endpoints: local.into_values().collect(),
        };
        let others = remote
            .into_iter()
            .map(|(zone, available)| through_ingress(zone, available, context.ingresses));
        let Way {
            localities: others,
            egress,
        } = way_to_other_zones(spec, others.collect(), context);
        let key = DestinationKey {
            service: identity.clone(),
            section: port.section(),
        };
        let destination = Destination {
            key: key.clone(),
            zone: context.zone.to_owned(),
            port: port.port,
            vip: entry.vip,
            protocol: Protocol::parse(&port.app_protocol),
            tls: has_mtls.then(|| PeerTls {
                spiffe_ids: spiffe,
                sni: sni(&identity, port.port, NO_SYSTEM_NAMESPACE),
            }),
            localities: std::iter::once(own)
                .chain(others)
                .filter(|locality| !locality.endpoints.is_empty())
                .collect(),
            egress,
        };
        destinations.insert(key, destination);
    }
    destinations
}

fn status(
    mesh: &MeshState,
    entry: &MultiZoneEntry,
    destinations: &BTreeMap<DestinationKey, Destination>,
    names: Names,
    context: &Context<'_>,
) -> MeshMultiZoneServiceStatus {
    let mut mesh_services: Vec<_> = entry
        .members(mesh)
        .map(|service| MatchedMeshService {
            name: service.resource.display_name().to_owned(),
            namespace: service.resource.namespace().to_owned(),
            zone: service.zone.clone(),
            mesh: service.resource.mesh.clone(),
        })
        .collect();
    mesh_services.sort();
    MeshMultiZoneServiceStatus {
        addresses: names.addresses,
        vips: vips(entry.vip, &entry.status.vips),
        mesh_services,
        hostname_generators: names.hostname_generators,
        conditions: multi_zone_conditions::of(mesh, entry, destinations, context),
        zones: Vec::new(),
    }
}

/// What the global is to know of a MeshMultiZoneService, if that differs from what was reported.
fn insight(
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
    if mesh.reported.get(&service.name) == Some(&insight) {
        return None;
    }
    let resource = Resource::of(service.mesh.as_str(), service.name.as_str(), &insight)
        .with_label(labels::MESH, service.mesh.as_str())
        .with_label(labels::DISPLAY_NAME, service.display_name())
        .with_label(labels::ORIGIN, labels::ORIGIN_ZONE)
        .with_label(labels::ZONE, zone);
    Some(resource)
}
