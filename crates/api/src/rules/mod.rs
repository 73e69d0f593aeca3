//! What particular kinds demand beyond schema, names and labels (`spec/http-api.md` §4.4). One file a kind; kinds
//! without a file have no such rules.

use meshspan_model::policy::PolicyKind;
use meshspan_model::{Kind, Resource, ResourceKey, Violations};
use meshspan_store::Snapshot;
use time::OffsetDateTime;

use crate::settings::{Mode, Settings};

pub mod dataplane;
mod mesh;
mod mesh_external_service;
mod mesh_service;
mod permission_effects;
pub(crate) mod policy;
pub mod secret;
mod unknown_zones;
mod zone;

/// What a rule may look at.
pub(crate) struct Context<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) now: OffsetDateTime,
}

/// Completes and checks a resource that is about to be stored over `existing`.
///
/// # Errors
/// All violations.
pub(crate) fn before_put(
    context: &Context<'_>,
    resource: &mut Resource,
    existing: Option<&Resource>,
) -> Result<(), Violations> {
    match resource.kind {
        Kind::Mesh => mesh::before_put(context, resource, existing),
        Kind::Dataplane => match &context.settings.mode {
            Mode::Zone { name, .. } => dataplane::prepare(resource, existing, name, context.snapshot),
            Mode::Global => Ok(()),
        },
        Kind::MeshService => mesh_service::before_put(resource, existing),
        Kind::MeshExternalService => mesh_external_service::before_put(context, resource),
        Kind::Secret | Kind::GlobalSecret => secret::before_put(context.snapshot, resource),
        kind => match PolicyKind::of(kind) {
            Some(kind) => policy::before_put(context, kind, resource, existing),
            None => Ok(()),
        },
    }
}

/// What the user should know about a resource that is about to be stored and has passed [`before_put`].
pub(crate) fn warnings(context: &Context<'_>, resource: &Resource) -> Vec<String> {
    let mut warnings = match (resource.kind, PolicyKind::of(resource.kind)) {
        (_, Some(kind)) => policy::warnings(context, kind, resource),
        (Kind::MeshService, None) => mesh_service::warnings(context.snapshot, resource),
        (Kind::MeshExternalService, None) => mesh_external_service::warnings(context.snapshot, resource),
        _ => Vec::new(),
    };
    warnings.extend(permission_effects::of_put(context, resource));
    warnings
}

/// What the user should know about a deletion that has passed [`before_delete`].
pub(crate) fn warnings_of_delete(context: &Context<'_>, key: &ResourceKey) -> Vec<String> {
    let mut warnings = permission_effects::of_delete(context, key);
    if key.kind == Kind::Secret {
        warnings.extend(mesh_external_service::warnings_of_secret_delete(context.snapshot, key));
    }
    warnings
}

/// Checks whether a resource may be deleted.
///
/// # Errors
/// What it is needed for.
pub(crate) fn before_delete(context: &Context<'_>, resource: &Resource) -> Result<(), Violations> {
    if context.settings.unsafe_delete {
        return Ok(());
    }
    match resource.kind {
        Kind::Mesh => mesh::before_delete(context.snapshot, resource),
        Kind::Zone => zone::before_delete(context.snapshot, resource),
        Kind::Secret | Kind::GlobalSecret => secret::before_delete(context.snapshot, resource),
        _ => Ok(()),
    }
}
