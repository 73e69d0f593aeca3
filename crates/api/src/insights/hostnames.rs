//! The hostnames of a service, zone by zone (`spec/http-api.md` §2.4).
//!
//! A zone reads them from the status that it computed itself. The global has no such status: it evaluates the hostname
//! generators as each zone would, with the labels that the service has there.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use meshspan_model::kinds::hostname_generator::HostnameGenerator;
use meshspan_model::template::{Template, Values};
use meshspan_model::{Kind, Resource, ServiceKind, labels};
use meshspan_store::Snapshot;
use serde_json::{Value, json};

use crate::error::{ApiError, COULD_NOT_RETRIEVE};
use crate::path::Target;
use crate::resources::require_mesh;
use crate::response;
use crate::settings::Mode;
use crate::state::ApiState;

/// Hostname to the zones in which it exists.
type Hostnames = BTreeMap<String, BTreeSet<String>>;

pub(super) fn routes() -> Router<ApiState> {
    ServiceKind::ALL.iter().fold(Router::new(), |router, kind| {
        let kind = kind.kind();
        let handler = move |State(state): State<ApiState>, Path(target): Path<Target>| async move {
            get_hostnames(kind, &state, &target)
        };
        router.route(
            &format!("/meshes/{{mesh}}/{}/{{name}}/_hostnames", kind.info().path),
            get(handler),
        )
    })
}

fn get_hostnames(kind: Kind, state: &ApiState, target: &Target) -> Result<Response, ApiError> {
    require_mesh(state, target)?;
    let snapshot = state.store.snapshot();
    let stored = snapshot
        .get(&target.key(kind))
        .ok_or_else(|| ApiError::not_found(COULD_NOT_RETRIEVE))?;
    let hostnames = match &state.settings.mode {
        Mode::Zone { name, .. } => from_status(&stored.resource, name),
        Mode::Global => from_generators(&stored.resource, &snapshot),
    };
    let items: Vec<Value> = hostnames
        .into_iter()
        .map(|(hostname, zones)| {
            let zones: Vec<Value> = zones.into_iter().map(|zone| json!({ "name": zone })).collect();
            json!({"hostname": hostname, "zones": zones})
        })
        .collect();
    Ok(response::ok(&json!({"total": items.len(), "items": items})))
}

fn from_status(resource: &Resource, zone: &str) -> Hostnames {
    let addresses = resource
        .status
        .as_ref()
        .and_then(|status| status.get("addresses"))
        .and_then(Value::as_array);
    let hostnames = addresses
        .into_iter()
        .flatten()
        .filter_map(|address| address.get("hostname")?.as_str());
    hostnames
        .map(|hostname| (hostname.to_owned(), BTreeSet::from([zone.to_owned()])))
        .collect()
}

fn from_generators(resource: &Resource, snapshot: &Snapshot) -> Hostnames {
    let mut hostnames = Hostnames::new();
    // What a zone made for itself is in no other one.
    let stays = !resource.is_local(labels::ORIGIN_GLOBAL) && !resource.kind.info().sync.zone_to_zones;
    let zones = snapshot.list(Kind::Zone, None);
    let zones = zones.map(|stored| stored.resource.name.as_str());
    for zone in zones.filter(|zone| !stays || *zone == resource.zone()) {
        let labels = labels_in(zone, resource);
        // A generator that a zone made for itself works in that zone only.
        let generators = snapshot
            .list(Kind::HostnameGenerator, None)
            .filter(|stored| matches!(stored.resource.zone(), "") || stored.resource.zone() == zone);
        for generator in generators.filter_map(|stored| stored.resource.parse::<HostnameGenerator>().ok()) {
            if let Some(hostname) = generate(&generator, resource, zone, &labels) {
                hostnames.entry(hostname).or_default().insert(zone.to_owned());
            }
        }
    }
    hostnames
}

/// The labels of the copy that a zone has: its own services come from itself, all others from the global.
fn labels_in(zone: &str, resource: &Resource) -> BTreeMap<String, String> {
    let from_zone = !resource.is_local(labels::ORIGIN_GLOBAL);
    let origin = if from_zone && resource.zone() == zone {
        labels::ORIGIN_ZONE
    } else {
        labels::ORIGIN_GLOBAL
    };
    let mut labels = resource.labels.clone();
    labels.insert(labels::ORIGIN.to_owned(), origin.to_owned());
    labels
}

fn generate(
    generator: &HostnameGenerator,
    resource: &Resource,
    zone: &str,
    labels: &BTreeMap<String, String>,
) -> Option<String> {
    let selector = generator.selector.for_kind(resource.kind.service()?)?;
    if !selector.matches(labels) {
        return None;
    }
    let values = Values {
        display_name: resource.display_name(),
        name: &resource.name,
        namespace: resource.namespace(),
        zone: if resource.zone().is_empty() {
            zone
        } else {
            resource.zone()
        },
        mesh: &resource.mesh,
        labels,
    };
    Template::parse(&generator.template)
        .ok()?
        .render(values)
        .ok()
        .filter(|hostname| !hostname.is_empty())
}
