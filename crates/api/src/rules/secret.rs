//! Secret and GlobalSecret: one whose name or use means something holds that, and one that is in use must stay.

use meshspan_identity::{CaHalf, SigningKeyFamily, check_secret, secret_names};
use meshspan_model::kinds::mesh::{CaBackend, Mesh};
use meshspan_model::{Kind, Resource, ResourceKey, Violations};
use meshspan_store::Snapshot;

use super::mesh_external_service;
use crate::data_source::secret_bytes;
use crate::provisioning::mesh_spec;
use crate::tokens::trust;

/// Checks that a Secret or GlobalSecret holds what its name says, whoever wrote it.
///
/// # Errors
/// The field, and what it must hold.
pub fn check_content(secret: &Resource) -> Result<(), Violations> {
    content(secret).map(drop)
}

fn content(secret: &Resource) -> Result<Vec<u8>, Violations> {
    let bytes = secret_bytes(secret).ok_or_else(|| invalid("must be base64".to_owned()))?;
    let mesh = (secret.kind == Kind::Secret).then_some(secret.mesh.as_str());
    check_secret(mesh, &secret.name, &bytes).map_err(|error| invalid(error.to_string()))?;
    Ok(bytes)
}

fn invalid(reason: String) -> Violations {
    Violations::one("data", reason)
}

pub(super) fn before_put(snapshot: &Snapshot, resource: &Resource) -> Result<(), Violations> {
    let bytes = content(resource)?;
    for half in mesh_external_service::halves_of_secret(snapshot, &resource.key()) {
        half.check(&bytes).map_err(|error| invalid(error.to_string()))?;
    }
    let Some(mesh) = mesh_of(snapshot, resource) else {
        return Ok(());
    };
    let checked = mesh.mtls.iter().filter(|mtls| !mtls.skip_validation);
    let backends = checked.flat_map(|mtls| &mtls.backends);
    for half in backends.filter_map(|backend| half_of(backend, &resource.name)) {
        half.check(&bytes).map_err(|error| invalid(error.to_string()))?;
    }
    Ok(())
}

pub(super) fn before_delete(snapshot: &Snapshot, resource: &Resource) -> Result<(), Violations> {
    if let Some(family) = trust::last_key_of(snapshot, resource) {
        return Err(Violations::one("name", last_key(&family, &resource.name)));
    }
    let Some(mesh) = mesh_of(snapshot, resource) else {
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

/// Why the last key must stay, and how it is replaced.
fn last_key(family: &SigningKeyFamily<'_>, name: &str) -> String {
    let next = family.serial_of(name).unwrap_or_default().saturating_add(1);
    format!(
        "is the only key of its kind, and no token that it signed would hold any more; create \"{}\" first, and give out \
         new tokens",
        family.secret_name(next)
    )
}

/// The mesh of a Secret, if it is there.
fn mesh_of(snapshot: &Snapshot, resource: &Resource) -> Option<Mesh> {
    let key = ResourceKey::new(Kind::Mesh, "", resource.mesh.as_str());
    let stored = snapshot.get(&key).filter(|_| resource.kind == Kind::Secret)?;
    Some(mesh_spec(&stored.resource))
}

/// Which half of a provided CA the secret is.
fn half_of(backend: &CaBackend, secret: &str) -> Option<CaHalf> {
    let names = |part: &str| backend.conf.as_ref()?.get(part)?.get("secret")?.as_str();
    if names("cert") == Some(secret) {
        Some(CaHalf::Certificate)
    } else if names("key") == Some(secret) {
        Some(CaHalf::Key)
    } else {
        None
    }
}

fn uses(backend: &CaBackend, mesh: &str, secret: &str) -> bool {
    match backend.backend_type.as_str() {
        "builtin" => {
            secret == secret_names::builtin_ca_cert(mesh, &backend.name)
                || secret == secret_names::builtin_ca_key(mesh, &backend.name)
        }
        _ => half_of(backend, secret).is_some(),
    }
}
