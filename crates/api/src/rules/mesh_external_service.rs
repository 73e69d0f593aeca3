//! MeshExternalService: certificates and keys that its TLS names must be what they are for. A Secret may come later.

use meshspan_identity::{CaHalf, CaProblem, SecretContentError, check_provided_ca};
use meshspan_model::kinds::mesh_external_service::MeshExternalService;
use meshspan_model::kinds::mesh_external_service::tls::{DataSource, Source, Verification};
use meshspan_model::{Kind, Resource, ResourceKey, Violations};
use meshspan_store::Snapshot;

use super::Context;
use crate::data_source::secret_bytes;

const PATH: &str = "spec.tls.verification";

/// Checks the bytes that are known, inline or in a Secret.
pub(super) fn before_put(context: &Context<'_>, resource: &Resource) -> Result<(), Violations> {
    let Some(verification) = verification(resource) else {
        return Ok(());
    };
    let bytes_of = |source: &DataSource| bytes(source, &resource.mesh, context.snapshot);
    let mut violations = Violations::new();
    for (field, source) in verification.sources() {
        let checked = bytes_of(source).map_or(Ok(()), |bytes| half_of(field).check(&bytes));
        if let Err(error) = checked {
            let reason = match error {
                SecretContentError::Ca(problem) => problem.to_string(),
                other => other.to_string(),
            };
            violations.add(format!("{PATH}.{field}"), reason);
        }
    }
    let pair = (
        verification.client_cert.as_ref().and_then(bytes_of),
        verification.client_key.as_ref().and_then(bytes_of),
    );
    if let (true, (Some(cert), Some(key))) = (violations.is_empty(), pair) {
        let problems = check_provided_ca(&cert, &key, context.now);
        if problems.contains(&CaProblem::KeyMismatch) {
            violations.add(
                format!("{PATH}.clientKey"),
                "does not belong to the first certificate of clientCert: give the pair that was made together",
            );
        }
    }
    violations.into_result()
}

/// What a field holds.
fn half_of(field: &str) -> CaHalf {
    match field {
        "clientKey" => CaHalf::Key,
        _ => CaHalf::Certificate,
    }
}

/// What a Secret has to hold for the services that name it.
pub(super) fn halves_of_secret(snapshot: &Snapshot, secret_key: &ResourceKey) -> Vec<CaHalf> {
    let services = snapshot.list(Kind::MeshExternalService, Some(&secret_key.mesh));
    let verifications = services.filter_map(|stored| verification(&stored.resource));
    let of_service = |verification: Verification| -> Vec<CaHalf> {
        let sources = verification.sources();
        let named = sources.filter(|(_, source)| secret(source) == Some(secret_key.name.as_str()));
        named.map(|(field, _)| half_of(field)).collect()
    };
    verifications.flat_map(of_service).collect()
}

/// Secrets that are not there.
pub(super) fn warnings(snapshot: &Snapshot, resource: &Resource) -> Vec<String> {
    let Some(verification) = verification(resource) else {
        return Vec::new();
    };
    let mesh = &resource.mesh;
    let missing = verification.sources().filter_map(|(field, source)| {
        let name = secret(source).filter(|name| snapshot.get(&key(mesh, name)).is_none())?;
        Some(format!(
            "{PATH}.{field}.secret: there is no Secret \"{name}\" in mesh \"{mesh}\" at present, and no connection without it; \
             create it"
        ))
    });
    missing.collect()
}

/// What stops working when a Secret goes.
pub(super) fn warnings_of_secret_delete(snapshot: &Snapshot, deleted: &ResourceKey) -> Vec<String> {
    let services = snapshot.list(Kind::MeshExternalService, Some(&deleted.mesh));
    let users = services.filter(|stored| {
        let verification = verification(&stored.resource);
        verification.is_some_and(|verification| {
            let mut sources = verification.sources();
            sources.any(|(_, source)| secret(source) == Some(deleted.name.as_str()))
        })
    });
    users
        .map(|stored| {
            format!(
                "MeshExternalService \"{}\" uses it for its TLS, and cannot be reached without it",
                stored.resource.name
            )
        })
        .collect()
}

fn verification(resource: &Resource) -> Option<Verification> {
    resource.parse::<MeshExternalService>().ok()?.tls?.verification
}

fn key(mesh: &str, secret: &str) -> ResourceKey {
    ResourceKey::new(Kind::Secret, mesh, secret)
}

/// The Secret that a data source names.
fn secret(source: &DataSource) -> Option<&str> {
    match source.source() {
        Ok(Source::Secret(name)) => Some(name),
        Ok(Source::Bytes(_)) | Err(_) => None,
    }
}

fn bytes(source: &DataSource, mesh: &str, snapshot: &Snapshot) -> Option<Vec<u8>> {
    match source.source().ok()? {
        Source::Bytes(bytes) => Some(bytes),
        Source::Secret(name) => secret_bytes(&snapshot.get(&key(mesh, name))?.resource),
    }
}
