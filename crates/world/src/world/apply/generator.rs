//! Taking changes of HostnameGenerators.

use std::sync::Arc;

use meshspan_model::{Resource, ResourceKey};

use crate::hostnames::Generator;
use crate::services::ServiceKey;
use crate::world::World;

impl World {
    pub(in crate::world) fn apply_generator(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        let new = self
            .typed(key, after)
            .and_then(|(resource, spec)| Generator::new(&resource, spec));
        let old = match &new {
            Some(new) => self.generators.insert(key.name.clone(), new.clone()),
            None => self.generators.remove(&key.name),
        };
        let concerns = |service: &ServiceKey, resource: &Resource| {
            let mut generators = old.iter().chain(&new);
            generators.any(|generator| generator.selects(service, resource))
        };
        let mut concerned = Vec::new();
        for (name, mesh) in &self.meshes {
            let services = mesh.services.iter();
            let of_mesh = services.filter(|(service, entry)| concerns(service, entry.resource()));
            concerned.extend(of_mesh.map(|(service, _)| (name.clone(), service)));
        }
        for (mesh, service) in concerned {
            self.renew_claims(&mesh, &service);
        }
    }

    /// Claims the host names of a service anew, or withdraws them if it is gone.
    pub(super) fn renew_claims(&mut self, mesh: &str, service: &ServiceKey) {
        let mesh = self.meshes.entry(mesh.to_owned()).or_default();
        let resource = mesh.services.get(service).map(|entry| entry.resource().clone());
        let affected = mesh.hostnames.update(
            service,
            resource.as_deref(),
            &self.settings.zone,
            self.generators.values(),
        );
        mesh.dirty.services.extend(affected);
        mesh.dirty.services.insert(service.clone());
    }
}
