//! Taking changes of services, of whatever kind.

use std::sync::Arc;

use meshspan_model::labels::TAG_SERVICE;
use meshspan_model::{Resource, ResourceKey, ServiceKind};

use crate::services::{Reference, ServiceEntry, ServiceKey};
use crate::world::{Problem, World};

impl World {
    pub(in crate::world) fn apply_service(
        &mut self,
        kind: ServiceKind,
        key: &ResourceKey,
        after: Option<&Arc<Resource>>,
    ) {
        let service = ServiceKey::new(kind, key.name.as_str());
        let mesh = self.meshes.entry(key.mesh.clone()).or_default();
        let old = mesh.services.get(&service).cloned();
        let new = after.and_then(|resource| {
            ServiceEntry::load(kind, resource.clone(), old.as_ref(), mesh, &self.settings.zone)
                .map_err(|violations| {
                    let key = key.clone();
                    self.pending.problems.push(Problem { key, violations });
                })
                .ok()
        });
        let face = |entry: &Option<ServiceEntry>| entry.as_ref().map(ServiceEntry::face);
        let (before, after) = (face(&old), face(&new));
        if let (Some(old), Some(face)) = (&old, &before) {
            mesh.services.remove(&service, face);
            old.deindex(mesh);
        }
        if let (Some(new), Some(face)) = (new, &after) {
            mesh.services.insert(&service, new.clone(), face);
            new.index(mesh);
        }
        mesh.dirty.services.insert(service.clone());
        if before == after {
            return;
        }
        for face in before.iter().chain(&after) {
            mesh.mark_referrers(&face.references);
            for reference in &face.references {
                if let Reference::Tag(key, tag) = reference
                    && key == TAG_SERVICE
                {
                    mesh.mark_services_of_client(tag);
                }
            }
        }
        if let Some(face) = &after {
            mesh.set_target(face.target.clone());
        }
        let identity = after.as_ref().map(|face| &face.target.identity);
        if let Some(face) = &before
            && identity != Some(&face.target.identity)
        {
            mesh.remove_target(&face.target.identity);
            self.vips.release(kind, &face.target.identity);
        }
        let labels = |face: &Option<crate::services::Face>| face.as_ref().map(|face| face.target.labels.clone());
        if labels(&before) != labels(&after) {
            self.renew_claims(&key.mesh, &service);
        }
    }

    /// What this zone reported comes back through the store, so that it is reported again only when it changes.
    pub(in crate::world) fn apply_reported(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let new = self.typed(key, after).map(|(_, insight)| insight);
        let mesh = self.mesh(&key.mesh);
        match new {
            Some(insight) => mesh.reported.insert(key.name.clone(), insight),
            None => mesh.reported.remove(&key.name),
        };
        let service = ServiceKey::new(ServiceKind::MeshMultiZoneService, key.name.as_str());
        mesh.dirty.services.insert(service);
    }
}
