//! What keeps clients from proxies although the resources of these are valid.

use std::collections::{BTreeMap, BTreeSet};

use meshspan_model::kinds::dataplane::names_no_service;
use meshspan_model::kinds::mesh::MeshServicesMode;
use meshspan_model::{Kind, ResourceKey};

use super::World;
use super::apply::dataplane::service_tags;
use crate::hosts::Unresolved;
use crate::mesh_state::MeshState;

impl World {
    /// What keeps clients from proxies, with the remedy, by the resource of the proxy; only those where something does.
    pub fn proxy_problems(&self) -> BTreeMap<ResourceKey, Vec<String>> {
        let unresolved = self.hosts.with_unresolved().into_iter().cloned();
        let misnamed = self.meshes.iter().flat_map(|(name, mesh)| misnamed(name, mesh));
        let suspects: BTreeSet<ResourceKey> = unresolved.chain(misnamed).collect();
        let judged = suspects.into_iter().map(|key| {
            let problems = self.problems_of(&key);
            (key, problems)
        });
        judged.filter(|(_, problems)| !problems.is_empty()).collect()
    }

    /// What keeps clients from one proxy, with the remedy. Holds after [`World::derive`].
    pub fn problems_of(&self, key: &ResourceKey) -> Vec<String> {
        let unresolved = self.hosts.unresolved(key);
        let mut problems: Vec<String> = unresolved.iter().map(Unresolved::problem).collect();
        if key.kind == Kind::Dataplane
            && let Some(mesh) = self.meshes.get(&key.mesh)
        {
            problems.extend(without_service(mesh, &key.name));
        }
        problems
    }

    /// Marks the proxies of whose problems a changed resource may decide.
    pub(super) fn judge_anew(&mut self, key: &ResourceKey) {
        let mesh = match key.kind {
            Kind::Dataplane | Kind::ZoneIngress => {
                self.pending.judged_anew.insert(key.clone());
                return;
            }
            Kind::Mesh => &key.name,
            Kind::MeshService => &key.mesh,
            _ => return,
        };
        if let Some(state) = self.meshes.get(mesh) {
            self.pending.judged_anew.extend(misnamed(mesh, state));
        }
    }
}

/// Dataplanes with a `kuma.io/service` for which no MeshService can be generated.
fn misnamed<'a>(mesh: &'a str, state: &'a MeshState) -> impl Iterator<Item = ResourceKey> + 'a {
    let tags = state.index.misnamed.iter();
    let names = tags
        .filter_map(|tag| state.index.dataplanes_by_service.get(tag))
        .flatten();
    names.map(move |name| ResourceKey::new(Kind::Dataplane, mesh, name.as_str()))
}

/// Says of each inbound of a Dataplane that it has no MeshService: none is generated, as its `kuma.io/service` is no name, and
/// none of a user selects it.
fn without_service(mesh: &MeshState, name: &str) -> Vec<String> {
    let index = &mesh.index;
    let generates = mesh
        .mesh
        .as_ref()
        .is_some_and(|mesh| mesh.mesh_services_mode() != MeshServicesMode::Disabled);
    let Some(dataplane) = mesh.dataplanes.get(name).filter(|_| generates) else {
        return Vec::new();
    };
    let tags: Vec<String> = service_tags(dataplane)
        .into_iter()
        .filter(|tag| index.misnamed.contains(tag) && !index.services_by_tag.contains_key(tag))
        .collect();
    let selects = |service: &String| {
        let service = mesh.services.mesh_service(service);
        service.is_some_and(|service| service.matched.contains(name))
    };
    if tags.is_empty() || index.services_otherwise.iter().any(selects) {
        return Vec::new();
    }
    tags.iter().filter_map(|tag| names_no_service(tag)).collect()
}
