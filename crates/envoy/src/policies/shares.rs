//! Where the traffic of a route goes, and how much of it: what MeshHTTPRoute and MeshTCPRoute have in common.

use meshspan_world::view::RouteBackend;

use crate::names;

/// A part of the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Where it goes; [`names::NO_CLUSTER`] if nothing is there.
    pub(super) cluster: String,
    /// How much, relative to the others; more than 0.
    pub(super) weight: u32,
}

impl Share {
    /// True if this part fails.
    pub(super) fn fails(&self) -> bool {
        self.cluster == names::NO_CLUSTER
    }
}

/// The shares of backends, at least one. A backend that does not resolve keeps its share, which fails: moved to the
/// others it would be more than they are meant to carry. If all backends have weight 0, everything fails.
pub(super) fn shares(backends: &[RouteBackend]) -> Vec<Share> {
    let mut shares: Vec<_> = backends
        .iter()
        .filter(|backend| backend.weight > 0)
        .map(|backend| Share {
            cluster: cluster(backend),
            weight: backend.weight,
        })
        .collect();
    if shares.is_empty() {
        shares.push(Share {
            cluster: names::NO_CLUSTER.to_owned(),
            weight: 1,
        });
    }
    shares
}

fn cluster(backend: &RouteBackend) -> String {
    match &backend.destination {
        Some(key) => names::destination(key),
        None => names::NO_CLUSTER.to_owned(),
    }
}
