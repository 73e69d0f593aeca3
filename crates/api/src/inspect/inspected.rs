//! A proxy with everything that policies say about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::{Kind, Resource};
use meshspan_policy::{EffectivePolicies, Matched, Policy, PolicyId};
use meshspan_store::Snapshot;

use super::{MeshPolicies, shadow};
use crate::error::{ApiError, COULD_NOT_RETRIEVE};
use crate::path::Target;
use crate::query::Query;
use crate::resources::require_mesh;
use crate::state::ApiState;

/// One proxy, seen from one state of the store.
pub(super) struct Inspected<'a> {
    /// What its mesh holds.
    pub(super) mesh: MeshPolicies<'a>,
    /// Its resource.
    pub(super) resource: &'a Resource,
    /// The same, typed.
    pub(super) dataplane: Dataplane,
    /// What policies say.
    pub(super) effective: EffectivePolicies,
    /// All policies that apply to any part of it, by kind in the order in which kinds are applied.
    pub(super) matched: Vec<Arc<Policy>>,
}

impl<'a> Inspected<'a> {
    /// The proxy that a path names.
    ///
    /// # Errors
    /// 404 if there is none; 400 for a bad parameter; 500 if what is stored cannot be read.
    pub(super) fn of(
        state: &'a ApiState,
        target: &'a Target,
        query: &Query,
        snapshot: &'a Snapshot,
    ) -> Result<Self, ApiError> {
        require_mesh(state, target)?;
        let shadow = shadow(query)?;
        let stored = snapshot
            .get(&target.key(Kind::Dataplane))
            .ok_or_else(|| ApiError::not_found(COULD_NOT_RETRIEVE))?;
        let unreadable = |reason: &dyn std::fmt::Display| ApiError::internal(COULD_NOT_RETRIEVE, reason);
        let dataplane: Dataplane = stored.resource.parse().map_err(|violations| unreadable(&violations))?;
        let mesh = MeshPolicies::of(&target.mesh, snapshot, &state.settings.mode);
        let proxy = mesh.proxy(&stored.resource, &dataplane);
        let effective = EffectivePolicies::of(&proxy, &mesh.policies, &mesh.services, shadow);
        Ok(Self {
            mesh,
            resource: &stored.resource,
            dataplane,
            matched: all_of(&effective.matched),
            effective,
        })
    }
}

fn all_of(matched: &Matched) -> Vec<Arc<Policy>> {
    let inbounds = matched.inbounds.iter().flatten();
    let parts = matched.outbound.iter().chain(&matched.whole).chain(inbounds);
    let all: BTreeMap<&PolicyId, &Arc<Policy>> = parts.map(|policy| (&policy.id, policy)).collect();
    all.into_values().cloned().collect()
}
