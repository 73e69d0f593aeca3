//! Answers about one proxy, computed when they are asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshspan_policy::Mode;

use super::World;
use crate::sidecar;
use crate::view::{Destination, DestinationKey, DestinationPolicies, SidecarView};

/// Everything that projection needs for one proxy.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// Its view.
    pub view: SidecarView,
    /// All destinations of its mesh, and what policies say of its traffic to them.
    pub destinations: BTreeMap<DestinationKey, (Arc<Destination>, Arc<DestinationPolicies>)>,
}

impl World {
    /// What a proxy has, or would have if policies with effect `shadow` counted. `None` if the proxy or its mesh is
    /// unknown.
    pub fn inspect(&self, mesh: &str, name: &str, mode: Mode) -> Option<Inspected> {
        let mesh = self.meshes.get(mesh)?;
        let entry = mesh.dataplanes.get(name)?;
        let (policies, about) = mesh.policies.inspect(&entry.proxy, mode, &mesh.destination_keys);
        let view = sidecar::view(mesh, entry, policies, &self.settings)?;
        let all = mesh.destinations.values().flatten();
        let destinations = all.filter_map(|(key, destination)| {
            let policies = about.get(key)?.clone();
            Some((key.clone(), (destination.clone(), policies)))
        });
        Some(Inspected {
            view,
            destinations: destinations.collect(),
        })
    }
}
