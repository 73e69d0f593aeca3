//! Secret: one that an mTLS backend uses must stay.

use meshspan_identity::secret_names;
use meshspan_model::kinds::mesh::CaBackend;
use meshspan_model::{Kind, Resource, ResourceKey, Violations};
use meshspan_store::Snapshot;

use crate::provisioning::mesh_spec;

pub(super) fn before_delete(snapshot: &Snapshot, resource: &Resource) -> Result<(), Violations> {
    let mesh_key = ResourceKey::new(Kind::Mesh, "", resource.mesh.as_str());
    let Some(mesh) = snapshot.get(&mesh_key).map(|stored| mesh_spec(&stored.resource)) else {
        return Ok(());
    };
    let mut backends = mesh.mtls.iter().flat_map(|mtls| &mtls.backends);
    match backends.find(|backend| uses(backend, &resource.mesh, &resource.name)) {
        Some(backend) => Err(Violations::one(
            "name",
            format!(
                "is used by mTLS backend \"{}\" of mesh \"{}\"; remove the backend from the mesh first",
                backend.name, resource.mesh
            ),
        )),
        None => Ok(()),
    }
}

fn uses(backend: &CaBackend, mesh: &str, secret: &str) -> bool {
    match backend.backend_type.as_str() {
        "builtin" => {
            secret == secret_names::builtin_ca_cert(mesh, &backend.name)
                || secret == secret_names::builtin_ca_key(mesh, &backend.name)
        }
        _ => ["cert", "key"].iter().any(|part| {
            let source = backend.conf.as_ref().and_then(|conf| conf.get(part));
            source
                .and_then(|source| source.get("secret"))
                .and_then(|name| name.as_str())
                == Some(secret)
        }),
    }
}
