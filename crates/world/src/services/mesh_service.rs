//! MeshServices: which proxies they select, their state, identities, status and destinations (`spec/resources.md` §2.7,
//! §7, `spec/dataplane.md` §3.1).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meshspan_model::kinds::dataplane::{Dataplane, Inbound, InboundState};
use meshspan_model::kinds::mesh::TlsMode;
use meshspan_model::kinds::mesh_service::{
    DataplaneProxies, MeshService, MeshServiceStatus, Port, SERVICE_TAG, ServiceIdentityRef, State, TlsReadiness,
    TlsStatus,
};
use meshspan_model::labels::{self, TAG_SERVICE};
use meshspan_model::{Resource, ServiceIdentity, ServiceKind, Spec as _, Violations};

use super::reach::{LOCAL, spiffe_ids, through_ingress, way_to_other_zones};
use super::{Context, Names, Outcome, ServiceKey, mesh_service_conditions, names, status_value, stored_status, vips};
use crate::mesh_state::{DataplaneEntry, MeshState, insert, remove};
use crate::permissions::only_clients;
use crate::sni::sni;
use crate::view::{Destination, DestinationKey, Endpoint, Locality, PeerTls, Protocol, Reach};

/// A MeshService of any zone.
#[derive(Clone, Debug)]
pub(crate) struct MeshServiceEntry {
    pub(crate) resource: Arc<Resource>,
    pub(crate) spec: Arc<MeshService>,
    pub(crate) status: MeshServiceStatus,
    /// Owned by this zone.
    pub(crate) local: bool,
    /// Its zone; the own one for local services.
    pub(crate) zone: String,
    /// Names of the Dataplanes that it selects; empty for remote services.
    pub(crate) matched: BTreeSet<String>,
    pub(crate) derived: Derived,
    /// `kuma.io/service` tags of those who alone may reach it; empty if others may too.
    pub(crate) only_clients: BTreeSet<String>,
}

/// What the world knows of a service beyond its resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Derived {
    pub(crate) state: State,
    pub(crate) identities: Vec<ServiceIdentityRef>,
    pub(crate) tls_ready: bool,
    pub(crate) vip: Option<IpAddr>,
    pub(crate) proxies: DataplaneProxies,
}

/// True if a MeshService selects a Dataplane. An empty selector selects nothing.
pub(crate) fn selects(service: &MeshService, entry: &DataplaneEntry) -> bool {
    service.selects(&entry.resource.name, &entry.resource.labels, &entry.spec)
}

impl MeshServiceEntry {
    pub(super) fn load(
        resource: Arc<Resource>,
        old: Option<&Self>,
        mesh: &MeshState,
        own_zone: &str,
    ) -> Result<Self, Violations> {
        let spec: MeshService = resource.parse()?;
        let local = resource.is_local(labels::ORIGIN_ZONE);
        let zone = if local { own_zone } else { resource.zone() }.to_owned();
        let matched = match old {
            Some(old) if old.local == local && old.spec.selector == spec.selector => old.matched.clone(),
            _ if local => matched_dataplanes(mesh, &spec),
            _ => BTreeSet::new(),
        };
        Ok(Self {
            status: stored_status(&resource),
            resource,
            spec: Arc::new(spec),
            local,
            zone,
            matched,
            derived: old.map(|old| old.derived.clone()).unwrap_or_default(),
            only_clients: BTreeSet::new(),
        })
    }

    pub(super) fn identity(&self) -> ServiceIdentity {
        ServiceIdentity {
            zone: self.zone.clone(),
            ..ServiceIdentity::of(ServiceKind::MeshService, &self.resource)
        }
    }

    pub(super) fn index(&self, mesh: &mut MeshState) {
        let name = &self.resource.name;
        insert(&mut mesh.index.services_by_zone, self.zone.clone(), name);
        if self.local {
            match selector_tag(&self.spec) {
                Some(tag) => insert(&mut mesh.index.services_by_tag, tag.clone(), name),
                None => {
                    mesh.index.services_otherwise.insert(name.clone());
                }
            }
            mesh.dirty.generate.insert(name.clone());
        }
        mesh.mark_multi_zone_of(&self.resource.labels, |matched| {
            matched.insert(name.clone());
        });
    }

    pub(super) fn deindex(&self, mesh: &mut MeshState) {
        let name = &self.resource.name;
        remove(&mut mesh.index.services_by_zone, &self.zone, name);
        if let Some(tag) = selector_tag(&self.spec) {
            remove(&mut mesh.index.services_by_tag, tag, name);
        }
        mesh.index.services_otherwise.remove(name);
        for client in &self.only_clients {
            remove(&mut mesh.index.services_by_client, client, name);
        }
        mesh.dirty.generate.insert(name.clone());
        mesh.mark_multi_zone_of(&self.resource.labels, |matched| {
            matched.remove(name);
        });
    }
}

/// The Dataplanes that a new selector selects; later changes of Dataplanes are matched one by one.
fn matched_dataplanes(mesh: &MeshState, spec: &MeshService) -> BTreeSet<String> {
    let fits = |name: &&String| mesh.dataplanes.get(*name).is_some_and(|entry| selects(spec, entry));
    match selector_tag(spec) {
        Some(tag) => {
            let tagged = mesh.index.dataplanes_by_service.get(tag).into_iter().flatten();
            tagged.filter(fits).cloned().collect()
        }
        None => mesh.dataplanes.keys().filter(fits).cloned().collect(),
    }
}

/// The `kuma.io/service` by which a service selects Dataplanes, if it selects by tags.
fn selector_tag(spec: &MeshService) -> Option<&String> {
    let selector = &spec.selector;
    if selector.dataplane_ref.is_some() || selector.dataplane_labels.is_some() {
        return None;
    }
    selector.dataplane_tags.as_ref()?.get(TAG_SERVICE)
}

/// Derives one that is there.
pub(super) fn derive(mesh: &mut MeshState, name: &str, vip: Option<IpAddr>, context: &Context<'_>) -> Outcome {
    let Some(entry) = mesh.services.mesh_service(name) else {
        return Outcome::default();
    };
    let derived = if entry.local {
        derive_local(mesh, entry, vip)
    } else {
        derive_remote(entry, vip)
    };
    if let Some(entry) = mesh.services.mesh_service_mut(name) {
        entry.derived = derived;
    }
    note_clients(mesh, name);
    let Some(entry) = mesh.services.mesh_service(name) else {
        return Outcome::default();
    };
    let key = ServiceKey::new(ServiceKind::MeshService, name);
    let status = status(entry, mesh, names(mesh, &key), context);
    let dependents = mesh.multi_zone_matching(&entry.resource.labels).into_iter();
    Outcome {
        destinations: destinations(mesh, entry, context),
        put: entry.local.then(|| with_computed(entry)).flatten(),
        status: (status != entry.status).then(|| status_value(&status)),
        insight: None,
        dependents: dependents
            .map(|name| ServiceKey::new(ServiceKind::MeshMultiZoneService, name))
            .collect(),
    }
}

/// Keeps the index of those who are the only ones to reach a service.
fn note_clients(mesh: &mut MeshState, name: &str) {
    let entry = mesh.services.mesh_service(name);
    let clients = entry
        .filter(|entry| entry.local)
        .and_then(|entry| only_clients(mesh, entry));
    let clients = clients.unwrap_or_default();
    let before = match mesh.services.mesh_service_mut(name) {
        Some(entry) => std::mem::replace(&mut entry.only_clients, clients.clone()),
        None => return,
    };
    for gone in before.difference(&clients) {
        remove(&mut mesh.index.services_by_client, gone, name);
    }
    for new in clients.difference(&before) {
        insert(&mut mesh.index.services_by_client, new.clone(), name);
    }
}

/// One destination a port.
fn destinations(
    mesh: &MeshState,
    service: &MeshServiceEntry,
    context: &Context<'_>,
) -> BTreeMap<DestinationKey, Destination> {
    let Some(spec) = &mesh.mesh else { return BTreeMap::new() };
    let backend = spec.enabled_backend();
    let permissive = backend.is_some_and(|backend| backend.mode == TlsMode::Permissive);
    let identity = service.identity();
    let destination = |port: &Port| {
        let key = DestinationKey {
            service: identity.clone(),
            section: port.section(),
        };
        let plain = backend.is_none() || (service.local && permissive && !service.derived.tls_ready);
        let mut egress = None;
        let localities = if service.local {
            vec![Locality {
                zone: service.zone.clone(),
                priority: LOCAL,
                reach: Reach::Direct,
                endpoints: local_endpoints(mesh, service, port),
            }]
        } else if backend.is_some() {
            let zones = vec![through_ingress(&service.zone, true, context.ingresses)];
            let way = way_to_other_zones(spec, zones, context);
            egress = way.egress;
            way.localities
        } else {
            Vec::new()
        };
        let tls = PeerTls {
            spiffe_ids: spiffe_ids(&identity.mesh, &service.derived.identities),
            sni: sni(&identity, port.port, super::reach::NO_SYSTEM_NAMESPACE),
        };
        let destination = Destination {
            key: key.clone(),
            zone: context.zone.to_owned(),
            port: port.port,
            vip: service.derived.vip,
            protocol: Protocol::parse(&port.app_protocol),
            tls: (!plain).then_some(tls),
            localities,
            egress,
        };
        (key, destination)
    };
    service.spec.ports.iter().map(destination).collect()
}

/// The inbounds of a Dataplane that a port means.
pub(crate) fn inbounds_of_port<'a>(
    dataplane: &'a Dataplane,
    port: &Port,
) -> impl Iterator<Item = (usize, &'a Inbound)> {
    let target = port.target();
    dataplane
        .networking
        .inbound
        .iter()
        .enumerate()
        .filter(move |(_, inbound)| target.is(inbound))
}

/// The endpoints of a local service's port, ordered by address and port; unready ones included.
pub(crate) fn local_endpoints(mesh: &MeshState, service: &MeshServiceEntry, port: &Port) -> Vec<Endpoint> {
    let mut endpoints = BTreeMap::new();
    for name in &service.matched {
        let Some(entry) = mesh.dataplanes.get(name) else {
            continue;
        };
        for (index, inbound) in inbounds_of_port(&entry.spec, port) {
            if inbound.state == InboundState::Ignored {
                continue;
            }
            let Ok(address) = entry.spec.peer_address(inbound).parse::<IpAddr>() else {
                continue;
            };
            let ready = mesh.serves(name, inbound);
            let tags = entry.tags.get(index).cloned().unwrap_or_default();
            let endpoint = Endpoint {
                address,
                port: inbound.port,
                ready,
                tags,
            };
            add_endpoint(&mut endpoints, endpoint);
        }
    }
    endpoints.into_values().collect()
}

/// Adds an endpoint. Two Dataplanes with one address would be one endpoint; it is ready if either says so.
pub(crate) fn add_endpoint(endpoints: &mut BTreeMap<(IpAddr, u32), Endpoint>, new: Endpoint) {
    let known = endpoints.entry((new.address, new.port)).or_insert_with(|| new.clone());
    known.ready |= new.ready;
}

/// State, identities and counts of a local service.
fn derive_local(mesh: &MeshState, service: &MeshServiceEntry, vip: Option<IpAddr>) -> Derived {
    let mut proxies = DataplaneProxies::default();
    let mut identities = BTreeSet::new();
    let mut all_have_certificates = true;
    for name in &service.matched {
        let Some(entry) = mesh.dataplanes.get(name) else {
            continue;
        };
        let proxy = mesh.proxies.get(name);
        proxies.total += 1;
        proxies.connected += u32::from(proxy.is_some_and(|proxy| proxy.online));
        all_have_certificates &= proxy.is_some_and(|proxy| proxy.has_certificate);
        let answers = |port: &Port| inbounds_of_port(&entry.spec, port).any(|(_, inbound)| mesh.serves(name, inbound));
        proxies.healthy += u32::from(service.spec.ports.iter().all(answers));
        for inbound in &entry.spec.networking.inbound {
            if let Some(value) = inbound.tags.get(TAG_SERVICE) {
                identities.insert(ServiceIdentityRef {
                    identity_type: SERVICE_TAG.to_owned(),
                    value: value.clone(),
                });
            }
        }
    }
    // A service whose proxies are all gone keeps its identities, so that clients keep trusting what comes back.
    let identities = if identities.is_empty() {
        service.spec.identities.clone()
    } else {
        identities.into_iter().collect()
    };
    let has_mtls = mesh.mesh.as_ref().is_some_and(|mesh| mesh.enabled_backend().is_some());
    let was_ready = service.status.tls.status == Some(TlsReadiness::Ready);
    Derived {
        state: if proxies.healthy > 0 {
            State::Available
        } else {
            State::Unavailable
        },
        identities,
        tls_ready: has_mtls && (was_ready || all_have_certificates),
        vip,
        proxies,
    }
}

/// State and identities of another zone's service: what its zone says.
fn derive_remote(service: &MeshServiceEntry, vip: Option<IpAddr>) -> Derived {
    Derived {
        state: service.spec.state.unwrap_or_default(),
        identities: service.spec.identities.clone(),
        tls_ready: true,
        vip,
        proxies: DataplaneProxies::default(),
    }
}

fn status(service: &MeshServiceEntry, mesh: &MeshState, names: Names, context: &Context<'_>) -> MeshServiceStatus {
    let derived = &service.derived;
    let tls = if !service.local {
        service.status.tls
    } else {
        TlsStatus {
            status: Some(if derived.tls_ready {
                TlsReadiness::Ready
            } else {
                TlsReadiness::NotReady
            }),
        }
    };
    MeshServiceStatus {
        addresses: names.addresses,
        vips: vips(derived.vip, &service.status.vips),
        tls,
        hostname_generators: names.hostname_generators,
        dataplane_proxies: derived.proxies,
        conditions: mesh_service_conditions::of(mesh, service, context),
    }
}

/// A local service's resource with what the zone computes into its spec; `None` if nothing changes.
fn with_computed(service: &MeshServiceEntry) -> Option<Resource> {
    let mut spec = (*service.spec).clone();
    spec.state = Some(service.derived.state);
    spec.identities.clone_from(&service.derived.identities);
    if spec == *service.spec {
        return None;
    }
    let mut resource = (*service.resource).clone();
    resource.spec = spec.to_value();
    Some(resource)
}
