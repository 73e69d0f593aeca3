//! What must be recomputed: the nodes of one mesh whose inputs changed.

use std::collections::BTreeSet;

use crate::services::ServiceKey;

/// Dirty nodes of a mesh, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dirty {
    /// `kuma.io/service` values whose generated MeshService may change.
    pub(crate) generate: BTreeSet<String>,
    /// Services of all kinds.
    pub(crate) services: BTreeSet<ServiceKey>,
    /// Dataplanes whose own view may change.
    pub(crate) sidecars: BTreeSet<String>,
    /// Whether policies or what they refer to changed.
    pub(crate) policies: bool,
}
