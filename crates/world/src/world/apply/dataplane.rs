//! Taking changes of Dataplanes and of what is known of their proxies.

use std::collections::BTreeSet;
use std::sync::Arc;

use meshspan_model::kinds::dataplane::{Dataplane, names_no_service};
use meshspan_model::kinds::dataplane_insight::DataplaneInsight;
use meshspan_model::labels::TAG_SERVICE;
use meshspan_model::{Resource, ResourceKey};

use crate::mesh_state::{DataplaneEntry, MeshState, ProxyState, insert, remove};
use crate::services::selects;
use crate::sidecar;
use crate::world::World;

impl World {
    pub(in crate::world) fn apply_dataplane(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
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
        note_clients(mesh, name, old.as_ref(), new.as_ref());
        if let Some(old) = &old {
            for tag in service_tags(old) {
                remove(&mut mesh.index.dataplanes_by_service, &tag, name);
                if !mesh.index.dataplanes_by_service.contains_key(&tag) {
                    mesh.index.misnamed.remove(&tag);
                }
                mesh.dirty.generate.insert(tag);
            }
            for reference in sidecar::references(&old.spec) {
                remove(&mut mesh.index.referrers, &reference, name);
            }
        }
        if let Some(new) = &new {
            for tag in service_tags(new) {
                insert(&mut mesh.index.dataplanes_by_service, tag.clone(), name);
                if names_no_service(&tag).is_some() {
                    mesh.index.misnamed.insert(tag.clone());
                }
                mesh.dirty.generate.insert(tag);
            }
            for reference in sidecar::references(&new.spec) {
                insert(&mut mesh.index.referrers, reference, name);
            }
        }
        mesh.dirty.sidecars.insert(name.clone());
        // Only services that selected it before or select it now are touched.
        let tags: BTreeSet<String> = old.iter().chain(&new).flat_map(service_tags).collect();
        for candidate in mesh.services_that_may_select(&tags) {
            let Some(entry) = mesh.services.mesh_service_mut(&candidate) else {
                continue;
            };
            let selected = new.as_ref().is_some_and(|new| selects(&entry.spec, new));
            let was_selected = if selected {
                !entry.matched.insert(name.clone())
            } else {
                entry.matched.remove(name)
            };
            if selected || was_selected {
                mesh.mark_mesh_services([candidate]);
            }
        }
        if let Some(new) = new {
            mesh.dataplanes.insert(name.clone(), new);
        }
    }

    /// A host inside a range of virtual IPs is a problem of all services with an address from there.
    fn note_address_in_vip_range(&mut self, key: &ResourceKey, new: Option<&DataplaneEntry>) {
        let ranges = self.settings.vip_ranges();
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
        mesh.dirty.services.extend(mesh.services.keys());
    }

    pub(in crate::world) fn apply_insight(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
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
        mesh.mark_mesh_services(services);
    }
}

/// Keeps the index of the Dataplanes, gateways among them, by the `kuma.io/service` tags in their identities.
fn note_clients(mesh: &mut MeshState, name: &str, old: Option<&DataplaneEntry>, new: Option<&DataplaneEntry>) {
    let tags = |entry: Option<&DataplaneEntry>| {
        let tags = entry.and_then(|entry| entry.spec.tags().remove(TAG_SERVICE));
        tags.unwrap_or_default()
    };
    let (before, after) = (tags(old), tags(new));
    for tag in before.difference(&after) {
        remove(&mut mesh.index.dataplanes_by_identity, tag, name);
        if !mesh.index.dataplanes_by_identity.contains_key(tag) {
            mesh.mark_services_of_client(tag);
        }
    }
    for tag in after.difference(&before) {
        if !mesh.index.dataplanes_by_identity.contains_key(tag) {
            mesh.mark_services_of_client(tag);
        }
        insert(&mut mesh.index.dataplanes_by_identity, tag.clone(), name);
    }
}

/// Values of `kuma.io/service` of its inbounds.
pub(in crate::world) fn service_tags(entry: &DataplaneEntry) -> BTreeSet<String> {
    entry
        .spec
        .networking
        .inbound
        .iter()
        .map(|inbound| inbound.service().to_owned())
        .filter(|service| !service.is_empty())
        .collect()
}
