//! Taking changes: keeps the typed resources and indexes, and marks what depends on what changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::dataplane_insight::DataplaneInsight;
use meshspan_model::kinds::mesh::Mesh;
use meshspan_model::kinds::mesh_multi_zone_service::MeshMultiZoneService;
use meshspan_model::kinds::mesh_service::MeshService;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_model::policy::PolicyKind;
use meshspan_model::{Kind, Resource, ResourceKey, ServiceIdentity, labels};
use meshspan_policy::{Policy, PolicyId, Service, ServicePort};

use super::{IngressEntry, Problem, World};
use crate::hostnames::{Generator, ServiceName};
use crate::mesh_state::{DataplaneEntry, MeshState, MultiZoneEntry, ProxyState, ServiceEntry, insert, remove};
use crate::{destination, multi_zone, service, sidecar};

impl World {
    pub(super) fn apply_mesh(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
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

    pub(super) fn apply_dataplane(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let new = self.typed::<Dataplane>(key, after);
        let networking = new.as_ref().map(|(_, spec)| &spec.networking);
        let names = networking
            .into_iter()
            .flat_map(|networking| [&networking.address, &networking.advertised_address]);
        self.note_hosts(key, names.map(String::as_str));
        let new = new.map(|(resource, mut spec)| {
            self.hosts.substitute(&mut spec.networking.address);
            self.hosts.substitute(&mut spec.networking.advertised_address);
            let unresolved = self.hosts.unresolved(key);
            DataplaneEntry::new(resource, spec, unresolved, &self.settings.zone)
        });
        self.note_address_in_vip_range(key, new.as_ref());
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

    /// A host inside a range of virtual IPs is a problem of all services with an address from there.
    fn note_address_in_vip_range(&mut self, key: &ResourceKey, new: Option<&DataplaneEntry>) {
        let ranges = [
            self.settings.mesh_service_vips,
            self.settings.mesh_multi_zone_service_vips,
        ];
        let address = new
            .and_then(|new| new.spec.networking.address.parse().ok())
            .filter(|address| ranges.iter().any(|range| range.contains(*address)));
        let mesh = self.mesh(&key.mesh);
        if mesh.addresses_in_vip_ranges.get(&key.name) == address.as_ref() {
            return;
        }
        match address {
            Some(address) => mesh.addresses_in_vip_ranges.insert(key.name.clone(), address),
            None => mesh.addresses_in_vip_ranges.remove(&key.name),
        };
        mesh.dirty.services.extend(mesh.services.keys().cloned());
        mesh.dirty.multi_zone.extend(mesh.multi_zone.keys().cloned());
    }

    pub(super) fn apply_insight(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let state = self
            .typed::<DataplaneInsight>(key, after)
            .map(|(_, insight)| ProxyState::of(&insight));
        let mesh = self.mesh(&key.mesh);
        if mesh.proxies.get(&key.name) == state.as_ref() {
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

    pub(super) fn apply_service(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
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
            let spec: MeshService = spec;
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
            mesh.dirty.references |= old
                .as_ref()
                .is_none_or(|old| old.spec.ports != spec.ports || old.spec.selector != spec.selector);
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
            mesh.set_target(policy_target(
                destination::identity_of(&entry),
                &entry.resource,
                entry.spec.ports.iter().map(|port| (&port.name, port.port)),
            ));
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
            mesh.remove_target(&old);
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

    pub(super) fn apply_multi_zone(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
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
            let spec: MeshMultiZoneService = spec;
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
            mesh.set_target(policy_target(
                entry.resource.identity(),
                &entry.resource,
                entry.spec.ports.iter().map(|port| (&port.name, port.port)),
            ));
            if let Some(label) = first_label(&entry) {
                insert(&mut mesh.index.multi_zone_by_label, label, name);
            }
            mesh.multi_zone.insert(name.clone(), entry);
        }
        if let Some(old) = old_identity.filter(|old| identity.as_ref() != Some(old)) {
            mesh.remove_target(&old);
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

    pub(super) fn apply_generator(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
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

    /// What this zone told comes back through the store, so that it is told again only when it changes.
    pub(super) fn apply_told(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let new = self.typed(key, after).map(|(_, insight)| insight);
        let mesh = self.mesh(&key.mesh);
        match new {
            Some(insight) => mesh.told.insert(key.name.clone(), insight),
            None => mesh.told.remove(&key.name),
        };
        mesh.dirty.multi_zone.insert(key.name.clone());
    }

    pub(super) fn apply_policy(&mut self, kind: PolicyKind, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let policy = after.and_then(|resource| match Policy::load(kind, resource.clone()) {
            Ok(policy) => Some(policy),
            Err(violations) => {
                self.pending.problems.push(Problem {
                    key: key.clone(),
                    violations,
                });
                None
            }
        });
        let id = PolicyId {
            kind,
            mesh: key.mesh.clone(),
            name: key.name.clone(),
        };
        let mesh = self.mesh(&key.mesh);
        let proxies = mesh.dataplanes.iter().map(|(name, entry)| (name, &*entry.proxy));
        let touched = mesh.policies.apply(&id, policy, proxies);
        mesh.dirty.sidecars.extend(touched);
        mesh.dirty.policies = true;
    }

    /// Notes the host names that a resource uses.
    fn note_hosts<'a>(&mut self, key: &ResourceKey, names: impl Iterator<Item = &'a str>) {
        if self.hosts.set_used(key, names) {
            self.pending.host_names = Some(self.hosts.names());
        }
    }

    pub(super) fn apply_ingress(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let new = self.typed::<ZoneIngress>(key, after);
        self.note_hosts(
            key,
            new.iter().map(|(_, spec)| spec.networking.advertised_address.as_str()),
        );
        let new = new.map(|(resource, mut spec)| {
            self.hosts.substitute(&mut spec.networking.advertised_address);
            let zone = if resource.is_local(labels::ORIGIN_ZONE) {
                self.settings.zone.clone()
            } else if spec.zone.is_empty() {
                resource.zone().to_owned()
            } else {
                spec.zone.clone()
            };
            IngressEntry {
                resource,
                zone,
                spec: Arc::new(spec),
                unresolved: self.hosts.unresolved(key),
            }
        });
        let old = self.ingresses.remove(&key.name);
        if let Some(new) = &new {
            self.ingresses.insert(key.name.clone(), new.clone());
        }
        let place = |entry: &IngressEntry| (entry.zone.clone(), entry.spec.clone(), entry.unresolved.clone());
        if old.as_ref().map(place) == new.as_ref().map(place) {
            return;
        }
        let mut zones = BTreeSet::new();
        if let Some(IngressEntry { zone, .. }) = &old {
            self.addresses.remove(zone, &key.name);
            zones.insert(zone.clone());
        }
        if let Some(IngressEntry {
            zone, spec, unresolved, ..
        }) = &new
        {
            self.addresses.insert(zone, &key.name, spec, unresolved);
            zones.insert(zone.clone());
        }
        let own = &self.settings.zone;
        if old.as_ref().or(new.as_ref()).is_some_and(|entry| entry.zone == *own) {
            self.pending
                .ingresses
                .insert(key.name.clone(), new.map(|entry| entry.spec));
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
}

/// A service as policies refer to it.
fn policy_target<'a>(
    identity: ServiceIdentity,
    resource: &Resource,
    ports: impl Iterator<Item = (&'a String, u32)>,
) -> Service {
    Service {
        identity,
        labels: resource.labels.clone(),
        ports: ports
            .map(|(name, port)| ServicePort {
                name: name.clone(),
                port,
            })
            .collect(),
        creation_time: resource.creation_time,
    }
}

pub(super) fn service_tags(entry: &DataplaneEntry) -> BTreeSet<String> {
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
