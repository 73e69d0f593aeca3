//! What all zone ingresses share: the clusters and endpoints of destinations of all meshes.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshspan_world::view::{Destination, DestinationKey};
use meshspan_xds::{ResourceSet, ResourceType};

use super::{Names, Work, put, take};

/// Destinations as zone ingresses see them.
#[derive(Default)]
pub(in crate::engine) struct IngressPool {
    destinations: BTreeMap<DestinationKey, Arc<Destination>>,
    shared: ResourceSet,
    changed: Names,
    /// A destination came, went or changed its server name, so listeners are not the same any more.
    listeners_changed: bool,
}

impl IngressPool {
    /// Clusters and endpoints.
    pub(in crate::engine) fn shared(&self) -> &ResourceSet {
        &self.shared
    }

    /// The destinations behind an ingress.
    pub(in crate::engine) fn destinations(&self) -> impl Iterator<Item = &Arc<Destination>> {
        self.destinations.values()
    }

    /// Whether listeners have to be projected again, since the last call.
    pub(in crate::engine) fn take_listeners_changed(&mut self) -> bool {
        std::mem::take(&mut self.listeners_changed)
    }

    pub(super) fn take_changed(&mut self) -> Names {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn apply_destination(&mut self, key: &DestinationKey, after: Option<&Arc<Destination>>, work: &Work) {
        match after.filter(|destination| destination.is_behind_ingress()) {
            Some(destination) => {
                let resources = [
                    meshspan_envoy::ingress_cluster(destination),
                    meshspan_envoy::ingress_endpoints(destination),
                ];
                work.encoded(resources.len());
                for encoded in &resources {
                    put(&mut self.shared, &mut self.changed, encoded, work);
                }
                let before = self.destinations.insert(key.clone(), destination.clone());
                let sni = |destination: &Arc<Destination>| destination.tls.as_ref().map(|tls| tls.sni.clone());
                self.listeners_changed |= before.as_ref().map(sni) != Some(sni(destination));
            }
            None => {
                if self.destinations.remove(key).is_none() {
                    return;
                }
                let name = Arc::from(meshspan_envoy::names::destination(key));
                for ty in [ResourceType::Cluster, ResourceType::Endpoint] {
                    take(&mut self.shared, &mut self.changed, ty, &name);
                }
                self.listeners_changed = true;
            }
        }
    }
}
