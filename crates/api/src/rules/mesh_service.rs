//! MeshService: two fields of its spec are computed by its zone and cross zones with it.

use meshspan_model::kinds::Spec;
use meshspan_model::kinds::mesh_service::MeshService;
use meshspan_model::{Resource, Violations};

/// Keeps what the control plane computed. A file that is applied again says nothing of it, and without it the service
/// would be down in all other zones until it is computed anew.
pub(super) fn before_put(resource: &mut Resource, existing: Option<&Resource>) -> Result<(), Violations> {
    let Some(existing) = existing.and_then(|existing| existing.parse::<MeshService>().ok()) else {
        return Ok(());
    };
    let mut service: MeshService = resource.parse()?;
    service.state = existing.state;
    service.identities = existing.identities;
    resource.spec = service.to_value();
    Ok(())
}
