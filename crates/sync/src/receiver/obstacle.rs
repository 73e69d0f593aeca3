//! What keeps a resource of a peer from being stored, though nothing is wrong with it, and may go. A peer does not repeat what
//! was rejected, so the stream is opened anew then.

use std::fmt;

use meshspan_model::{Kind, ResourceKey};
use meshspan_store::Snapshot;

use crate::scope::Scope;

/// Most obstacles that are remembered.
pub(super) const MAX_OBSTACLES: usize = 10_000;

/// Something that is in the way of a peer's resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// A mesh that does not exist here.
    MissingMesh(String),
    /// A resource of the same name that is not the peer's.
    Taken(ResourceKey),
    /// There are as many of a kind as a zone may have.
    TooMany(Kind),
}

impl Obstacle {
    /// Whether it is there no longer, for a peer that has `count` resources of a kind.
    pub(super) fn is_gone(&self, snapshot: &Snapshot, scope: &Scope, count: impl Fn(Kind) -> usize) -> bool {
        match self {
            Self::MissingMesh(mesh) => snapshot.get(&ResourceKey::new(Kind::Mesh, "", mesh.as_str())).is_some(),
            Self::Taken(key) => snapshot.get(key).is_none_or(|stored| scope.contains(&stored.resource)),
            Self::TooMany(kind) => count(*kind) < crate::admission::MAX_OF_KIND,
        }
    }
}

/// As the reason for which a stream ends.
impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingMesh(mesh) => write!(f, "mesh \"{mesh}\", which resources of this zone lacked, was created"),
            Self::Taken(key) => write!(f, "{key}, which kept a resource of this name away, is gone"),
            Self::TooMany(kind) => write!(f, "there is room again for a {kind} that was refused"),
        }
    }
}
