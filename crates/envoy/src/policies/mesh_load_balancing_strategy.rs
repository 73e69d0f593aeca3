//! How endpoints are chosen, within and across zones (`spec/policies.md` §2.5).

use meshspan_model::kinds::mesh_load_balancing_strategy::Conf;

use super::Effect;

/// [`Effect`] of the kind.
pub(crate) struct MeshLoadBalancingStrategy;

impl Effect for MeshLoadBalancingStrategy {
    type Conf = Conf;
}
