//! The proxies that a MeshService selects (`spec/http-api.md` §2.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::mesh_service::{MeshService, Selector};
use meshspan_model::{Kind, Resource};
use serde_json::json;

use crate::error::{ApiError, COULD_NOT_RETRIEVE};
use crate::listing::Listing;
use crate::path::Target;
use crate::resources::require_mesh;
use crate::state::ApiState;

pub(super) fn routes() -> Router<ApiState> {
    let service = "/meshes/{mesh}/meshservices/{name}";
    Router::new()
        .route(&format!("{service}/_resources/dataplanes"), get(list))
        .route(&format!("{service}/_dataplanes"), get(list))
}

async fn list(
    State(state): State<ApiState>,
    Path(target): Path<Target>,
    listing: Listing,
) -> Result<Response, ApiError> {
    require_mesh(&state, &target)?;
    let snapshot = state.store.snapshot();
    let stored = snapshot
        .get(&target.key(Kind::MeshService))
        .ok_or_else(|| ApiError::not_found(COULD_NOT_RETRIEVE))?;
    let service: MeshService = stored
        .resource
        .parse()
        .map_err(|violations| ApiError::internal(COULD_NOT_RETRIEVE, &violations))?;
    let found: Vec<Arc<Resource>> = snapshot
        .list(Kind::Dataplane, Some(&target.mesh))
        .map(|dataplane| Arc::clone(&dataplane.resource))
        .filter(|dataplane| listing.matches(dataplane) && same_zone(dataplane, &stored.resource))
        .filter(|dataplane| selects(&service.selector, dataplane))
        .collect();
    Ok(listing.respond(found, |dataplane| {
        json!({
            "type": "Dataplane",
            "mesh": dataplane.mesh,
            "name": dataplane.name,
            "labels": dataplane.labels,
        })
    }))
}

/// A service has proxies in its own zone only. Resources made before labels were computed have no zone.
fn same_zone(dataplane: &Resource, service: &Resource) -> bool {
    let (left, right) = (dataplane.zone(), service.zone());
    left.is_empty() || right.is_empty() || left == right
}

fn selects(selector: &Selector, resource: &Resource) -> bool {
    if let Some(reference) = &selector.dataplane_ref {
        return reference.name == resource.name;
    }
    if let Some(labels) = &selector.dataplane_labels {
        return !labels.match_labels.is_empty() && labels.matches(&resource.labels);
    }
    let Some(wanted) = selector.dataplane_tags.as_ref().filter(|tags| !tags.is_empty()) else {
        return false;
    };
    let holds = |tags: &BTreeMap<String, String>| wanted.iter().all(|(key, value)| tags.get(key) == Some(value));
    let dataplane = resource.parse::<Dataplane>();
    dataplane.is_ok_and(|dataplane| dataplane.networking.inbound.iter().any(|inbound| holds(&inbound.tags)))
}
