//! Resources: one set of handlers for all kinds of the table.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use meshspan_model::Kind;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::listing::Listing;
use crate::path::Target;
use crate::query::Query;
use crate::state::ApiState;

mod dataplane_filter;
mod delete;
mod list;
mod meta;
pub(crate) mod permission;
mod put;
pub(crate) mod single;
mod zone_views;

pub(crate) use dataplane_filter::DataplaneFilter;

/// All paths of one kind.
pub(crate) fn routes(kind: Kind) -> Router<ApiState> {
    let info = kind.info();
    let paths = std::iter::once(&info.path).chain(info.path_aliases);
    paths.fold(Router::new(), |router, path| {
        let list = move |State(state): State<ApiState>, caller: Caller, Path(target): Path<Target>, listing: Listing| async move {
            list::list(kind, &state, &caller, &target, &listing)
        };
        let read = move |State(state): State<ApiState>, caller: Caller, Path(target): Path<Target>, query: Query| async move {
            single::get(kind, &state, &caller, &target, &query)
        };
        let write = move |State(state): State<ApiState>, caller: Caller, Path(target): Path<Target>, body: Body| async move {
            put::put(kind, &state, &caller, &target, body).await
        };
        let remove = move |State(state): State<ApiState>, caller: Caller, Path(target): Path<Target>| async move {
            delete::delete(kind, &state, &caller, &target).await
        };
        let check = move |State(state): State<ApiState>, caller: Caller, Path(target): Path<Target>, query: Query, body: Body| async move {
            put::validate(kind, &state, &caller, &target, &query, body).await
        };
        let prefix = if kind.is_mesh_scoped() { "/meshes/{mesh}" } else { "" };
        let router = if kind.is_mesh_scoped() { router.route(&format!("/{path}"), get(list)) } else { router };
        router
            .route(&format!("{prefix}/{path}"), get(list))
            .route(&format!("{prefix}/{path}/{{name}}"), get(read).put(write).delete(remove))
            .route(&format!("{prefix}/{path}/{{name}}/_validate"), post(check))
    })
}

/// Refuses a path into a mesh that does not exist.
pub(crate) fn require_mesh(state: &ApiState, target: &Target) -> Result<(), ApiError> {
    match state.store.get(&target.mesh_key()) {
        Some(_) => Ok(()),
        None => Err(ApiError::not_found(crate::error::NO_MESH)),
    }
}
