//! What belongs to a mesh: its secrets, which are the builtin CA of each mTLS backend and the key that signs the tokens of
//! its proxies, and its first policies.
//!
//! All is made where the Mesh is created (`spec/resources.md` §2.1) and in the same transaction, so that no mesh is
//! ever seen without it. Secrets are made again if they are missing; policies belong to the user from then on.

use meshspan_identity::{Ca, CertificateError, KeyError, SigningKey, SigningKeyFamily, secret_names};
use meshspan_model::kinds::Spec;
use meshspan_model::kinds::mesh::{CaBackend, Mesh};
use meshspan_model::{Kind, Resource, ResourceKey, Violations};
use meshspan_store::{Snapshot, Store, StoreError, Write};
use time::OffsetDateTime;

use crate::data_source::secret;
use crate::default_resources::policies;
use crate::settings::Settings;

/// Why a mesh did not get its secrets.
#[derive(Debug, thiserror::Error)]
pub enum ProvisioningError {
    /// The configuration of a builtin backend.
    #[error("mTLS backend \"{backend}\" of mesh \"{mesh}\" has an invalid configuration: {violations}")]
    Backend {
        /// The mesh.
        mesh: String,
        /// The backend.
        backend: String,
        /// What is wrong, below `conf`.
        violations: Violations,
    },
    /// A CA could not be made.
    #[error("the CA of mesh \"{mesh}\" could not be made: {source}")]
    Ca {
        /// The mesh.
        mesh: String,
        /// Why.
        source: CertificateError,
    },
    /// A signing key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread that makes keys was stopped.
    #[error("making keys was interrupted because the control plane is stopping")]
    Interrupted,
}

/// The secrets that a mesh should have and that are not in `snapshot`. A signing key is missing only if the mesh has
/// none at all: after a rotation the first one is gone for good. A CA of which one half is there is left alone: a new one
/// would cut off every proxy that trusts it.
///
/// Makes RSA keys, which takes from a tenth of a second to a minute for each: keep it off threads that others wait for.
///
/// # Errors
/// What cannot be made.
pub fn missing_secrets(
    mesh: &str,
    spec: &Mesh,
    snapshot: &Snapshot,
    now: OffsetDateTime,
) -> Result<Vec<Resource>, ProvisioningError> {
    let mut secrets = Vec::new();
    let family = SigningKeyFamily::Dataplane { mesh };
    let names = snapshot
        .list(Kind::Secret, Some(mesh))
        .map(|stored| stored.resource.name.as_str());
    if family.newest(names).is_none() {
        secrets.push(secret(
            mesh,
            family.secret_name(1),
            SigningKey::generate()?.to_pem().as_bytes(),
        ));
    }
    let backends = spec.mtls.iter().flat_map(|mtls| &mtls.backends);
    for backend in backends.filter(|backend| backend.backend_type == "builtin") {
        let cert = secret_names::builtin_ca_cert(mesh, &backend.name);
        let key = secret_names::builtin_ca_key(mesh, &backend.name);
        let absent = |name: &str| snapshot.get(&ResourceKey::new(Kind::Secret, mesh, name)).is_none();
        if absent(&cert) && absent(&key) {
            let ca = make_ca(mesh, backend, now)?;
            secrets.push(secret(mesh, cert, ca.cert_pem().as_bytes()));
            secrets.push(secret(mesh, key, ca.key_pem().as_bytes()));
        }
    }
    Ok(secrets)
}

fn make_ca(mesh: &str, backend: &CaBackend, now: OffsetDateTime) -> Result<Ca, ProvisioningError> {
    let conf = backend.builtin().map_err(|violations| ProvisioningError::Backend {
        mesh: mesh.to_owned(),
        backend: backend.name.clone(),
        violations,
    })?;
    Ca::generate_builtin(mesh, conf.rsa_bits, now, conf.lifetime).map_err(|source| ProvisioningError::Ca {
        mesh: mesh.to_owned(),
        source,
    })
}

/// The writes that create what [`missing_secrets`] finds, made on a thread where nobody waits.
pub(crate) async fn secret_writes(
    mesh: &str,
    spec: Mesh,
    snapshot: Snapshot,
    now: OffsetDateTime,
) -> Result<Vec<Write>, ProvisioningError> {
    let name = mesh.to_owned();
    let secrets = tokio::task::spawn_blocking(move || missing_secrets(&name, &spec, &snapshot, now))
        .await
        .map_err(|_| ProvisioningError::Interrupted)??;
    Ok(owned_by(mesh, secrets))
}

/// The writes that create the first policies of a new mesh, but for those that are there already.
pub(crate) fn policy_writes(mesh: &str, spec: &Mesh, snapshot: &Snapshot, settings: &Settings) -> Vec<Write> {
    let mut first = policies::of_mesh(mesh, spec, &settings.mode);
    first.retain(|policy| snapshot.get(&policy.key()).is_none());
    owned_by(mesh, first)
}

fn owned_by(mesh: &str, resources: Vec<Resource>) -> Vec<Write> {
    let owner = ResourceKey::new(Kind::Mesh, "", mesh);
    let create = |resource| Write::Create {
        resource,
        owner: Some(owner.clone()),
    };
    resources.into_iter().map(create).collect()
}

/// Creates a mesh with its secrets and its first policies, in one transaction.
///
/// # Errors
/// What cannot be made, or [`StoreError::AlreadyExists`].
pub async fn create_mesh(
    store: &dyn Store,
    settings: &Settings,
    name: &str,
    spec: &Mesh,
    now: OffsetDateTime,
) -> Result<(), ProvisioningError> {
    let snapshot = store.snapshot();
    let mut writes = vec![Write::create(Resource::of("", name, spec))];
    writes.extend(policy_writes(name, spec, &snapshot, settings));
    writes.extend(secret_writes(name, spec.clone(), snapshot, now).await?);
    store.apply(writes).await?;
    Ok(())
}

/// Creates the secrets that an existing mesh lacks.
///
/// # Errors
/// What cannot be made or stored; [`StoreError::AlreadyExists`] if somebody else made them at the same moment.
pub async fn ensure_mesh_secrets(
    store: &dyn Store,
    name: &str,
    spec: &Mesh,
    now: OffsetDateTime,
) -> Result<(), ProvisioningError> {
    let writes = secret_writes(name, spec.clone(), store.snapshot(), now).await?;
    if !writes.is_empty() {
        store.apply(writes).await?;
    }
    Ok(())
}

/// The typed payload of a stored Mesh; the default where an older version stored something else.
pub(crate) fn mesh_spec(resource: &Resource) -> Mesh {
    Mesh::from_value(&resource.spec).unwrap_or_else(|violations| {
        tracing::warn!(mesh = resource.name, %violations, "stored Mesh cannot be read");
        Mesh::default()
    })
}
