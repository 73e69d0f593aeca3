//! Kinds that a `targetRef` may have.

use std::fmt;

use crate::ServiceKind;

/// What a `targetRef` refers to. Variants are declared by rank, so that the derived order is the one of precedence: a
/// policy with a later kind at its top level overrides one with an earlier kind (`spec/policies.md` §1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// Every proxy, every destination, or every client.
    Mesh,
    /// Inbounds by tags.
    MeshSubset,
    /// Builtin gateways; accepted, but there are none, so it matches nothing.
    MeshGateway,
    /// Proxies by labels.
    Dataplane,
    /// A service of one zone; at the top level and in `from`, the value of tag `kuma.io/service`.
    MeshService,
    /// A service outside the mesh.
    MeshExternalService,
    /// A service of many zones.
    MeshMultiZoneService,
    /// A service with further tags.
    MeshServiceSubset,
    /// The traffic of one route.
    MeshHTTPRoute,
}

impl TargetKind {
    /// All kinds, by rank.
    pub const ALL: [TargetKind; 9] = [
        TargetKind::Mesh,
        TargetKind::MeshSubset,
        TargetKind::MeshGateway,
        TargetKind::Dataplane,
        TargetKind::MeshService,
        TargetKind::MeshExternalService,
        TargetKind::MeshMultiZoneService,
        TargetKind::MeshServiceSubset,
        TargetKind::MeshHTTPRoute,
    ];

    /// The name as in `kind:`.
    pub fn name(self) -> &'static str {
        match self {
            TargetKind::Mesh => "Mesh",
            TargetKind::MeshSubset => "MeshSubset",
            TargetKind::MeshGateway => "MeshGateway",
            TargetKind::Dataplane => "Dataplane",
            TargetKind::MeshService => "MeshService",
            TargetKind::MeshExternalService => "MeshExternalService",
            TargetKind::MeshMultiZoneService => "MeshMultiZoneService",
            TargetKind::MeshServiceSubset => "MeshServiceSubset",
            TargetKind::MeshHTTPRoute => "MeshHTTPRoute",
        }
    }

    /// The kind with that name, case-sensitive.
    pub fn from_name(name: &str) -> Option<TargetKind> {
        TargetKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind of service that traffic can be sent to; `None` for references to anything else.
    pub fn service(self) -> Option<ServiceKind> {
        match self {
            TargetKind::MeshService | TargetKind::MeshServiceSubset => Some(ServiceKind::MeshService),
            TargetKind::MeshMultiZoneService => Some(ServiceKind::MeshMultiZoneService),
            TargetKind::MeshExternalService => Some(ServiceKind::MeshExternalService),
            TargetKind::Mesh
            | TargetKind::MeshSubset
            | TargetKind::MeshGateway
            | TargetKind::Dataplane
            | TargetKind::MeshHTTPRoute => None,
        }
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names of kinds for a message: `Mesh, MeshService or MeshGateway`.
pub(crate) fn one_of(kinds: &[TargetKind]) -> String {
    let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
