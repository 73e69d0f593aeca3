//! Active health checks (`spec/policies.md` §2.4).

use meshspan_model::kinds::mesh_health_check::Conf;

use super::Effect;

/// [`Effect`] of the kind.
pub(crate) struct MeshHealthCheck;

impl Effect for MeshHealthCheck {
    type Conf = Conf;
}
