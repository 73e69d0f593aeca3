//! Taking changes: keeps the typed resources and indexes, and marks what depends on what changed. One file a noun.

pub(super) mod dataplane;
mod egress;
mod generator;
mod ingress;
mod mesh;
mod policy;
mod service;

use meshspan_model::ResourceKey;

use super::World;

impl World {
    /// Notes the host names that a resource uses.
    fn note_hosts<'a>(&mut self, key: &ResourceKey, names: impl Iterator<Item = &'a str>) {
        if self.hosts.set_used(key, names) {
            self.pending.host_names = Some(self.hosts.names());
        }
    }
}
