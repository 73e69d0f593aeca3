//! Which resource a path names.

use meshspan_model::{Kind, ResourceKey};
use serde::Deserialize;

/// Mesh and name as they stand in the path; empty where the path has none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Target {
    pub(crate) mesh: String,
    pub(crate) name: String,
}

impl Target {
    /// The key of a resource of that kind.
    pub(crate) fn key(&self, kind: Kind) -> ResourceKey {
        ResourceKey::new(kind, self.mesh.as_str(), self.name.as_str())
    }

    /// The key of the mesh.
    pub(crate) fn mesh_key(&self) -> ResourceKey {
        ResourceKey::new(Kind::Mesh, "", self.mesh.as_str())
    }
}
