//! Retries (`spec/policies.md` §2.2).

use meshspan_model::kinds::mesh_retry::Conf;

use super::Effect;

/// [`Effect`] of the kind.
pub(crate) struct MeshRetry;

impl Effect for MeshRetry {
    type Conf = Conf;
}
