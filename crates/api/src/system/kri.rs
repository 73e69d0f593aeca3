//! Lookup by KRI.

use axum::response::Response;
use meshspan_model::kri::Kri;

use crate::error::{ApiError, COULD_NOT_RETRIEVE};
use crate::query::Query;
use crate::resources::single;
use crate::state::ApiState;

pub(super) fn get(state: &ApiState, text: &str, query: &Query) -> Result<Response, ApiError> {
    let kri: Kri = text
        .parse()
        .map_err(|error| ApiError::bad_request(format!("{error}")))?;
    let wanted = Kri {
        section: String::new(),
        ..kri
    };
    let snapshot = state.store.snapshot();
    let mesh = wanted.kind.is_mesh_scoped().then_some(wanted.mesh.as_str());
    let found = snapshot
        .list(wanted.kind, mesh)
        .find(|stored| stored.resource.kri().as_ref() == Some(&wanted));
    let stored = found.ok_or_else(|| ApiError::not_found(COULD_NOT_RETRIEVE))?;
    single::render(&stored.resource, query, state)
}
