//! What policies mean: which of them apply to a proxy and what they say together, and the reverse
//! (`spec/http-api.md` §2.2, §2.4, §3.6). Computed from the store on each read, on the global as in a zone.
//!
//! | path | answer |
//! |---|---|
//! | `…/dataplanes/{name}/_rules` | all rules of a proxy, by kind (`rules`) |
//! | `…/dataplanes/{name}/_policies`, `_inbounds`, `_outbounds`, `_routes` | effective policies with their origins (`policies`) |
//! | `…/dataplanes/{name}/_config` | what the proxy is sent, also as if shadow policies applied (`config`) |
//! | `…/{policies}/{name}/_resources/dataplanes` | the proxies that a policy touches (`touched`) |
//! | `…/dataplanes/{name}/policies`, `…/{policies}/{name}/dataplanes` | the same for older clients (`older`) |
//!
//! Parameter `shadow=true` counts policies labelled `kuma.io/effect: shadow` as if they were in effect.

use axum::Router;
use meshspan_policy::Mode as Shadow;

use crate::error::ApiError;
use crate::query::Query;
use crate::state::ApiState;

mod config;
mod describe;
mod diff;
mod inspected;
mod mesh_policies;
mod older;
mod outbound;
mod policies;
mod rules;
mod silenced;
mod touched;

pub(crate) use config::failure;
pub use config::{ProxyConfigError, ProxyConfigFuture, ProxyConfigs, ProxyProblems, ProxyProblemsFuture, XdsResources};
pub(crate) use mesh_policies::MeshPolicies;

/// All paths of this module.
pub(crate) fn routes() -> Router<ApiState> {
    Router::new()
        .merge(rules::routes())
        .merge(policies::routes())
        .merge(config::routes())
        .merge(touched::routes())
        .merge(older::routes())
}

/// A parameter that is true or false, false by default.
pub(crate) fn flag(query: &Query, name: &'static str) -> Result<bool, ApiError> {
    match query.first(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            let reason = format!("is \"{other}\", must be true or false");
            Err(ApiError::bad_query("Invalid parameter", name, reason))
        }
    }
}

/// Parameter `shadow`.
fn shadow(query: &Query) -> Result<Shadow, ApiError> {
    Ok(match flag(query, "shadow")? {
        true => Shadow::WithShadow,
        false => Shadow::Live,
    })
}
