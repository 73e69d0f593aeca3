//! `_config`: what a proxy is sent, also as if shadow policies applied, and the difference (`spec/http-api.md` §3.7).

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use meshspan_model::{Kind, ResourceKey};
use serde_json::{Map, Value, json};

use super::{diff, flag};
use crate::access;
use crate::caller::Caller;
use crate::error::{ApiError, COULD_NOT_RETRIEVE};
use crate::path::Target;
use crate::query::Query;
use crate::resources::require_mesh;
use crate::response;
use crate::settings::Mode;
use crate::state::ApiState;

/// Envoy resources by type URL and name.
pub type XdsResources = BTreeMap<String, BTreeMap<String, Value>>;

/// Type URL of the resources that hold keys, which nobody is shown.
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// Whoever knows what proxies are sent.
pub trait ProxyConfigs: Send + Sync {
    /// What the Dataplane `name` of a mesh is sent, or would be sent if policies in shadow were in effect; `None` if it
    /// is no proxy of this control plane.
    fn resources(&self, mesh: String, name: String, shadow: bool) -> ProxyConfigFuture;

    /// What keeps clients from proxies, with value and remedy; only those where something does.
    fn problems(&self) -> ProxyProblemsFuture;
}

/// The answer of [`ProxyConfigs::problems`].
pub type ProxyProblemsFuture = Pin<Box<dyn Future<Output = Result<ProxyProblems, ProxyConfigError>> + Send>>;

/// Problems by the resource of the proxy.
pub type ProxyProblems = BTreeMap<ResourceKey, Vec<String>>;

/// The answer of [`ProxyConfigs`].
pub type ProxyConfigFuture = Pin<Box<dyn Future<Output = Result<Option<XdsResources>, ProxyConfigError>> + Send>>;

/// Why the configuration of a proxy cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ProxyConfigError {
    /// Whoever knows it has stopped.
    #[error("the control plane is stopping")]
    Stopped,
    /// It cannot be made or written.
    #[error("the configuration of the proxy cannot be made: {0}")]
    Projection(String),
}

pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/meshes/{mesh}/dataplanes/{name}/_config", get(config))
}

async fn config(
    State(state): State<ApiState>,
    caller: Caller,
    Path(target): Path<Target>,
    query: Query,
) -> Result<Response, ApiError> {
    access::require(
        &state.settings.access.view_config_dump,
        &caller,
        "view the configuration of proxies",
    )?;
    if state.settings.mode == Mode::Global {
        let reason = "the global control plane has no proxies; ask the control plane of the proxy's zone";
        return Err(ApiError::method_not_allowed(reason));
    }
    let shadow = flag(&query, "shadow")?;
    let with_diff = includes_diff(&query)?;
    require_mesh(&state, &target)?;
    let absent = || ApiError::not_found(COULD_NOT_RETRIEVE);
    state.store.get(&target.key(Kind::Dataplane)).ok_or_else(absent)?;
    let configs = state
        .proxy_configs
        .as_ref()
        .ok_or_else(|| ApiError::unavailable("this control plane serves no proxies"))?;
    let resources = async |shadow| -> Result<Value, ApiError> {
        let found = configs
            .resources(target.mesh.clone(), target.name.clone(), shadow)
            .await;
        let mut found = found.map_err(failure)?.ok_or_else(absent)?;
        found.remove(SECRET);
        Ok(json!(found))
    };
    let xds = resources(shadow).await?;
    let mut answer = Map::new();
    if with_diff {
        let patch = match shadow {
            true => diff::patch(&resources(false).await?, &xds),
            false => Vec::new(),
        };
        answer.insert("diff".into(), patch.into());
    }
    answer.insert("xds".into(), xds);
    Ok(response::ok(&Value::Object(answer)))
}

/// Parameter `include`: a list of which the only entry can be `diff`.
fn includes_diff(query: &Query) -> Result<bool, ApiError> {
    let wanted = query.all("include").flat_map(|list| list.split(','));
    let wanted: Vec<_> = wanted.filter(|entry| !entry.is_empty()).collect();
    match wanted.iter().find(|entry| **entry != "diff") {
        Some(other) => {
            let reason = format!("is \"{other}\", must be diff");
            Err(ApiError::bad_query("Invalid parameter", "include", reason))
        }
        None => Ok(!wanted.is_empty()),
    }
}

pub(crate) fn failure(error: ProxyConfigError) -> ApiError {
    match error {
        ProxyConfigError::Stopped => ApiError::unavailable(error.to_string()),
        ProxyConfigError::Projection(_) => ApiError::internal(COULD_NOT_RETRIEVE, &error),
    }
}
