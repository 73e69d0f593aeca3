//! The policies of a control plane, by kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::policy::{Labels, Policy, PolicyId};
use meshspan_model::policy::PolicyKind;

/// Which policies count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Those in effect.
    #[default]
    Live,
    /// Shadow policies too, as if they were in effect.
    WithShadow,
}

/// Policies. The order in which they were added makes no difference to anything that is computed from them.
#[derive(Clone, Debug, Default)]
pub struct PolicySet(BTreeMap<PolicyKind, BTreeMap<PolicyId, Arc<Policy>>>);

impl PolicySet {
    /// No policy.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a policy; returns the one that it replaces.
    pub fn insert(&mut self, policy: Policy) -> Option<Arc<Policy>> {
        let of_kind = self.0.entry(policy.id.kind).or_default();
        of_kind.insert(policy.id.clone(), Arc::new(policy))
    }

    /// Removes a policy.
    pub fn remove(&mut self, id: &PolicyId) -> Option<Arc<Policy>> {
        self.0.get_mut(&id.kind)?.remove(id)
    }

    /// A policy.
    pub fn get(&self, id: &PolicyId) -> Option<&Arc<Policy>> {
        self.0.get(&id.kind)?.get(id)
    }

    /// All policies, by kind in the order in which kinds are applied.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.0.values().flat_map(BTreeMap::values)
    }

    /// The policies of a mesh that count.
    pub(crate) fn of_mesh<'a>(&'a self, mesh: &'a str, mode: Mode) -> impl Iterator<Item = &'a Arc<Policy>> {
        self.iter()
            .filter(move |policy| policy.id.mesh == mesh && (mode == Mode::WithShadow || !policy.shadow))
    }

    /// The MeshHTTPRoutes of a mesh that count and have these labels.
    pub(crate) fn routes<'a>(
        &'a self,
        mesh: &'a str,
        labels: &'a Labels,
        mode: Mode,
    ) -> impl Iterator<Item = &'a Arc<Policy>> {
        let routes = self
            .0
            .get(&PolicyKind::MeshHTTPRoute)
            .into_iter()
            .flat_map(BTreeMap::values);
        routes.filter(move |route| {
            route.id.mesh == mesh && (mode == Mode::WithShadow || !route.shadow) && route.has_labels(labels)
        })
    }
}
