//! Taking changes of a Mesh.

use std::sync::Arc;

use meshspan_model::kinds::mesh::Mesh;
use meshspan_model::{Resource, ResourceKey};

use crate::world::World;

impl World {
    pub(in crate::world) fn apply_mesh(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let spec = self.typed::<Mesh>(key, after).map(|(_, spec)| Arc::new(spec));
        let mesh = self.mesh(&key.name);
        if mesh.mesh == spec {
            return;
        }
        mesh.mesh.clone_from(&spec);
        mesh.dirty.services.extend(mesh.services.keys());
        mesh.dirty.sidecars.extend(mesh.dataplanes.keys().cloned());
        let services = mesh.services.mesh_services();
        let generated = services.filter(|(_, entry)| entry.local).map(|(name, _)| name.clone());
        mesh.dirty
            .generate
            .extend(mesh.index.dataplanes_by_service.keys().cloned().chain(generated));
        self.pending.meshes.insert(key.name.clone(), spec);
    }
}
