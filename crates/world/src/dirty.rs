//! What must be recomputed: the nodes of one mesh whose inputs changed.

use std::collections::BTreeSet;

/// Dirty nodes of a mesh, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dirty {
    /// `kuma.io/service` values whose generated MeshService may change.
    pub(crate) generate: BTreeSet<String>,
    /// MeshServices, by core name.
    pub(crate) services: BTreeSet<String>,
    /// MeshMultiZoneServices, by core name.
    pub(crate) multi_zone: BTreeSet<String>,
    /// Dataplanes whose own view may change.
    pub(crate) sidecars: BTreeSet<String>,
    /// Whether explicit outbounds may resolve differently: a service came, went or changed labels or ports.
    pub(crate) references: bool,
    /// Whether policies or what they refer to changed.
    pub(crate) policies: bool,
    /// Whether the DNS table may change.
    pub(crate) dns: bool,
}
