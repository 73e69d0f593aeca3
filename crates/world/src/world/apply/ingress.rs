//! Taking changes of zone ingresses.

use std::collections::BTreeSet;
use std::sync::Arc;

use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_model::{Resource, ResourceKey, labels};

use crate::world::{IngressEntry, World};

impl World {
    pub(in crate::world) fn apply_ingress(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
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
            self.ingress_addresses.remove(zone, &key.name);
            zones.insert(zone.clone());
        }
        if let Some(IngressEntry {
            zone, spec, unresolved, ..
        }) = &new
        {
            let addresses = &mut self.ingress_addresses;
            addresses.insert(zone, &key.name, spec.public_address(), unresolved);
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
                    .mesh_service(&name)
                    .map(|entry| entry.resource.labels.clone())
                    .unwrap_or_default();
                mesh.mark_multi_zone_of(&labels, |_| ());
                mesh.mark_mesh_services([name]);
            }
        }
    }
}
