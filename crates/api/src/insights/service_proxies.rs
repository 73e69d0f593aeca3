//! The proxies of a service (`spec/http-api.md` §2.4): those that a MeshService selects, and those of all MeshServices that a
//! MeshMultiZoneService matches, as far as this control plane knows them. A MeshExternalService has none.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use meshspan_model::kinds::Spec;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::mesh_multi_zone_service::MeshMultiZoneService;
use meshspan_model::kinds::mesh_service::{MeshService, Selector};
use meshspan_model::{Kind, Resource, ServiceKind, Violations};
use meshspan_store::Snapshot;
use serde_json::json;

use crate::error::{ApiError, COULD_NOT_RETRIEVE};
use crate::listing::Listing;
use crate::path::Target;
use crate::resources::require_mesh;
use crate::state::ApiState;

pub(super) fn routes() -> Router<ApiState> {
    ServiceKind::ALL.iter().copied().fold(Router::new(), |router, kind| {
        let handler = move |State(state): State<ApiState>, Path(target): Path<Target>, listing: Listing| async move {
            list(kind, &state, &target, &listing)
        };
        let service = format!("/meshes/{{mesh}}/{}/{{name}}", kind.kind().info().path);
        router
            .route(&format!("{service}/_resources/dataplanes"), get(handler))
            .route(&format!("{service}/_dataplanes"), get(handler))
    })
}

fn list(kind: ServiceKind, state: &ApiState, target: &Target, listing: &Listing) -> Result<Response, ApiError> {
    require_mesh(state, target)?;
    let snapshot = state.store.snapshot();
    let stored = snapshot
        .get(&target.key(kind.kind()))
        .ok_or_else(|| ApiError::not_found(COULD_NOT_RETRIEVE))?;
    let services = match kind {
        ServiceKind::MeshService => vec![(Arc::clone(&stored.resource), read(&stored.resource)?)],
        ServiceKind::MeshMultiZoneService => members(&stored.resource, &snapshot)?,
        // What is outside the mesh has no proxy beside it.
        ServiceKind::MeshExternalService => Vec::new(),
    };
    let is_of = |dataplane: &Resource, (resource, service): &(Arc<Resource>, MeshService)| {
        same_zone(dataplane, resource) && selects(&service.selector, dataplane)
    };
    let found: Vec<Arc<Resource>> = snapshot
        .list(Kind::Dataplane, Some(&target.mesh))
        .map(|dataplane| Arc::clone(&dataplane.resource))
        .filter(|dataplane| listing.matches(dataplane))
        .filter(|dataplane| services.iter().any(|service| is_of(dataplane, service)))
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

fn read<T: Spec>(resource: &Resource) -> Result<T, ApiError> {
    let unreadable = |violations: Violations| ApiError::internal(COULD_NOT_RETRIEVE, &violations);
    resource.parse().map_err(unreadable)
}

/// The MeshServices that a MeshMultiZoneService matches, but for those that cannot be read.
fn members(resource: &Resource, snapshot: &Snapshot) -> Result<Vec<(Arc<Resource>, MeshService)>, ApiError> {
    let service: MeshMultiZoneService = read(resource)?;
    let selector = &service.selector.mesh_service;
    let members = snapshot.list(Kind::MeshService, Some(&resource.mesh));
    let matching = members.filter(|member| selector.matches(&member.resource.labels));
    Ok(matching
        .filter_map(|member| Some((Arc::clone(&member.resource), member.resource.parse().ok()?)))
        .collect())
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
