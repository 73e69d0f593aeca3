//! Mesh: its CAs must work, its CA must not change under running proxies, and it must be empty to be deleted.

use meshspan_identity::check_provided_ca;
use meshspan_model::kinds::mesh::{CaBackend, Mesh};
use meshspan_model::{Kind, Resource, Violations};
use meshspan_store::Snapshot;
use serde_json::Value;
use time::OffsetDateTime;

use super::Context;
use crate::data_source::{self, Data};
use crate::provisioning::mesh_spec;

pub(super) fn before_put(
    context: &Context<'_>,
    resource: &Resource,
    existing: Option<&Resource>,
) -> Result<(), Violations> {
    let mesh: Mesh = resource.parse()?;
    let mut violations = Violations::new();
    if let Some(existing) = existing.map(mesh_spec) {
        check_backend_change(&existing, &mesh, &mut violations);
    }
    if let Some(mtls) = mesh.mtls.as_ref().filter(|mtls| !mtls.skip_validation) {
        for (index, backend) in mtls.backends.iter().enumerate() {
            let path = format!("mtls.backends[{index}].conf");
            match backend.backend_type.as_str() {
                "provided" => check_provided(context, &resource.name, backend, &path, &mut violations),
                _ => check_builtin(&resource.name, backend, &path, &mut violations),
            }
        }
    }
    violations.into_result()
}

/// A direct switch would leave proxies with certificates that others do not trust.
fn check_backend_change(existing: &Mesh, mesh: &Mesh, violations: &mut Violations) {
    let enabled = |mesh: &Mesh| {
        mesh.mtls
            .as_ref()
            .map(|mtls| mtls.enabled_backend.clone())
            .unwrap_or_default()
    };
    let (before, after) = (enabled(existing), enabled(mesh));
    if !before.is_empty() && !after.is_empty() && before != after {
        violations.add(
            "mtls.enabledBackend",
            format!("cannot change from \"{before}\" to \"{after}\" while mTLS is enabled; disable mTLS first"),
        );
    }
}

fn check_builtin(mesh: &str, backend: &CaBackend, path: &str, violations: &mut Violations) {
    let Ok(conf) = backend.builtin() else { return };
    if ![2048, 3072, 4096, 8192].contains(&conf.rsa_bits) {
        violations.add(
            format!("{path}.caCert.RSAbits"),
            format!("is {}, must be 2048, 3072, 4096 or 8192", conf.rsa_bits),
        );
    }
    // A longer name would be no valid name of the Secret that holds the certificate.
    let name = meshspan_identity::secret_names::builtin_ca_cert(mesh, &backend.name);
    if let Err(reason) = meshspan_model::name::check_subdomain(&name) {
        violations.add(
            path.trim_end_matches("conf").to_owned() + "name",
            format!("makes an invalid secret name: {reason}"),
        );
    }
}

fn check_provided(context: &Context<'_>, mesh: &str, backend: &CaBackend, path: &str, violations: &mut Violations) {
    let cert = read(context.snapshot, mesh, backend, "cert", path, violations);
    let key = read(context.snapshot, mesh, backend, "key", path, violations);
    if let (Some(cert), Some(key)) = (cert, key) {
        check_pair(&cert, &key, context.now, path, violations);
    }
}

fn check_pair(cert: &[u8], key: &[u8], now: OffsetDateTime, path: &str, violations: &mut Violations) {
    for problem in check_provided_ca(cert, key, now) {
        violations.add(format!("{path}.{}", problem.field()), problem.to_string());
    }
}

/// The bytes of one part of a provided CA, where they can be known here.
fn read(
    snapshot: &Snapshot,
    mesh: &str,
    backend: &CaBackend,
    part: &str,
    path: &str,
    violations: &mut Violations,
) -> Option<Vec<u8>> {
    let source = backend
        .conf
        .as_ref()
        .and_then(|conf| conf.get(part))
        .unwrap_or(&Value::Null);
    match data_source::read(source, mesh, snapshot) {
        Ok(Data::Bytes(bytes)) => Some(bytes),
        Ok(Data::File) => None,
        Err((field, reason)) => {
            violations.add(format!("{path}.{part}.{field}").trim_end_matches('.'), reason);
            None
        }
    }
}

pub(super) fn before_delete(snapshot: &Snapshot, resource: &Resource) -> Result<(), Violations> {
    let dataplanes = snapshot.list(Kind::Dataplane, Some(&resource.name)).count();
    if dataplanes == 0 {
        return Ok(());
    }
    Err(Violations::one(
        "mesh",
        format!("has {dataplanes} dataplane proxies; stop and delete them first"),
    ))
}
