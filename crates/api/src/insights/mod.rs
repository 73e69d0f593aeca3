//! What is going on, computed from the store on each read: overviews, statuses and counters (`spec/http-api.md` §3.3,
//! §3.5). Nothing here is stored, so nothing here can be stale.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;

use crate::error::ApiError;
use crate::listing::Listing;
use crate::path::Target;
use crate::response;
use crate::state::ApiState;

mod global;
mod health;
mod hostnames;
mod mesh;
mod overview;
mod service;
mod service_proxies;

/// All paths of this module.
pub(crate) fn routes() -> Router<ApiState> {
    let read_only = |kind: &'static str| {
        move || async move { ApiError::method_not_allowed(format!("a {kind} is computed by the control plane")) }
    };
    let refuse_mesh = read_only("MeshInsight");
    let refuse_service = read_only("ServiceInsight");
    Router::new()
        .merge(overview::routes())
        .merge(hostnames::routes())
        .merge(service_proxies::routes())
        .route("/mesh-insights", get(mesh_insights))
        .route(
            "/mesh-insights/{name}",
            get(mesh_insight).put(refuse_mesh).delete(refuse_mesh),
        )
        .route("/service-insights", get(service_insights))
        .route("/meshes/{mesh}/service-insights", get(service_insights))
        .route(
            "/meshes/{mesh}/service-insights/{name}",
            get(service_insight).put(refuse_service).delete(refuse_service),
        )
        .route("/global-insight", get(global_insight))
        .route("/global-insights", get(global_insights))
        .route("/status/zones", get(zone_status))
}

async fn mesh_insights(State(state): State<ApiState>, listing: Listing) -> Response {
    mesh::list(&state, &listing)
}

async fn mesh_insight(State(state): State<ApiState>, Path(target): Path<Target>) -> Result<Response, ApiError> {
    mesh::get(&state, &target)
}

async fn service_insights(
    State(state): State<ApiState>,
    Path(target): Path<Target>,
    listing: Listing,
) -> Result<Response, ApiError> {
    service::list(&state, &target, &listing)
}

async fn service_insight(State(state): State<ApiState>, Path(target): Path<Target>) -> Result<Response, ApiError> {
    service::get(&state, &target)
}

async fn global_insight(State(state): State<ApiState>) -> Response {
    response::ok(&global::counters(&state.store.snapshot(), state.now()))
}

async fn global_insights(State(state): State<ApiState>) -> Response {
    response::ok(&global::totals(&state.store.snapshot(), state.now()))
}

async fn zone_status(State(state): State<ApiState>) -> Response {
    response::ok(&global::zone_status(&state.store.snapshot()))
}
