//! Pools: what many proxies share, encoded once. A fleet says which of them a proxy follows.

mod destination;
mod egress;
mod ingress;
mod mesh;
mod projection;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_envoy::Encoded;
use meshspan_world::ClassChanges;
use meshspan_world::view::{ClassKey, Destination, DestinationKey};
use meshspan_xds::{Resource, ResourceSet, ResourceType};

use super::work::Work;
pub(super) use destination::Entry;
pub(super) use egress::EgressPool;
pub(super) use ingress::IngressPool;
pub(super) use mesh::MeshPool;
pub(super) use projection::Projection;

/// Names of resources.
pub(super) type Names = BTreeSet<(ResourceType, Arc<str>)>;

/// All pools of a zone.
pub(super) struct Pools {
    work: Work,
    meshes: BTreeMap<String, MeshPool>,
    /// Destinations of all meshes as zone ingresses see them.
    pub(super) ingress: IngressPool,
    /// Destinations of all meshes as zone egresses see them.
    pub(super) egress: EgressPool,
    /// Meshes of which something changed since the last [`Pools::take_changed`].
    touched: BTreeSet<String>,
}

/// What changed in all pools since the last look.
#[derive(Default)]
pub(super) struct PoolChanges {
    /// By mesh and class.
    pub(super) classes: BTreeMap<(String, ClassKey), Names>,
    pub(super) ingress: Names,
    pub(super) egress: Names,
}

impl Pools {
    pub(super) fn new(work: Work) -> Self {
        Self {
            work,
            meshes: BTreeMap::new(),
            ingress: IngressPool::default(),
            egress: EgressPool::default(),
            touched: BTreeSet::new(),
        }
    }

    /// The destinations of a mesh.
    pub(super) fn mesh(&self, name: &str) -> Option<&MeshPool> {
        self.meshes.get(name)
    }

    /// Takes a destination, `None` if it is gone.
    pub(super) fn apply_destination(&mut self, key: &DestinationKey, after: Option<&Arc<Destination>>) {
        let work = self.work.clone();
        self.ingress.apply_destination(key, after, &work);
        self.egress.apply_destination(key, after, &work);
        self.touch(&key.service.mesh).apply_destination(key, after, &work);
    }

    /// Takes what policies say to a class, `None` if it has no member any more. Destinations have to be there already.
    pub(super) fn apply_class(&mut self, mesh: &str, class: &ClassKey, changes: Option<ClassChanges>) {
        let work = self.work.clone();
        self.touch(mesh).apply_class(class, changes, &work);
    }

    fn touch(&mut self, mesh: &str) -> &mut MeshPool {
        self.touched.insert(mesh.to_owned());
        self.meshes.entry(mesh.to_owned()).or_default()
    }

    /// What changed since the last call.
    pub(super) fn take_changed(&mut self) -> PoolChanges {
        let mut changes = PoolChanges {
            ingress: self.ingress.take_changed(),
            egress: self.egress.take_changed(),
            ..PoolChanges::default()
        };
        for mesh in std::mem::take(&mut self.touched) {
            let Some(pool) = self.meshes.get_mut(&mesh) else {
                continue;
            };
            let changed = pool.take_changed().into_iter();
            changes
                .classes
                .extend(changed.map(|(class, names)| ((mesh.clone(), class), names)));
            if pool.is_empty() {
                self.meshes.remove(&mesh);
            }
        }
        changes
    }
}

/// The type of a resource, as streams call it.
pub(super) fn type_of(encoded: &Encoded) -> ResourceType {
    match encoded.resource_type {
        meshspan_envoy::ResourceType::Cluster => ResourceType::Cluster,
        meshspan_envoy::ResourceType::Endpoint => ResourceType::Endpoint,
        meshspan_envoy::ResourceType::Listener => ResourceType::Listener,
        meshspan_envoy::ResourceType::Secret => ResourceType::Secret,
    }
}

/// Adds or replaces a resource and remembers its name, unless it is there already.
pub(super) fn put(set: &mut ResourceSet, changed: &mut Names, encoded: &Encoded, work: &Work) {
    let ty = type_of(encoded);
    work.compared(1);
    if set
        .get(ty, &encoded.name)
        .is_none_or(|old| old.version() != &encoded.version)
    {
        changed.insert((ty, encoded.name.clone()));
        set.insert(
            ty,
            Resource::new(encoded.name.clone(), encoded.version.clone(), encoded.body.clone()),
        );
    }
}

/// Removes a resource and remembers its name.
pub(super) fn take(set: &mut ResourceSet, changed: &mut Names, ty: ResourceType, name: &Arc<str>) {
    if set.remove(ty, name) {
        changed.insert((ty, name.clone()));
    }
}
