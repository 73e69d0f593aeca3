//! Access logs (`spec/policies.md` §2.12).

use meshspan_model::kinds::mesh_access_log::Conf;

use super::Effect;

/// [`Effect`] of the kind.
pub(crate) struct MeshAccessLog;

impl Effect for MeshAccessLog {
    type Conf = Conf;
}
