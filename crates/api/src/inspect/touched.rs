//! The proxies that a policy touches (`spec/http-api.md` §2.2), and what of it is without effect.
//!
//! Beyond the compatible fields, `message` says why there are none, and `warnings` what else whoever wrote the policy
//! should know, all of which is true at this moment: warnings of a PUT are gone with its answer.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use meshspan_model::Resource;
use meshspan_model::policy::PolicyKind;
use meshspan_policy::{Mode as Shadow, Policy};
use meshspan_store::Snapshot;
use serde_json::{Value, json};

use super::describe::meta;
use super::{MeshPolicies, shadow};
use crate::error::{ApiError, COULD_NOT_RETRIEVE};
use crate::listing::Listing;
use crate::path::Target;
use crate::query::Query;
use crate::resources::require_mesh;
use crate::response;
use crate::rules::Context;
use crate::rules::policy::standing;
use crate::state::ApiState;

pub(super) fn routes() -> Router<ApiState> {
    PolicyKind::ALL.iter().fold(Router::new(), |router, kind| {
        let handler = move |State(state): State<ApiState>, Path(target): Path<Target>, listing: Listing| async move {
            list(*kind, &state, &target, &listing)
        };
        let policy = format!("/meshes/{{mesh}}/{}/{{name}}", kind.kind().info().path);
        router
            .route(&format!("{policy}/_resources/dataplanes"), get(handler))
            .route(&format!("{policy}/_dataplanes"), get(handler))
            // As kumactl spells it.
            .route(&format!("{policy}/-resources/dataplanes"), get(handler))
    })
}

fn list(kind: PolicyKind, state: &ApiState, target: &Target, listing: &Listing) -> Result<Response, ApiError> {
    let snapshot = state.store.snapshot();
    let found = find(kind, state, target, &listing.query, &snapshot)?;
    let touched = found.touched.clone();
    let shown = touched
        .into_iter()
        .filter(|dataplane| listing.matches(dataplane))
        .collect();
    let mut page = listing.page(shown, |dataplane| meta(&dataplane));
    if let Some(object) = page.as_object_mut() {
        if let Some(message) = found.message {
            object.insert("message".into(), message.into());
        }
        if !found.warnings.is_empty() {
            object.insert("warnings".into(), json!(found.warnings));
        }
    }
    Ok(response::ok::<Value>(&page))
}

/// The effect of a policy at present.
pub(super) struct Found {
    /// The proxies that it touches.
    pub(super) touched: Vec<Arc<Resource>>,
    /// Why there are none.
    message: Option<String>,
    warnings: Vec<String>,
}

/// Finds the proxies that the policy in a path touches; of a policy in shadow, those that it would touch.
///
/// # Errors
/// 404 if there is no such mesh or policy, 400 for bad parameters.
pub(super) fn find(
    kind: PolicyKind,
    state: &ApiState,
    target: &Target,
    query: &Query,
    snapshot: &Snapshot,
) -> Result<Found, ApiError> {
    require_mesh(state, target)?;
    let shadow = shadow(query)?;
    let stored = snapshot
        .get(&target.key(kind.kind()))
        .ok_or_else(|| ApiError::not_found(COULD_NOT_RETRIEVE))?;
    let policy = match Policy::load(kind, Arc::clone(&stored.resource)) {
        Ok(policy) => policy,
        // Stored by another version, or sent by another control plane.
        Err(violations) => {
            return Ok(Found {
                touched: Vec::new(),
                message: Some(format!("touches no proxy: the policy cannot be read: {violations}")),
                warnings: Vec::new(),
            });
        }
    };
    let mesh = MeshPolicies::around_one(kind, &target.mesh, snapshot, &state.settings.mode);
    let shadow = if policy.shadow { Shadow::WithShadow } else { shadow };
    let touched: Vec<_> = mesh.touched_by(&policy, shadow).cloned().collect();
    let mut warnings = Vec::new();
    if policy.shadow {
        warnings.push("is in shadow (label kuma.io/effect): it is computed, but changes no traffic".to_owned());
    }
    if let Ok(checked) = kind.kind().check(&policy.resource.spec) {
        warnings.extend(checked.warnings);
    }
    let context = Context {
        settings: &state.settings,
        snapshot,
        now: state.now(),
    };
    warnings.extend(standing(&context, &mesh, &policy));
    Ok(Found {
        message: if MeshPolicies::selects_egresses(&policy) {
            Some("decides who leaves the mesh through zone egresses".to_owned())
        } else {
            touched.is_empty().then(|| mesh.untouched(&policy)).flatten()
        },
        touched,
        warnings,
    })
}
