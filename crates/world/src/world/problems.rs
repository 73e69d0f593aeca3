//! What keeps clients from proxies although the resources of these are valid, computed when it is asked for.

use std::collections::BTreeMap;

use meshspan_model::kinds::dataplane::names_no_service;
use meshspan_model::kinds::mesh::MeshServicesMode;
use meshspan_model::{Kind, ResourceKey};

use super::World;
use crate::hosts::Unresolved;
use crate::mesh_state::MeshState;

impl World {
    /// What keeps clients from proxies, with the remedy, by the resource of the proxy; only those where something does.
    pub fn proxy_problems(&self) -> BTreeMap<ResourceKey, Vec<String>> {
        let mut problems: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for key in self.hosts.with_unresolved() {
            let unresolved = self.hosts.unresolved(key);
            let of_proxy = problems.entry(key.clone()).or_default();
            of_proxy.extend(unresolved.iter().map(Unresolved::problem));
        }
        for (mesh, state) in &self.meshes {
            for (name, problem) in without_service(state) {
                let key = ResourceKey::new(Kind::Dataplane, mesh.as_str(), name);
                problems.entry(key).or_default().push(problem);
            }
        }
        problems
    }
}

/// Dataplanes with an inbound for which no MeshService is generated, as its `kuma.io/service` is no name, and that none of a
/// user selects.
fn without_service(mesh: &MeshState) -> impl Iterator<Item = (&str, String)> {
    let generates = mesh
        .mesh
        .as_ref()
        .is_some_and(|mesh| mesh.mesh_services_mode() != MeshServicesMode::Disabled);
    let dataplanes = mesh
        .index
        .dataplanes_by_service
        .iter()
        .filter(move |(tag, _)| generates && !mesh.index.services_by_tag.contains_key(*tag))
        .filter_map(|(tag, dataplanes)| Some((dataplanes, names_no_service(tag)?)));
    dataplanes.flat_map(move |(dataplanes, problem)| {
        let alone = dataplanes.iter().filter(|name| {
            let mut others = mesh.index.services_otherwise.iter();
            !others.any(|service| {
                mesh.services
                    .mesh_service(service)
                    .is_some_and(|service| service.matched.contains(*name))
            })
        });
        alone.map(move |name| (name.as_str(), problem.clone()))
    })
}
