//! Deriving: recomputes what is marked, hands out what came out different.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_model::{Resource, ServiceKind};
use time::OffsetDateTime;

use super::apply::dataplane::service_tags;
use super::{Changes, World, Write};
use crate::dirty::Dirty;
use crate::generate::{Generated, generate};
use crate::mesh_state::MeshState;
use crate::permissions::admitted;
use crate::services::{Context, ServiceKey};
use crate::settings::Settings;
use crate::view::{Destination, DestinationKey, DnsChanges, SidecarView};
use crate::vips::VipPools;
use crate::zone_proxies::ZoneProxies;
use crate::{services, sidecar};

impl World {
    /// Recomputes what is marked and returns what came out different.
    pub fn derive(&mut self, now: OffsetDateTime) -> Changes {
        let mut changes = std::mem::take(&mut self.pending);
        while let Some((when, _, _)) = self.deadlines.first()
            && *when <= now
            && let Some((_, mesh, service)) = self.deadlines.pop_first()
        {
            self.mesh(&mesh).dirty.generate.insert(service);
        }
        self.hand_out_freed_addresses();
        for (name, mesh) in &mut self.meshes {
            let mut dirty = std::mem::take(&mut mesh.dirty);
            let mut generated = BTreeMap::new();
            for service in &dirty.generate {
                match generate(name, mesh, service, &self.settings, now) {
                    Generated::Unchanged => {}
                    Generated::Write(write) => {
                        generated.insert(service.clone(), changes.writes.len());
                        changes.writes.push(*write);
                    }
                    Generated::Later(when) => {
                        self.deadlines.insert((when, name.clone(), service.clone()));
                    }
                }
            }
            // Before services, which say whom their proxies let in.
            if dirty.policies {
                mesh.policies.refresh();
            }
            for dataplane in &dirty.sidecars {
                if derive_sidecar(mesh, name, dataplane, &self.settings, &mut changes) {
                    let tags = mesh.dataplanes.get(dataplane).map(service_tags).unwrap_or_default();
                    let touched = mesh.services_that_may_select(&tags).into_iter();
                    let keys = touched.map(|name| ServiceKey::new(ServiceKind::MeshService, name));
                    dirty.services.extend(keys);
                }
            }
            let mut derivation = Derivation {
                settings: &self.settings,
                ingresses: &self.ingress_addresses,
                egresses: &self.egress_addresses,
                vips: &mut self.vips,
                changes: &mut changes,
                generated,
            };
            // Those that depend on one are of later kinds, so each is derived once.
            while let Some(service) = dirty.services.pop_first() {
                dirty.services.extend(derivation.service(mesh, name, &service));
            }
            derive_policies(mesh, name, &dirty, &mut changes);
        }
        changes.deadline = self.deadlines.first().map(|(when, _, _)| *when);
        if self.vips.has_freed() {
            // A service moved to the address in its status just now.
            changes.deadline = Some(now);
        }
        changes
    }

    /// Marks the services that found their range exhausted, if an address became free since.
    fn hand_out_freed_addresses(&mut self) {
        for kind in self.vips.take_freed() {
            for mesh in self.meshes.values_mut() {
                let services = mesh.services.iter();
                let without = services.filter(|(key, entry)| key.kind == kind && entry.vip().is_none());
                mesh.dirty.services.extend(without.map(|(key, _)| key));
            }
        }
    }
}

/// What deriving the services of one mesh uses and brings.
struct Derivation<'a> {
    settings: &'a Settings,
    ingresses: &'a ZoneProxies,
    egresses: &'a ZoneProxies,
    vips: &'a mut VipPools,
    changes: &'a mut Changes,
    /// Where the generator's writes of this round are, by name.
    generated: BTreeMap<String, usize>,
}

impl Derivation<'_> {
    /// Derives a service and returns those that depend on it.
    fn service(&mut self, mesh: &mut MeshState, mesh_name: &str, key: &ServiceKey) -> Vec<ServiceKey> {
        let mut dns = DnsChanges::new();
        let entry = mesh.services.get(key).filter(|_| mesh.mesh.is_some());
        let Some(identity) = entry.map(|entry| (entry.identity(), entry.stored_vip())) else {
            publish(mesh, key, BTreeMap::new(), self.changes);
            mesh.dns.clear(key, &mut dns);
            self.add_dns(mesh_name, dns);
            return Vec::new();
        };
        let (identity, stored_vip) = identity;
        let vip = self.vips.assign(key.kind, &identity, stored_vip);
        let context = Context {
            zone: &self.settings.zone,
            federated: self.settings.federated,
            ingresses: self.ingresses,
            egresses: self.egresses,
            range: self.settings.vips(key.kind),
        };
        let outcome = services::derive(mesh, key, vip, &context);
        match vip {
            Some(vip) => {
                let names = mesh.hostnames.of(key).0.into_iter();
                let names = names.map(|address| address.hostname.into()).collect();
                mesh.dns.set(key, names, vip, &mut dns);
            }
            None => mesh.dns.clear(key, &mut dns),
        }
        self.add_dns(mesh_name, dns);
        if let Some(resource) = outcome.put {
            self.put(resource);
        }
        let writes = &mut self.changes.writes;
        writes.extend(outcome.insight.map(Write::Put));
        writes.extend(
            outcome
                .status
                .map(|status| Write::Status(key.resource(mesh_name), status)),
        );
        publish(mesh, key, outcome.destinations, self.changes);
        outcome.dependents
    }

    /// Writes what the zone computes into the spec of a MeshService. A generator's write of this round carries the older state.
    fn put(&mut self, resource: Resource) {
        let generated = self.generated.get(&resource.name);
        match generated.and_then(|index| self.changes.writes.get_mut(*index)) {
            Some(Write::Put(put)) => merge_computed(put, &resource),
            _ => self.changes.writes.push(Write::Put(resource)),
        }
    }

    fn add_dns(&mut self, mesh: &str, changes: DnsChanges) {
        if !changes.is_empty() {
            self.changes.dns.entry(mesh.to_owned()).or_default().extend(changes);
        }
    }
}

/// Puts `state` and `identities` of `computed` into a resource that the generator is about to write.
fn merge_computed(generated: &mut Resource, computed: &Resource) {
    for field in ["state", "identities"] {
        if let (Some(spec), Some(value)) = (generated.spec.as_object_mut(), computed.spec.get(field)) {
            spec.insert(field.to_owned(), value.clone());
        }
    }
}

/// Hands out the destinations of a service that differ from what was handed out before.
fn publish(
    mesh: &mut MeshState,
    service: &ServiceKey,
    destinations: BTreeMap<DestinationKey, Destination>,
    changes: &mut Changes,
) {
    let before = mesh.destinations.remove(service).unwrap_or_default();
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
        mesh.destinations.insert(service.clone(), after);
    }
}

/// True if its inbounds let in other clients than before.
fn derive_sidecar(
    mesh: &mut MeshState,
    mesh_name: &str,
    name: &str,
    settings: &Settings,
    changes: &mut Changes,
) -> bool {
    let entry = mesh.dataplanes.get(name).filter(|_| mesh.mesh.is_some()).cloned();
    let view = entry.and_then(|entry| {
        let policies = mesh.policies.of_proxy(name, &entry.proxy);
        sidecar::view(mesh, &entry, policies, settings)
    });
    if view.is_none() {
        mesh.policies.remove_proxy(name);
    }
    let key = (mesh_name.to_owned(), name.to_owned());
    let clients = |view: Option<&SidecarView>| view.map(|view| admitted(&view.sidecar));
    let is_admission_changed = clients(mesh.sidecars.get(name).map(AsRef::as_ref)) != clients(view.as_ref());
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
    is_admission_changed
}

/// Derives what policies say about destinations, if policies, proxies or the set of destinations changed.
fn derive_policies(mesh: &mut MeshState, mesh_name: &str, dirty: &Dirty, changes: &mut Changes) {
    let of_mesh = |key: &DestinationKey| key.service.mesh == mesh_name;
    let changed = changes.destinations.iter().filter(|(key, _)| of_mesh(key));
    let mut came_or_went = BTreeSet::new();
    for (key, destination) in changed {
        let edited = match destination {
            Some(_) => mesh.destination_keys.insert(key.clone()),
            None => mesh.destination_keys.remove(key),
        };
        if edited {
            came_or_went.insert(key.clone());
        }
    }
    if came_or_went.is_empty() && !dirty.policies && dirty.sidecars.is_empty() {
        return;
    }
    for (class, changed) in mesh.policies.derive(&mesh.destination_keys, &came_or_went) {
        changes.policies.insert((mesh_name.to_owned(), class), changed);
    }
}
