//! The same answers in the shapes that kumactl and the GUI of 2.9 ask for (`spec/http-api.md` §2.3, §3.8).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use meshspan_model::policy::PolicyKind;
use meshspan_policy::Policy;
use serde_json::{Value, json};

use super::describe::meta;
use super::inspected::Inspected;
use super::touched;
use crate::error::ApiError;
use crate::path::Target;
use crate::query::Query;
use crate::response;
use crate::state::ApiState;

pub(super) fn routes() -> Router<ApiState> {
    let router = Router::new().route("/meshes/{mesh}/dataplanes/{name}/policies", get(policies));
    PolicyKind::ALL.iter().fold(router, |router, kind| {
        let handler = move |State(state): State<ApiState>, Path(target): Path<Target>, query: Query| async move {
            dataplanes(*kind, &state, &target, &query)
        };
        let path = format!("/meshes/{{mesh}}/{}/{{name}}/dataplanes", kind.kind().info().path);
        router.route(&path, get(handler))
    })
}

/// The proxies that a policy touches.
fn dataplanes(kind: PolicyKind, state: &ApiState, target: &Target, query: &Query) -> Result<Response, ApiError> {
    let found = touched::find(kind, state, target, query, &state.store.snapshot())?;
    let items: Vec<Value> = found
        .touched
        .iter()
        .map(|dataplane| {
            json!({
                "kind": "SidecarDataplane",
                "dataplane": {"mesh": dataplane.mesh, "name": dataplane.name},
                "attachments": [{"type": "dataplane"}],
            })
        })
        .collect();
    Ok(response::ok(&json!({"total": items.len(), "items": items})))
}

/// The policies that apply to a proxy, by the part of it that they apply to.
async fn policies(
    State(state): State<ApiState>,
    Path(target): Path<Target>,
    query: Query,
) -> Result<Response, ApiError> {
    let snapshot = state.store.snapshot();
    let proxy = Inspected::of(&state, &target, &query, &snapshot)?;
    let matched = &proxy.effective.matched;
    let mut items = Vec::new();
    let as_a_whole = by_kind(matched.whole.iter().chain(&matched.outbound));
    if !as_a_whole.is_empty() {
        items.push(json!({"type": "dataplane", "name": "", "service": "", "matchedPolicies": as_a_whole}));
    }
    let networking = &proxy.dataplane.networking;
    for (inbound, policies) in networking.inbound.iter().zip(&matched.inbounds) {
        if policies.is_empty() {
            continue;
        }
        let address = proxy.dataplane.inbound_address(inbound);
        items.push(json!({
            "type": "inbound",
            "name": format!("{address}:{}:{}", inbound.port, inbound.workload_port()),
            "service": inbound.service(),
            "matchedPolicies": by_kind(policies.iter()),
        }));
    }
    Ok(response::ok(
        &json!({"kind": "SidecarDataplane", "total": items.len(), "items": items}),
    ))
}

/// Each policy once, though it may apply to the proxy as a whole and to outgoing traffic.
fn by_kind<'a>(policies: impl Iterator<Item = &'a Arc<Policy>>) -> BTreeMap<&'static str, Vec<Value>> {
    let mut found: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
    for policy in policies {
        let of_kind = found.entry(policy.id.kind.name()).or_default();
        let meta = meta(&policy.resource);
        if !of_kind.contains(&meta) {
            of_kind.push(meta);
        }
    }
    found
}
