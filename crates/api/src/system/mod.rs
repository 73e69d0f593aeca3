//! What the control plane says about itself (`spec/http-api.md` §2.1, §3.1, §3.2).

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use meshspan_model::kinds::config::Config;
use meshspan_model::{Kind, ResourceKey};
use serde_json::json;

use crate::access;
use crate::caller::Caller;
use crate::default_resources::CLUSTER_ID;
use crate::error::ApiError;
use crate::query::Query;
use crate::response;
use crate::settings::Mode;
use crate::state::ApiState;

pub(crate) mod backup;
mod kri;
mod types;

/// All paths of this module.
pub(crate) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/", get(index))
        .route("/config", get(config))
        .route("/who-am-i", get(who_am_i))
        .route("/_resources", get(resources))
        .route("/policies", get(policies))
        .route("/_kri/{kri}", get(by_kri))
}

/// The index alone, for a base path with a slash at its end.
pub(crate) fn index_route() -> axum::routing::MethodRouter<ApiState> {
    get(index)
}

async fn index(State(state): State<ApiState>) -> Response {
    let settings = &state.settings;
    // In a federated zone the id comes from the global, whenever that is reached.
    let cluster_id = state.store.get(&ResourceKey::new(Kind::Config, "", CLUSTER_ID));
    let cluster_id = cluster_id
        .and_then(|stored| stored.resource.parse::<Config>().ok())
        .unwrap_or_default()
        .config;
    let (mode, zone) = match &settings.mode {
        Mode::Global => ("global", None),
        Mode::Zone { name, .. } => ("zone", Some(name)),
    };
    response::ok(&json!({
        // Beyond the reference.
        "mode": mode,
        "zone": zone,
        "meshspan": env!("CARGO_PKG_VERSION"),
        "hostname": settings.hostname,
        "product": settings.product,
        "version": settings.version,
        "instanceId": settings.instance_id,
        "clusterId": cluster_id,
        "gui": settings.gui,
    }))
}

async fn config(State(state): State<ApiState>, caller: Caller) -> Result<Response, ApiError> {
    access::require(
        &state.settings.access.control_plane_metadata,
        &caller,
        "view the control plane's configuration",
    )?;
    Ok(response::ok(&state.settings.config))
}

async fn who_am_i(caller: Caller) -> Response {
    response::ok(&json!({"name": caller.name, "groups": caller.groups}))
}

async fn resources(State(state): State<ApiState>) -> Response {
    response::ok(&types::resources(&state.settings))
}

async fn policies(State(state): State<ApiState>) -> Response {
    response::ok(&types::policies(&state.settings))
}

async fn by_kri(State(state): State<ApiState>, Path(kri): Path<String>, query: Query) -> Result<Response, ApiError> {
    kri::get(&state, &kri, &query)
}
