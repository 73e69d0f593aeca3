//! What keeps clients from proxies, handed on as it changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use meshspan_model::ResourceKey;
use meshspan_world::World;

use super::project::Projector;
use crate::proxy_key::ProxyKey;

/// Hears what keeps clients from a proxy, also when that is nothing (any longer); must not block.
pub type ProblemSink = Arc<dyn Fn(&ProxyKey, &[String]) + Send + Sync>;

/// Whose problems are to be told next.
pub(super) struct Problems {
    sink: ProblemSink,
    waiting: BTreeSet<ResourceKey>,
}

impl Problems {
    pub(super) fn new(sink: ProblemSink) -> Self {
        Self {
            sink,
            waiting: BTreeSet::new(),
        }
    }

    /// Whoever keeps them may not know those of this proxy.
    pub(super) fn connected(&mut self, id: &ProxyKey) {
        self.waiting.insert(id.resource());
    }

    /// To be called when derivation and projection are up to date.
    pub(super) fn tell(&mut self, changed: BTreeSet<ResourceKey>, world: &World, projector: &Projector) {
        self.waiting.extend(changed);
        for key in std::mem::take(&mut self.waiting) {
            let Some(id) = ProxyKey::of_resource(&key) else {
                continue;
            };
            let mut problems = world.problems_of(&key);
            problems.extend(projector.sidecars().problems().get(&id).into_iter().flatten().cloned());
            (self.sink)(&id, &problems);
        }
    }
}
