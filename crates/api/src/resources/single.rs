//! GET of one resource, in either form.

use axum::response::Response;
use meshspan_model::{Kind, Resource, document};

use super::{require_mesh, zone_views};
use crate::caller::Caller;
use crate::error::{ApiError, COULD_NOT_RETRIEVE};
use crate::path::Target;
use crate::query::Query;
use crate::response;
use crate::state::ApiState;

pub(super) fn get(
    kind: Kind,
    state: &ApiState,
    caller: &Caller,
    target: &Target,
    query: &Query,
) -> Result<Response, ApiError> {
    state.settings.access.require_kind(kind, caller)?;
    if kind.is_mesh_scoped() {
        require_mesh(state, target)?;
    }
    let stored = state
        .store
        .get(&target.key(kind))
        .ok_or_else(|| ApiError::not_found(COULD_NOT_RETRIEVE))?;
    render(&stored.resource, query, state)
}

/// One resource in the form that parameter `format` asks for.
pub(crate) fn render(resource: &Resource, query: &Query, state: &ApiState) -> Result<Response, ApiError> {
    let resource = &zone_views::shown(resource, &state.settings.mode, &state.store.snapshot());
    match query.first("format") {
        None | Some("universal") => Ok(response::ok(&document::universal(resource))),
        Some("kubernetes" | "k8s") => {
            let namespace = query.first("namespace").unwrap_or(&state.settings.system_namespace);
            Ok(response::ok(&document::kubernetes(resource, namespace)))
        }
        Some(other) => {
            let reason = format!("is \"{other}\", must be universal, kubernetes or k8s");
            Err(ApiError::bad_query("Invalid format", "format", reason))
        }
    }
}
