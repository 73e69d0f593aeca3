//! Deriving: recomputes what is marked, hands out what came out different.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_model::{Kind, Resource, ResourceKey};
use time::OffsetDateTime;

use super::apply::service_tags;
use super::{Changes, World, Write};
use crate::dirty::Dirty;
use crate::generate::{Generated, generate};
use crate::hostnames::ServiceName;
use crate::ingress_addresses::IngressAddresses;
use crate::mesh_state::MeshState;
use crate::permissions::open_inbounds;
use crate::settings::Settings;
use crate::view::{Destination, DestinationKey, DnsTable, SidecarView};
use crate::vips::VipPool;
use crate::{destination, multi_zone, service, sidecar};

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
            for service in &dirty.generate {
                match generate(name, mesh, service, &self.settings, now) {
                    Generated::Unchanged => {}
                    Generated::Write(write) => changes.writes.push(*write),
                    Generated::Later(when) => {
                        self.deadlines.insert((when, name.clone(), service.clone()));
                    }
                }
            }
            // Before services, which say whom their proxies let in.
            if dirty.references {
                dirty.sidecars.extend(mesh.index.explicit_outbounds.iter().cloned());
            }
            if dirty.policies {
                mesh.policies.refresh();
            }
            for dataplane in &dirty.sidecars {
                if derive_sidecar(mesh, name, dataplane, &self.settings, &mut changes) {
                    let tags = mesh.dataplanes.get(dataplane).map(service_tags).unwrap_or_default();
                    dirty.services.extend(mesh.services_that_may_select(&tags));
                }
            }
            for service in &dirty.services {
                let touched = derive_service(
                    mesh,
                    name,
                    service,
                    &mut self.service_vips,
                    &self.addresses,
                    &self.settings.zone,
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
            derive_policies(mesh, name, &dirty, &mut changes);
        }
        changes.deadline = self.deadlines.first().map(|(when, _, _)| *when);
        if self.service_vips.has_freed() || self.multi_zone_vips.has_freed() {
            // A service moved to the address in its status just now.
            changes.deadline = Some(now);
        }
        changes
    }

    /// Marks the services that found their range exhausted, if an address became free since.
    fn hand_out_freed_addresses(&mut self) {
        let (services, multi_zone) = (self.service_vips.take_freed(), self.multi_zone_vips.take_freed());
        if !services && !multi_zone {
            return;
        }
        for mesh in self.meshes.values_mut() {
            if services {
                let without = mesh.services.iter().filter(|(_, entry)| entry.derived.vip.is_none());
                mesh.dirty.services.extend(without.map(|(name, _)| name.clone()));
            }
            if multi_zone {
                let without = mesh.multi_zone.iter().filter(|(_, entry)| entry.vip.is_none());
                mesh.dirty.multi_zone.extend(without.map(|(name, _)| name.clone()));
            }
        }
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
    own_zone: &str,
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
    let status = service::status(entry, mesh, vips.range());
    if status != entry.status {
        let key = ResourceKey::new(Kind::MeshService, mesh_name, name);
        changes
            .writes
            .push(Write::Status(key, serde_json::to_value(status).unwrap_or_default()));
    }
    let destinations = destination::of_service(mesh, entry, own_zone, ingresses);
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
    let destinations = destination::of_multi_zone(mesh, entry, &settings.zone, ingresses);
    let status = multi_zone::status(mesh, entry, &destinations, ingresses, vips.range());
    if settings.federated
        && let Some(insight) = multi_zone::insight(mesh, entry, &status, &settings.zone)
    {
        changes.writes.push(Write::Put(insight));
    }
    if status != entry.status {
        let key = ResourceKey::new(Kind::MeshMultiZoneService, mesh_name, name);
        changes
            .writes
            .push(Write::Status(key, serde_json::to_value(status).unwrap_or_default()));
    }
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

/// True if other inbounds than before are open to somebody.
fn derive_sidecar(
    mesh: &mut MeshState,
    mesh_name: &str,
    name: &str,
    settings: &Settings,
    changes: &mut Changes,
) -> bool {
    let entry = mesh.dataplanes.get(name).filter(|_| mesh.mesh.is_some()).cloned();
    let view = entry.and_then(|entry| {
        let policies = mesh.policies.of_proxy(name, &entry.proxy, sidecar::source(&entry));
        sidecar::view(mesh, &entry, policies, settings)
    });
    if view.is_none() {
        mesh.policies.remove_proxy(name);
    }
    let key = (mesh_name.to_owned(), name.to_owned());
    let open = |view: Option<&SidecarView>| view.map(|view| open_inbounds(&view.sidecar));
    let opened = open(mesh.sidecars.get(name).map(AsRef::as_ref)) != open(view.as_ref());
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
    opened
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
