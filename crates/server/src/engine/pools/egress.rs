//! What all zone egresses share: the clusters and endpoints of destinations in other zones, of all meshes. What they do not
//! share, because it depends on their hosts, is made of the destinations here too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_world::view::{Destination, DestinationKey, EgressRoute, External, Protocol};
use meshspan_xds::{ResourceSet, ResourceType};

use super::{Names, put, take};
use crate::engine::work::Work;

/// Destinations as zone egresses see them.
#[derive(Default)]
pub(in crate::engine) struct EgressPool {
    destinations: BTreeMap<DestinationKey, Arc<Destination>>,
    /// Services outside the mesh, by mesh: there an egress shows an identity.
    external: BTreeMap<String, BTreeSet<DestinationKey>>,
    shared: ResourceSet,
    changed: Names,
    /// What egresses do not share is not the same any more.
    own_changed: bool,
    /// Meshes in which egresses show an identity for the first time, or no more.
    meshes_changed: BTreeSet<String>,
}

/// What the listener, and the way out of the mesh, are made of.
#[derive(PartialEq)]
struct OwnPart {
    sni: Option<String>,
    protocol: Protocol,
    external: Option<Arc<External>>,
}

impl OwnPart {
    fn of(destination: &Destination) -> Self {
        Self {
            sni: destination.tls.as_ref().map(|tls| tls.sni.clone()),
            protocol: destination.protocol,
            external: match &destination.egress {
                Some(EgressRoute::External(external)) => Some(external.clone()),
                Some(EgressRoute::Zones(_)) | None => None,
            },
        }
    }
}

impl EgressPool {
    /// Clusters and endpoints.
    pub(in crate::engine) fn shared(&self) -> &ResourceSet {
        &self.shared
    }

    /// The destinations behind an egress.
    pub(in crate::engine) fn destinations(&self) -> impl Iterator<Item = &Arc<Destination>> {
        self.destinations.values()
    }

    /// Whether egresses show an identity in a mesh.
    pub(in crate::engine) fn has_identity_in(&self, mesh: &str) -> bool {
        self.external.contains_key(mesh)
    }

    /// The meshes in which they do.
    pub(in crate::engine) fn meshes(&self) -> impl Iterator<Item = &String> {
        self.external.keys()
    }

    /// Whether what egresses do not share has to be projected again, since the last call.
    pub(in crate::engine) fn take_own_changed(&mut self) -> bool {
        std::mem::take(&mut self.own_changed)
    }

    /// The meshes in which egresses show an identity for the first time, or no more, since the last call.
    pub(in crate::engine) fn take_meshes_changed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.meshes_changed)
    }

    pub(super) fn take_changed(&mut self) -> Names {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn apply_destination(&mut self, key: &DestinationKey, after: Option<&Arc<Destination>>, work: &Work) {
        let after = after.filter(|destination| destination.tls.is_some() && destination.egress.is_some());
        let before = match after {
            Some(destination) => self.destinations.insert(key.clone(), destination.clone()),
            None => self.destinations.remove(key),
        };
        let own = |destination: Option<&Arc<Destination>>| destination.map(|destination| OwnPart::of(destination));
        let (own_before, own_after) = (own(before.as_ref()), own(after));
        let is_external = |part: &Option<OwnPart>| part.as_ref().is_some_and(|part| part.external.is_some());
        if is_external(&own_before) != is_external(&own_after) {
            self.note_external(key, is_external(&own_after));
        }
        self.own_changed |= own_before != own_after;
        let resources = after
            .map(|destination| meshspan_envoy::egress_shared(destination))
            .unwrap_or_default();
        work.encoded(resources.len());
        for resource in &resources {
            put(&mut self.shared, &mut self.changed, resource, work);
        }
        if resources.is_empty() && before.is_some() {
            let name = Arc::from(meshspan_envoy::names::destination(key));
            for ty in [ResourceType::Cluster, ResourceType::Endpoint] {
                take(&mut self.shared, &mut self.changed, ty, &name);
            }
        }
    }

    fn note_external(&mut self, key: &DestinationKey, is_external: bool) {
        let mesh = &key.service.mesh;
        if is_external {
            let of_mesh = self.external.entry(mesh.clone()).or_default();
            if of_mesh.is_empty() {
                self.meshes_changed.insert(mesh.clone());
            }
            of_mesh.insert(key.clone());
        } else if let Some(of_mesh) = self.external.get_mut(mesh) {
            of_mesh.remove(key);
            if of_mesh.is_empty() {
                self.external.remove(mesh);
                self.meshes_changed.insert(mesh.clone());
            }
        }
    }
}
