//! Taking changes of zone egresses, and of the Secrets that certificates of services outside the mesh come from.

use std::sync::Arc;

use meshspan_model::kinds::dataplane_insight::ZoneEgressInsight;
use meshspan_model::kinds::presence::EGRESS;
use meshspan_model::kinds::zone_egress::ZoneEgress;
use meshspan_model::{Resource, ResourceKey, labels};

use crate::services::ServiceKey;
use crate::world::World;

impl World {
    pub(in crate::world) fn apply_egress(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let new = self.typed::<ZoneEgress>(key, after);
        // A zone is left through its own egresses.
        let new = new.filter(|(resource, _)| resource.is_local(labels::ORIGIN_ZONE));
        self.note_hosts(key, new.iter().map(|(_, spec)| spec.networking.address.as_str()));
        let stored = new.map(|(resource, mut spec)| {
            self.hosts.substitute(&mut spec.networking.address);
            (resource, Arc::new(spec))
        });
        let unresolved = self.hosts.unresolved(key);
        let entry = self.egresses.entry(key.name.clone()).or_default();
        let spec = |stored: &Option<(_, Arc<ZoneEgress>)>| stored.as_ref().map(|(_, spec)| spec.clone());
        let (before, after) = (spec(&entry.stored), spec(&stored));
        entry.stored = stored;
        entry.unresolved = unresolved;
        if before != after {
            self.pending.egresses.insert(key.name.clone(), after);
        }
        self.egress_changed(&key.name);
    }

    pub(in crate::world) fn apply_egress_insight(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let insight = self.typed::<ZoneEgressInsight>(key, after);
        let serves = |insight: &ZoneEgressInsight| insight.presence.takes_traffic() && insight.presence.listens(EGRESS);
        let entry = self.egresses.entry(key.name.clone()).or_default();
        entry.serves = insight.is_some_and(|(_, insight)| serves(&insight));
        self.egress_changed(&key.name);
    }

    /// Lets the proxies of the zone dial an egress, or no more.
    fn egress_changed(&mut self, name: &str) {
        let zone = self.settings.zone.clone();
        let before: Vec<_> = self.egress_addresses.of_zone(&zone).collect();
        self.egress_addresses.remove(&zone, name);
        match self.egresses.get(name) {
            Some(entry) if entry.stored.is_none() && !entry.serves => {
                self.egresses.remove(name);
            }
            Some(entry) if entry.serves => {
                let dialled = entry.stored.as_ref().and_then(|(_, spec)| spec.address());
                self.egress_addresses.insert(&zone, name, dialled, &entry.unresolved);
            }
            Some(_) | None => {}
        }
        if self.egress_addresses.of_zone(&zone).eq(before) {
            return;
        }
        for mesh in self.meshes.values_mut() {
            mesh.mark_behind_egress();
        }
    }

    pub(in crate::world) fn apply_secret(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let mesh = self.mesh(&key.mesh);
        match after {
            Some(resource) => mesh.secrets.insert(key.name.clone(), resource.clone()),
            None => mesh.secrets.remove(&key.name),
        };
        let users = mesh.index.secret_users.get(&key.name).into_iter().flatten();
        let keys = users.map(|name| ServiceKey::new(meshspan_model::ServiceKind::MeshExternalService, name));
        mesh.dirty.services.extend(keys.collect::<Vec<_>>());
    }
}
