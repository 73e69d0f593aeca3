//! What all zone ingresses share: the clusters and endpoints of destinations of all meshes.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshspan_world::view::{Destination, DestinationKey};
use meshspan_xds::ResourceSet;

use super::{Names, put, take};

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

    pub(super) fn apply_destination(&mut self, key: &DestinationKey, after: Option<&Arc<Destination>>) {
        match after.filter(|destination| destination.is_behind_ingress()) {
            Some(destination) => {
                put(
                    &mut self.shared,
                    &mut self.changed,
                    &meshspan_envoy::ingress_cluster(destination),
                );
                put(
                    &mut self.shared,
                    &mut self.changed,
                    &meshspan_envoy::ingress_endpoints(destination),
                );
                let before = self.destinations.insert(key.clone(), destination.clone());
                let sni = |destination: &Arc<Destination>| destination.tls.as_ref().map(|tls| tls.sni.clone());
                self.listeners_changed |= before.as_ref().map(sni) != Some(sni(destination));
            }
            None => {
                let Some(before) = self.destinations.remove(key) else {
                    return;
                };
                take(
                    &mut self.shared,
                    &mut self.changed,
                    &meshspan_envoy::ingress_cluster(&before),
                );
                take(
                    &mut self.shared,
                    &mut self.changed,
                    &meshspan_envoy::ingress_endpoints(&before),
                );
                self.listeners_changed = true;
            }
        }
    }
}
