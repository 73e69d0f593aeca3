//! Routes of TCP connections (`spec/policies.md` §2.7).

use meshspan_model::kinds::mesh_tcp_route::Conf;

use super::Effect;

/// [`Effect`] of the kind.
pub(crate) struct MeshTCPRoute;

impl Effect for MeshTCPRoute {
    type Conf = Conf;
}
