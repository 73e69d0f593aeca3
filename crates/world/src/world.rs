//! The world itself: takes changes, marks what depends on them, derives it, and hands out what came out different.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meshspan_model::kinds::dataplane_insight::DataplaneInsight;
use meshspan_model::kinds::mesh::Mesh;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_model::{Kind, Resource, ResourceKey, Spec, Violations, labels};
use serde_json::Value;
use time::OffsetDateTime;

use crate::destination;
use crate::generate::{Generated, generate};
use crate::hostnames::{Generator, ServiceName};
use crate::mesh_state::{DataplaneEntry, MeshState, MultiZoneEntry, ProxyState, ServiceEntry, insert, remove};
use crate::settings::Settings;
use crate::view::{Destination, DestinationKey, DnsTable, SidecarView};
use crate::vips::VipPool;
use crate::{multi_zone, service, sidecar};

/// Something to store.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Labels and spec of a resource; its status stays.
    Put(Resource),
    /// The status of a resource.
    Status(ResourceKey, Value),
    /// Remove it.
    Delete(ResourceKey),
}

/// A stored resource that cannot be used; it is left out and harms nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Which.
    pub key: ResourceKey,
    /// What is wrong with it.
    pub violations: Violations,
}

/// What one derivation brought. Maps hold what changed only; `None` means gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// To be stored.
    pub writes: Vec<Write>,
    /// Destinations of all meshes.
    pub destinations: BTreeMap<DestinationKey, Option<Arc<Destination>>>,
    /// Sidecars by (mesh, name).
    pub sidecars: BTreeMap<(String, String), Option<Arc<SidecarView>>>,
    /// Zone ingresses of this zone by core name.
    pub ingresses: BTreeMap<String, Option<Arc<ZoneIngress>>>,
    /// Meshes whose spec changed.
    pub meshes: BTreeMap<String, Option<Arc<Mesh>>>,
    /// DNS tables by mesh: hostname to addresses.
    pub dns: BTreeMap<String, Arc<DnsTable>>,
    /// Stored resources that cannot be used.
    pub problems: Vec<Problem>,
    /// When to derive again even if nothing changes: a grace period ends.
    pub deadline: Option<OffsetDateTime>,
}

/// Public addresses of zone ingresses, by zone.
#[derive(Clone, Debug, Default)]
pub(crate) struct IngressAddresses(BTreeMap<String, BTreeMap<String, (IpAddr, u32)>>);

impl IngressAddresses {
    /// Addresses of a zone's ingresses; two ingresses with one address count twice here, callers take a set.
    pub(crate) fn of_zone(&self, zone: &str) -> impl Iterator<Item = (IpAddr, u32)> + '_ {
        self.0
            .get(zone)
            .into_iter()
            .flat_map(|ingresses| ingresses.values().copied())
    }
}

/// Everything a zone control plane knows, and what follows from it.
#[derive(Clone, Debug)]
pub struct World {
    settings: Settings,
    meshes: BTreeMap<String, MeshState>,
    ingresses: BTreeMap<String, (String, Arc<ZoneIngress>)>,
    addresses: IngressAddresses,
    generators: BTreeMap<String, Arc<Generator>>,
    service_vips: VipPool,
    multi_zone_vips: VipPool,
    /// (mesh, service) whose grace period ends then.
    deadlines: BTreeSet<(OffsetDateTime, String, String)>,
    pending: Changes,
}

impl World {
    /// An empty world.
    pub fn new(settings: Settings) -> Self {
        Self {
            service_vips: VipPool::new(settings.mesh_service_vips),
            multi_zone_vips: VipPool::new(settings.mesh_multi_zone_service_vips),
            settings,
            meshes: BTreeMap::new(),
            ingresses: BTreeMap::new(),
            addresses: IngressAddresses::default(),
            generators: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            pending: Changes::default(),
        }
    }

    /// Takes a change of a stored resource, `None` for a deleted one, and marks what depends on it. Cheap; several
    /// changes may be applied before one [`World::derive`].
    pub fn apply(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        match key.kind {
            Kind::Mesh => self.apply_mesh(key, after),
            Kind::Dataplane => self.apply_dataplane(key, after),
            Kind::DataplaneInsight => self.apply_insight(key, after),
            Kind::MeshService => self.apply_service(key, after),
            Kind::MeshMultiZoneService => self.apply_multi_zone(key, after),
            Kind::ZoneIngress => self.apply_ingress(key, after),
            Kind::HostnameGenerator => self.apply_generator(key, after),
            Kind::MeshTrafficPermission => self.apply_permission(key, after),
            Kind::Zone
            | Kind::ZoneInsight
            | Kind::ZoneIngressInsight
            | Kind::Secret
            | Kind::GlobalSecret
            | Kind::Config => {}
        }
    }

    /// The typed payload; a resource that does not parse counts as absent.
    fn typed<T: Spec>(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) -> Option<(Arc<Resource>, T)> {
        let resource = after?;
        match resource.parse::<T>() {
            Ok(spec) => Some((resource.clone(), spec)),
            Err(violations) => {
                self.pending.problems.push(Problem {
                    key: key.clone(),
                    violations,
                });
                None
            }
        }
    }

    fn mesh(&mut self, name: &str) -> &mut MeshState {
        self.meshes.entry(name.to_owned()).or_default()
    }

    fn apply_mesh(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let spec = self.typed::<Mesh>(key, after).map(|(_, spec)| Arc::new(spec));
        let mesh = self.mesh(&key.name);
        if mesh.mesh == spec {
            return;
        }
        mesh.mesh.clone_from(&spec);
        mesh.dirty.dns = true;
        mesh.dirty.services.extend(mesh.services.keys().cloned());
        mesh.dirty.multi_zone.extend(mesh.multi_zone.keys().cloned());
        mesh.dirty.sidecars.extend(mesh.dataplanes.keys().cloned());
        let generated = mesh
            .services
            .values()
            .filter(|entry| entry.local)
            .map(|entry| entry.resource.name.clone());
        mesh.dirty
            .generate
            .extend(mesh.index.dataplanes_by_service.keys().cloned().chain(generated));
        self.pending.meshes.insert(key.name.clone(), spec);
    }

    fn apply_dataplane(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let new = self.typed(key, after).map(|(resource, spec)| DataplaneEntry {
            resource,
            spec: Arc::new(spec),
        });
        let mesh = self.mesh(&key.mesh);
        let name = &key.name;
        let old = mesh.dataplanes.remove(name);
        if let Some(old) = &old {
            for tag in service_tags(old) {
                remove(&mut mesh.index.dataplanes_by_service, &tag, name);
                mesh.dirty.generate.insert(tag);
            }
            mesh.index.explicit_outbounds.remove(name);
        }
        if let Some(new) = &new {
            for tag in service_tags(new) {
                insert(&mut mesh.index.dataplanes_by_service, tag.clone(), name);
                mesh.dirty.generate.insert(tag);
            }
            if sidecar::is_limited(&new.spec) {
                mesh.index.explicit_outbounds.insert(name.clone());
            }
        }
        mesh.dirty.sidecars.insert(name.clone());
        // Only services that selected it before or select it now are touched.
        let tags: BTreeSet<String> = old.iter().chain(&new).flat_map(service_tags).collect();
        for candidate in mesh.services_that_may_select(&tags) {
            let Some(entry) = mesh.services.get_mut(&candidate) else {
                continue;
            };
            let selected = new.as_ref().is_some_and(|new| service::selects(&entry.spec, new));
            let was_selected = if selected {
                !entry.matched.insert(name.clone())
            } else {
                entry.matched.remove(name)
            };
            if selected || was_selected {
                mesh.dirty.services.insert(candidate);
            }
        }
        if let Some(new) = new {
            mesh.dataplanes.insert(name.clone(), new);
        }
    }

    fn apply_insight(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let state = self
            .typed::<DataplaneInsight>(key, after)
            .map(|(_, insight)| ProxyState::of(&insight));
        let mesh = self.mesh(&key.mesh);
        let before = mesh.proxies.get(&key.name).copied();
        if before == state {
            return;
        }
        match state {
            Some(state) => mesh.proxies.insert(key.name.clone(), state),
            None => mesh.proxies.remove(&key.name),
        };
        let tags: BTreeSet<String> = mesh.dataplanes.get(&key.name).map(service_tags).unwrap_or_default();
        let services = mesh.services_that_may_select(&tags);
        mesh.dirty.services.extend(services);
    }

    fn apply_service(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let new = self.typed(key, after);
        let (own_zone, name) = (self.settings.zone.clone(), &key.name);
        let generators: Vec<_> = self.generators.values().cloned().collect();
        let mesh = self.mesh(&key.mesh);
        let old = mesh.services.remove(name);
        if let Some(old) = &old {
            deindex_service(mesh, name, old);
            mesh.mark_multi_zone_of(&old.resource.labels, |matched| {
                matched.remove(name);
            });
            mesh.dirty.generate.insert(name.clone());
        }
        mesh.dirty.services.insert(name.clone());
        let claims_changed =
            old.as_ref().map(|old| &old.resource.labels) != new.as_ref().map(|(resource, _)| &resource.labels);
        mesh.dirty.references |= claims_changed;
        let old_identity = old.as_ref().map(destination::identity_of);
        let mut identity = None;
        if let Some((resource, spec)) = new {
            let spec: meshspan_model::kinds::mesh_service::MeshService = spec;
            let local = resource.is_local(labels::ORIGIN_ZONE);
            let zone = if local {
                own_zone.clone()
            } else {
                resource.zone().to_owned()
            };
            let matched = match &old {
                Some(old) if old.local == local && old.spec.selector == spec.selector => old.matched.clone(),
                _ if local => mesh
                    .dataplanes
                    .iter()
                    .filter(|(_, entry)| service::selects(&spec, entry))
                    .map(|(name, _)| name.clone())
                    .collect(),
                _ => BTreeSet::new(),
            };
            mesh.dirty.references |= old.as_ref().is_none_or(|old| old.spec.ports != spec.ports);
            let derived = old.map(|old| old.derived).unwrap_or_default();
            let status = resource
                .status
                .as_ref()
                .and_then(|status| serde_json::from_value(status.clone()).ok())
                .unwrap_or_default();
            let entry = ServiceEntry {
                resource,
                spec: Arc::new(spec),
                status,
                local,
                zone,
                matched,
                derived,
            };
            identity = Some(destination::identity_of(&entry));
            index_service(mesh, name, &entry);
            mesh.mark_multi_zone_of(&entry.resource.labels, |matched| {
                matched.insert(name.clone());
            });
            if local {
                mesh.dirty.generate.insert(name.clone());
            }
            mesh.services.insert(name.clone(), entry);
        }
        if let Some(old) = old_identity.filter(|old| identity.as_ref() != Some(old)) {
            self.service_vips.release(&old);
        }
        if claims_changed {
            self.renew_claims(
                &key.mesh,
                &(Kind::MeshService, key.name.clone()),
                &own_zone,
                &generators,
            );
        }
    }

    fn apply_multi_zone(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let new = self.typed(key, after);
        let (own_zone, name) = (self.settings.zone.clone(), &key.name);
        let generators: Vec<_> = self.generators.values().cloned().collect();
        let mesh = self.mesh(&key.mesh);
        let first_label = |entry: &MultiZoneEntry| {
            let labels = &entry.spec.selector.mesh_service.match_labels;
            labels
                .first_key_value()
                .map(|(key, value)| (key.clone(), value.clone()))
        };
        let old = mesh.multi_zone.remove(name);
        if let Some(label) = old.as_ref().and_then(first_label) {
            remove(&mut mesh.index.multi_zone_by_label, &label, name);
        }
        mesh.dirty.multi_zone.insert(name.clone());
        let claims_changed =
            old.as_ref().map(|old| &old.resource.labels) != new.as_ref().map(|(resource, _)| &resource.labels);
        mesh.dirty.references |= claims_changed;
        let old_identity = old.as_ref().map(|old| old.resource.identity());
        let identity = new.as_ref().map(|(resource, _)| resource.identity());
        if let Some((resource, spec)) = new {
            let spec: meshspan_model::kinds::mesh_multi_zone_service::MeshMultiZoneService = spec;
            mesh.dirty.references |= old.as_ref().is_none_or(|old| old.spec.ports != spec.ports);
            let status = resource
                .status
                .as_ref()
                .and_then(|status| serde_json::from_value(status.clone()).ok())
                .unwrap_or_default();
            let matched = match &old {
                Some(old) if old.spec.selector == spec.selector => old.matched.clone(),
                _ => multi_zone::matches(mesh, &spec),
            };
            let vip = old.and_then(|old| old.vip);
            let entry = MultiZoneEntry {
                resource,
                spec: Arc::new(spec),
                status,
                matched,
                vip,
            };
            if let Some(label) = first_label(&entry) {
                insert(&mut mesh.index.multi_zone_by_label, label, name);
            }
            mesh.multi_zone.insert(name.clone(), entry);
        }
        if let Some(old) = old_identity.filter(|old| identity.as_ref() != Some(old)) {
            self.multi_zone_vips.release(&old);
        }
        if claims_changed {
            self.renew_claims(
                &key.mesh,
                &(Kind::MeshMultiZoneService, key.name.clone()),
                &own_zone,
                &generators,
            );
        }
    }

    fn renew_claims(&mut self, mesh: &str, service: &ServiceName, own_zone: &str, generators: &[Arc<Generator>]) {
        let mesh = self.mesh(mesh);
        let resource = match service.0 {
            Kind::MeshService => mesh.services.get(&service.1).map(|entry| entry.resource.clone()),
            _ => mesh.multi_zone.get(&service.1).map(|entry| entry.resource.clone()),
        };
        let affected = mesh
            .hostnames
            .update(service, resource.as_deref(), own_zone, generators.iter());
        for (kind, name) in affected.into_iter().chain([service.clone()]) {
            match kind {
                Kind::MeshService => mesh.dirty.services.insert(name),
                _ => mesh.dirty.multi_zone.insert(name),
            };
        }
        mesh.dirty.dns = true;
    }

    fn apply_generator(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let generator = self
            .typed(key, after)
            .and_then(|(resource, spec)| Generator::new(&resource, spec));
        match generator {
            Some(generator) => self.generators.insert(key.name.clone(), generator),
            None => self.generators.remove(&key.name),
        };
        let (own_zone, generators) = (
            self.settings.zone.clone(),
            self.generators.values().cloned().collect::<Vec<_>>(),
        );
        let names: Vec<_> = self.meshes.keys().cloned().collect();
        for name in names {
            let mesh = self.mesh(&name);
            let services: BTreeSet<ServiceName> = mesh
                .hostnames
                .services()
                .cloned()
                .chain(mesh.services.keys().map(|name| (Kind::MeshService, name.clone())))
                .chain(
                    mesh.multi_zone
                        .keys()
                        .map(|name| (Kind::MeshMultiZoneService, name.clone())),
                )
                .collect();
            for service in services {
                self.renew_claims(&name, &service, &own_zone, &generators);
            }
        }
    }

    fn apply_permission(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let new = self.typed(key, after);
        let mesh = self.mesh(&key.mesh);
        match new {
            Some(policy) => mesh.permissions.insert(key.name.clone(), policy),
            None => mesh.permissions.remove(&key.name),
        };
        mesh.dirty.sidecars.extend(mesh.dataplanes.keys().cloned());
    }

    fn apply_ingress(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let new = self.typed::<ZoneIngress>(key, after).map(|(resource, spec)| {
            let zone = if resource.is_local(labels::ORIGIN_ZONE) {
                self.settings.zone.clone()
            } else if spec.zone.is_empty() {
                resource.zone().to_owned()
            } else {
                spec.zone.clone()
            };
            (zone, Arc::new(spec))
        });
        let old = self.ingresses.remove(&key.name);
        if let Some(new) = &new {
            self.ingresses.insert(key.name.clone(), new.clone());
        }
        if old == new {
            return;
        }
        let mut zones = BTreeSet::new();
        if let Some((zone, _)) = &old {
            if let Some(addresses) = self.addresses.0.get_mut(zone) {
                addresses.remove(&key.name);
            }
            zones.insert(zone.clone());
        }
        if let Some((zone, spec)) = &new {
            let public = spec
                .public_address()
                .and_then(|(address, port)| Some((address.parse().ok()?, port)));
            if let Some(public) = public {
                self.addresses
                    .0
                    .entry(zone.clone())
                    .or_default()
                    .insert(key.name.clone(), public);
            }
            zones.insert(zone.clone());
        }
        let own = &self.settings.zone;
        if old.as_ref().or(new.as_ref()).is_some_and(|(zone, _)| zone == own) {
            self.pending
                .ingresses
                .insert(key.name.clone(), new.map(|(_, spec)| spec));
        }
        for mesh in self.meshes.values_mut() {
            for name in zones
                .iter()
                .filter_map(|zone| mesh.index.services_by_zone.get(zone))
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
            {
                let labels = mesh
                    .services
                    .get(&name)
                    .map(|entry| entry.resource.labels.clone())
                    .unwrap_or_default();
                mesh.mark_multi_zone_of(&labels, |_| ());
                mesh.dirty.services.insert(name);
            }
        }
    }

    /// Recomputes what is marked and returns what came out different.
    pub fn derive(&mut self, now: OffsetDateTime) -> Changes {
        let mut changes = std::mem::take(&mut self.pending);
        while let Some((when, _, _)) = self.deadlines.first()
            && *when <= now
            && let Some((_, mesh, service)) = self.deadlines.pop_first()
        {
            self.mesh(&mesh).dirty.generate.insert(service);
        }
        for (name, mesh) in &mut self.meshes {
            let mut dirty = std::mem::take(&mut mesh.dirty);
            for service in &dirty.generate {
                match generate(name, mesh, service, &self.settings, now) {
                    Generated::Unchanged => {}
                    Generated::Write(write) => changes.writes.push(*write),
                    Generated::Later(when) => {
                        self.deadlines.insert((when, name.clone(), service.clone()));
                    }
                }
            }
            for service in &dirty.services {
                let touched = derive_service(
                    mesh,
                    name,
                    service,
                    &mut self.service_vips,
                    &self.addresses,
                    &mut changes,
                );
                dirty.multi_zone.extend(touched.multi_zone);
                dirty.dns |= touched.dns;
            }
            for service in &dirty.multi_zone {
                dirty.dns |= derive_multi_zone(
                    mesh,
                    name,
                    service,
                    &mut self.multi_zone_vips,
                    &self.addresses,
                    &self.settings,
                    &mut changes,
                );
            }
            if dirty.dns {
                derive_dns(mesh, name, &mut changes);
            }
            if dirty.references {
                dirty.sidecars.extend(mesh.index.explicit_outbounds.iter().cloned());
            }
            for dataplane in &dirty.sidecars {
                derive_sidecar(mesh, name, dataplane, &self.settings.zone, &mut changes);
            }
        }
        changes.deadline = self.deadlines.first().map(|(when, _, _)| *when);
        changes
    }
}

#[derive(Default)]
struct Touched {
    multi_zone: BTreeSet<String>,
    dns: bool,
}

fn derive_service(
    mesh: &mut MeshState,
    mesh_name: &str,
    name: &str,
    vips: &mut VipPool,
    ingresses: &IngressAddresses,
    changes: &mut Changes,
) -> Touched {
    let mut touched = Touched::default();
    let service_name = (Kind::MeshService, name.to_owned());
    let Some(entry) = mesh.services.get(name).filter(|_| mesh.mesh.is_some()) else {
        publish(mesh, service_name, BTreeMap::new(), changes);
        touched.dns = true;
        return touched;
    };
    let vip = vips.assign(
        &destination::identity_of(entry),
        service::stored_vip(&entry.status.vips),
    );
    let derived = if entry.local {
        service::derive_local(mesh, entry, vip)
    } else {
        service::derive_remote(entry, vip)
    };
    touched.dns = derived.vip != entry.derived.vip;
    if let Some(entry) = mesh.services.get_mut(name) {
        entry.derived = derived;
    }
    let Some(entry) = mesh.services.get(name) else {
        return touched;
    };
    touched
        .multi_zone
        .extend(mesh.multi_zone_matching(&entry.resource.labels));
    if entry.local
        && let Some(resource) = service::with_computed(entry)
    {
        // A generator's write of this round carries the older state; it comes back and this one follows.
        let generated = |write: &Write| matches!(write, Write::Put(put) if put.kind == Kind::MeshService && put.mesh == mesh_name && put.name == name);
        match changes.writes.iter_mut().find(|write| generated(write)) {
            Some(Write::Put(put)) => merge_computed(put, &resource),
            _ => changes.writes.push(Write::Put(resource)),
        }
    }
    let status = service::status(entry, mesh);
    if status != entry.status {
        let key = ResourceKey::new(Kind::MeshService, mesh_name, name);
        changes
            .writes
            .push(Write::Status(key, serde_json::to_value(status).unwrap_or_default()));
    }
    let destinations = destination::of_service(mesh, entry, ingresses);
    publish(mesh, service_name, destinations, changes);
    touched
}

/// Puts `state` and `identities` of `computed` into a resource that the generator is about to write.
fn merge_computed(generated: &mut Resource, computed: &Resource) {
    for field in ["state", "identities"] {
        if let (Some(spec), Some(value)) = (generated.spec.as_object_mut(), computed.spec.get(field)) {
            spec.insert(field.to_owned(), value.clone());
        }
    }
}

fn derive_multi_zone(
    mesh: &mut MeshState,
    mesh_name: &str,
    name: &str,
    vips: &mut VipPool,
    ingresses: &IngressAddresses,
    settings: &Settings,
    changes: &mut Changes,
) -> bool {
    let service_name = (Kind::MeshMultiZoneService, name.to_owned());
    let Some(entry) = mesh.multi_zone.get(name).filter(|_| mesh.mesh.is_some()) else {
        publish(mesh, service_name, BTreeMap::new(), changes);
        return true;
    };
    let vip = vips.assign(&entry.resource.identity(), service::stored_vip(&entry.status.vips));
    let dns = vip != entry.vip;
    if let Some(entry) = mesh.multi_zone.get_mut(name) {
        entry.vip = vip;
    }
    let Some(entry) = mesh.multi_zone.get(name) else {
        return dns;
    };
    let status = multi_zone::status(mesh, entry, ingresses, vips.range());
    if status != entry.status {
        let key = ResourceKey::new(Kind::MeshMultiZoneService, mesh_name, name);
        changes
            .writes
            .push(Write::Status(key, serde_json::to_value(status).unwrap_or_default()));
    }
    let destinations = destination::of_multi_zone(mesh, entry, &settings.zone, ingresses);
    publish(mesh, service_name, destinations, changes);
    dns
}

/// Hands out the destinations of a service that differ from what was handed out before.
fn publish(
    mesh: &mut MeshState,
    service: ServiceName,
    destinations: BTreeMap<DestinationKey, Destination>,
    changes: &mut Changes,
) {
    let before = mesh.destinations.remove(&service).unwrap_or_default();
    let mut after = BTreeMap::new();
    for (key, destination) in destinations {
        let shared = match before.get(&key) {
            Some(old) if **old == destination => old.clone(),
            _ => {
                let new = Arc::new(destination);
                changes.destinations.insert(key.clone(), Some(new.clone()));
                new
            }
        };
        after.insert(key, shared);
    }
    for key in before.into_keys().filter(|key| !after.contains_key(key)) {
        changes.destinations.insert(key, None);
    }
    if !after.is_empty() {
        mesh.destinations.insert(service, after);
    }
}

fn derive_dns(mesh: &mut MeshState, mesh_name: &str, changes: &mut Changes) {
    let mut table = DnsTable::new();
    let services = mesh
        .services
        .iter()
        .filter_map(|(name, entry)| Some(((Kind::MeshService, name.clone()), entry.derived.vip?)));
    let multi_zone = mesh
        .multi_zone
        .iter()
        .filter_map(|(name, entry)| Some(((Kind::MeshMultiZoneService, name.clone()), entry.vip?)));
    // Without its Mesh, whose deletion takes all of this with it, nothing has a name.
    for (service, vip) in services.chain(multi_zone).filter(|_| mesh.mesh.is_some()) {
        for address in mesh.hostnames.of(&service).0 {
            table.insert(address.hostname.into(), vec![vip]);
        }
    }
    if *mesh.dns != table {
        mesh.dns = Arc::new(table);
        changes.dns.insert(mesh_name.to_owned(), mesh.dns.clone());
    }
}

fn derive_sidecar(mesh: &mut MeshState, mesh_name: &str, name: &str, own_zone: &str, changes: &mut Changes) {
    let view = mesh
        .dataplanes
        .get(name)
        .and_then(|entry| sidecar::view(mesh, entry, own_zone));
    let key = (mesh_name.to_owned(), name.to_owned());
    match view {
        Some(view) if mesh.sidecars.get(name).is_some_and(|old| **old == view) => {}
        Some(view) => {
            let view = Arc::new(view);
            mesh.sidecars.insert(name.to_owned(), view.clone());
            changes.sidecars.insert(key, Some(view));
        }
        None => {
            if mesh.sidecars.remove(name).is_some() {
                changes.sidecars.insert(key, None);
            }
        }
    }
}

fn service_tags(entry: &DataplaneEntry) -> BTreeSet<String> {
    entry
        .spec
        .networking
        .inbound
        .iter()
        .map(|inbound| inbound.service().to_owned())
        .filter(|service| !service.is_empty())
        .collect()
}

fn index_service(mesh: &mut MeshState, name: &str, entry: &ServiceEntry) {
    insert(&mut mesh.index.services_by_zone, entry.zone.clone(), name);
    if entry.local {
        match selector_tag(entry) {
            Some(tag) => insert(&mut mesh.index.services_by_tag, tag, name),
            None => {
                mesh.index.services_otherwise.insert(name.to_owned());
            }
        }
    }
}

fn deindex_service(mesh: &mut MeshState, name: &str, entry: &ServiceEntry) {
    remove(&mut mesh.index.services_by_zone, &entry.zone, name);
    if let Some(tag) = selector_tag(entry) {
        remove(&mut mesh.index.services_by_tag, &tag, name);
    }
    mesh.index.services_otherwise.remove(name);
}

fn selector_tag(entry: &ServiceEntry) -> Option<String> {
    let selector = &entry.spec.selector;
    if selector.dataplane_ref.is_some() || selector.dataplane_labels.is_some() {
        return None;
    }
    selector.dataplane_tags.as_ref()?.get(labels::TAG_SERVICE).cloned()
}
