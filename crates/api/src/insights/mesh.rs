//! MeshInsight: the counters of one mesh.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use meshspan_model::document::timestamp;
use meshspan_model::policy::PolicyKind;
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::Snapshot;
use serde_json::{Map, Value, json};

use super::health::{Counts, Proxy, ProxyType, proxies};
use super::service;
use crate::error::{ApiError, COULD_NOT_RETRIEVE};
use crate::listing::Listing;
use crate::path::Target;
use crate::response;
use crate::state::ApiState;

pub(super) fn list(state: &ApiState, listing: &Listing) -> Response {
    let snapshot = state.store.snapshot();
    let meshes = snapshot
        .list(Kind::Mesh, None)
        .filter(|stored| listing.matches(&stored.resource))
        .collect();
    // Each of them counts a whole mesh, which is the work of a handler and not of whoever sends the answer.
    response::ok(&listing.page(meshes, |stored| render(&stored.resource, &snapshot)))
}

pub(super) fn get(state: &ApiState, target: &Target) -> Result<Response, ApiError> {
    let snapshot = state.store.snapshot();
    let key = ResourceKey::new(Kind::Mesh, "", target.name.as_str());
    let mesh = snapshot
        .get(&key)
        .ok_or_else(|| ApiError::not_found(COULD_NOT_RETRIEVE))?;
    Ok(response::ok(&render(&mesh.resource, &snapshot)))
}

fn render(mesh: &Resource, snapshot: &Snapshot) -> Value {
    let proxies = proxies(snapshot, Some(&mesh.name));
    let (policies, resources) = totals(&mesh.name, snapshot);
    let internal = service::names(&proxies).len();
    let external = snapshot.list(Kind::MeshExternalService, Some(&mesh.name)).count();
    json!({
        "type": "MeshInsight",
        "name": mesh.name,
        "creationTime": timestamp(mesh.creation_time),
        "modificationTime": timestamp(mesh.modification_time),
        "dataplanes": Counts::of(proxies.iter().map(Proxy::status)).to_json(),
        "dataplanesByType": by_type(&proxies),
        "policies": policies,
        "resources": resources,
        "dpVersions": versions(&proxies),
        "mTLS": backends(&proxies),
        "services": {"total": internal + external, "internal": internal, "external": external},
    })
}

/// All four entries, zeros too: the GUI relies on them.
fn by_type(proxies: &[Proxy]) -> Value {
    let count = |wanted: &[ProxyType]| {
        Counts::of(
            proxies
                .iter()
                .filter(|proxy| wanted.contains(&proxy.proxy_type()))
                .map(Proxy::status),
        )
        .to_json()
    };
    json!({
        "standard": count(&[ProxyType::Standard]),
        "gateway": count(&[ProxyType::GatewayBuiltin, ProxyType::GatewayDelegated]),
        "gatewayBuiltin": count(&[ProxyType::GatewayBuiltin]),
        "gatewayDelegated": count(&[ProxyType::GatewayDelegated]),
    })
}

/// How many resources of each kind, policies apart and altogether; kinds without any are left out.
fn totals(mesh: &str, snapshot: &Snapshot) -> (Map<String, Value>, Map<String, Value>) {
    let (mut policies, mut resources) = (Map::new(), Map::new());
    for kind in Kind::ALL
        .iter()
        .copied()
        .filter(|kind| kind.is_mesh_scoped() && kind.info().in_api)
    {
        let total = snapshot.list(kind, Some(mesh)).count();
        if total > 0 {
            resources.insert(kind.name().to_owned(), json!({ "total": total }));
        }
        if total > 0 && PolicyKind::of(kind).is_some() {
            policies.insert(kind.name().to_owned(), json!({ "total": total }));
        }
    }
    (policies, resources)
}

fn versions(proxies: &[Proxy]) -> Value {
    let (mut agents, mut envoys) = (BTreeMap::new(), BTreeMap::new());
    for proxy in proxies {
        let version = proxy
            .insight
            .subscriptions
            .last()
            .and_then(|subscription| subscription.version.as_ref());
        let name = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("unknown").to_owned();
        let agent = name(version.map(|version| version.kuma_dp.version.as_str()));
        let envoy = name(version.map(|version| version.envoy.version.as_str()));
        agents.entry(agent).or_insert_with(Vec::new).push(proxy.status());
        envoys.entry(envoy).or_insert_with(Vec::new).push(proxy.status());
    }
    let render = |versions: BTreeMap<String, Vec<_>>| -> Map<String, Value> {
        versions
            .into_iter()
            .map(|(version, statuses)| (version, Counts::of(statuses).to_json()))
            .collect()
    };
    json!({"kumaDp": render(agents), "envoy": render(envoys)})
}

fn backends(proxies: &[Proxy]) -> Value {
    let mut issued: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    let mut supported: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for proxy in proxies {
        let Some(mtls) = &proxy.insight.mtls else { continue };
        if !mtls.issued_backend.is_empty() {
            issued.entry(&mtls.issued_backend).or_default().push(proxy.status());
        }
        for backend in mtls.supported_backends.iter().collect::<BTreeSet<_>>() {
            supported.entry(backend).or_default().push(proxy.status());
        }
    }
    let render = |backends: BTreeMap<&str, Vec<_>>| -> Map<String, Value> {
        backends
            .into_iter()
            .map(|(name, statuses)| (name.to_owned(), Counts::of(statuses).to_json()))
            .collect()
    };
    json!({"issuedBackends": render(issued), "supportedBackends": render(supported)})
}
