//! TLS of inbounds (`spec/policies.md` §2.9).

use meshspan_model::kinds::mesh_tls::Conf;

use super::Effect;

/// [`Effect`] of the kind.
pub(crate) struct MeshTLS;

impl Effect for MeshTLS {
    type Conf = Conf;
}
