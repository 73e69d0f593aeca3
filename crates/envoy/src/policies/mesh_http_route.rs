//! Routes of HTTP requests (`spec/policies.md` §2.6).

use meshspan_model::kinds::mesh_http_route::Conf;

use super::Effect;

/// [`Effect`] of the kind.
pub(crate) struct MeshHTTPRoute;

impl Effect for MeshHTTPRoute {
    type Conf = Conf;
}
