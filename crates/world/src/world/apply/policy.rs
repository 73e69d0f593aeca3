//! Taking changes of policies.

use std::sync::Arc;

use meshspan_model::policy::PolicyKind;
use meshspan_model::{Resource, ResourceKey};
use meshspan_policy::{Policy, PolicyId};

use crate::world::{Problem, World};

impl World {
    pub(in crate::world) fn apply_policy(
        &mut self,
        kind: PolicyKind,
        key: &ResourceKey,
        after: Option<&Arc<Resource>>,
    ) {
        let policy = after.and_then(|resource| match Policy::load(kind, resource.clone()) {
            Ok(policy) => Some(policy),
            Err(violations) => {
                self.pending.problems.push(Problem {
                    key: key.clone(),
                    violations,
                });
                None
            }
        });
        let id = PolicyId {
            kind,
            mesh: key.mesh.clone(),
            name: key.name.clone(),
        };
        let mesh = self.mesh(&key.mesh);
        let proxies = mesh.dataplanes.iter().map(|(name, entry)| (name, &*entry.proxy));
        let was_about_egress = mesh.policies.is_about_egress(&id);
        let touched = mesh.policies.apply(&id, policy, proxies);
        mesh.dirty.sidecars.extend(touched);
        mesh.dirty.policies = true;
        if was_about_egress || mesh.policies.is_about_egress(&id) {
            mesh.mark_behind_egress();
        }
    }
}
