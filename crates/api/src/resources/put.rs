//! PUT: creates or replaces one resource. POST to `_validate` below it tells what a PUT would answer, and writes nothing;
//! with `?meshFollows=true` also in a mesh that is yet to be written.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use meshspan_model::document::MAX_DOCUMENT;
use meshspan_model::kinds::mesh::Mesh;
use meshspan_model::{Kind, Resource, Violations, document};
use meshspan_store::{Snapshot, StoreError, Stored, Write};
use serde_json::{Value, json};

use super::{meta, permission, require_mesh};
use crate::caller::Caller;
use crate::error::{ApiError, COULD_NOT_PROCESS};
use crate::inspect::flag;
use crate::path::Target;
use crate::provisioning;
use crate::query::Query;
use crate::rules::{self, Context};
use crate::state::ApiState;
use crate::{body, response};

/// How often a write is planned anew because somebody else than a caller, as a zone or the control plane itself, was faster.
pub(super) const ATTEMPTS: usize = 10;

pub(super) async fn put(
    kind: Kind,
    state: &ApiState,
    caller: &Caller,
    target: &Target,
    body: Body,
) -> Result<Response, ApiError> {
    permission::require_writable(kind, &state.settings)?;
    permission::require_writer(caller, &state.settings)?;
    // Before anything else is looked at: who may not see secrets must not learn from errors which exist.
    state.settings.access.require_kind(kind, caller)?;
    if kind.is_mesh_scoped() {
        require_mesh(state, target)?;
    }
    let document = read(kind, body).await?;
    let _turn = state.write_turns.take(&target.key(kind)).await;
    let mut attempts = 1;
    loop {
        let change = plan(state, target, &document).await?;
        match state.store.apply(change.writes).await {
            Ok(_) => return Ok(answer(change.created, &change.warnings)),
            Err(StoreError::Conflict { .. } | StoreError::AlreadyExists { .. } | StoreError::NotFound { .. })
                if attempts < ATTEMPTS =>
            {
                attempts += 1;
            }
            Err(error) => return Err(ApiError::store(COULD_NOT_PROCESS, error)),
        }
    }
}

pub(super) async fn validate(
    kind: Kind,
    state: &ApiState,
    caller: &Caller,
    target: &Target,
    query: &Query,
    body: Body,
) -> Result<Response, ApiError> {
    permission::require_writable(kind, &state.settings)?;
    state.settings.access.require_kind(kind, caller)?;
    if kind.is_mesh_scoped() && !flag(query, "meshFollows")? {
        require_mesh(state, target)?;
    }
    let document = read(kind, body).await?;
    let snapshot = state.store.snapshot();
    let checked = check(state, target, &document, &snapshot)?;
    let created = checked.stored.is_none();
    Ok(response::ok(
        &json!({ "created": created, "warnings": checked.warnings }),
    ))
}

/// Size of a body from which on its defaults are counted, in bytes: no list item grows by more than this part.
const GROWS_FROM: usize = MAX_DOCUMENT / 64;

/// Parses and checks the body, as far as that depends on nothing else.
async fn read(kind: Kind, body: Body) -> Result<document::Parsed, ApiError> {
    let bytes = body::read(body).await?;
    let value = document::parse_json(&bytes)
        .map_err(|error| ApiError::bad_request(format!("the body is no {kind}: {error}")))?;
    let invalid = |violations: &Violations| ApiError::invalid(COULD_NOT_PROCESS, violations);
    match value.get("type").and_then(Value::as_str) {
        Some(name) if name == kind.name() => {}
        Some(other) => {
            return Err(invalid(&Violations::one(
                "type",
                format!("is \"{other}\", must be \"{kind}\" as in the URL"),
            )));
        }
        None => return Err(invalid(&Violations::one("type", format!("must be \"{kind}\"")))),
    }
    let parsed = document::read(&value).map_err(|violations| invalid(&violations))?;
    // Small texts become large with defaults in many places; what is stored must fit into a message to other zones.
    if bytes.len() > GROWS_FROM {
        let size = parsed.resource.spec.to_string().len();
        if size > MAX_DOCUMENT {
            let reason = format!("has {size} bytes together with its defaults, must be at most {MAX_DOCUMENT}");
            return Err(invalid(&Violations::one("spec", reason)));
        }
    }
    Ok(parsed)
}

/// What is to be done, seen from one state of the store.
struct Change {
    writes: Vec<Write>,
    created: bool,
    warnings: Vec<String>,
}

/// A resource that may be stored.
struct Checked<'a> {
    resource: Resource,
    /// What it would be stored over.
    stored: Option<&'a Arc<Stored>>,
    warnings: Vec<String>,
}

/// Completes and checks a document against one state of the store.
fn check<'a>(
    state: &ApiState,
    target: &Target,
    document: &document::Parsed,
    snapshot: &'a Snapshot,
) -> Result<Checked<'a>, ApiError> {
    let settings = state.settings.as_ref();
    let mut resource = document.resource.clone();
    let stored = snapshot.get(&target.key(resource.kind));
    let existing = stored.map(|stored| stored.resource.as_ref());
    let invalid = |violations: Violations| ApiError::invalid(COULD_NOT_PROCESS, &violations);

    let mut warnings = document.warnings.clone();
    warnings.extend(meta::check(&resource, existing, target, settings).map_err(invalid)?);
    meta::complete_labels(&mut resource, existing, settings);
    meta::check_identity(&resource, snapshot).map_err(invalid)?;
    let context = Context {
        settings,
        snapshot,
        now: state.now(),
    };
    rules::before_put(&context, &mut resource, existing).map_err(invalid)?;
    warnings.extend(rules::warnings(&context, &resource));
    Ok(Checked {
        resource,
        stored,
        warnings,
    })
}

async fn plan(state: &ApiState, target: &Target, document: &document::Parsed) -> Result<Change, ApiError> {
    let snapshot = state.store.snapshot();
    let Checked {
        resource,
        stored,
        warnings,
    } = check(state, target, document, &snapshot)?;
    let belongings = belongings_of_mesh(state, &resource, stored.is_none(), &snapshot).await?;
    let write = match stored {
        Some(stored) => Write::Update {
            resource,
            expected: Some(stored.spec_version),
        },
        None => {
            let owner = resource.kind.is_mesh_scoped().then(|| target.mesh_key());
            Write::Create { resource, owner }
        }
    };
    let writes = std::iter::once(write).chain(belongings).collect();
    Ok(Change {
        writes,
        created: stored.is_none(),
        warnings,
    })
}

/// A mesh is never seen without its secrets, and a new one not without its first policies.
async fn belongings_of_mesh(
    state: &ApiState,
    resource: &Resource,
    is_new: bool,
    snapshot: &Snapshot,
) -> Result<Vec<Write>, ApiError> {
    if resource.kind != Kind::Mesh {
        return Ok(Vec::new());
    }
    let mesh: Mesh = resource
        .parse()
        .map_err(|violations| ApiError::invalid(COULD_NOT_PROCESS, &violations))?;
    let mut writes = if is_new {
        provisioning::policy_writes(&resource.name, &mesh, snapshot, &state.settings)
    } else {
        Vec::new()
    };
    let secrets = provisioning::secret_writes(&resource.name, mesh, snapshot.clone(), state.now()).await;
    writes.extend(secrets.map_err(|error| ApiError::internal(COULD_NOT_PROCESS, &error))?);
    Ok(writes)
}

fn answer(created: bool, warnings: &[String]) -> Response {
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    match warnings {
        [] => response::json(status, &json!({})),
        warnings => response::json(status, &json!({ "warnings": warnings })),
    }
}
