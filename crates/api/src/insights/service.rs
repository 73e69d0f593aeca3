//! ServiceInsight: the proxies behind each `kuma.io/service`.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use meshspan_model::document::timestamp;
use meshspan_model::labels::TAG_SERVICE;
use meshspan_model::{Kind, Resource};
use meshspan_store::Snapshot;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::health::{Counts, Proxy, ProxyType, Status, proxies};
use crate::error::ApiError;
use crate::listing::Listing;
use crate::path::Target;
use crate::resources::require_mesh;
use crate::response;
use crate::state::ApiState;

const TYPES: [&str; 4] = ["internal", "external", "gateway_builtin", "gateway_delegated"];

/// The services of some proxies.
pub(super) fn names(proxies: &[Proxy]) -> BTreeSet<String> {
    proxies.iter().flat_map(services_of).collect()
}

pub(super) fn list(state: &ApiState, target: &Target, listing: &Listing) -> Result<Response, ApiError> {
    let snapshot = state.store.snapshot();
    let types = wanted_types(listing)?;
    let meshes: Vec<String> = match target.mesh.as_str() {
        "" => snapshot
            .list(Kind::Mesh, None)
            .map(|stored| stored.resource.name.clone())
            .collect(),
        mesh => {
            require_mesh(state, target)?;
            vec![mesh.to_owned()]
        }
    };
    let services: Vec<Service> = meshes
        .iter()
        .flat_map(|mesh| services(mesh, &snapshot))
        .filter(|service| listing.matches_name(&service.name))
        .filter(|service| {
            types
                .as_ref()
                .is_none_or(|types| types.iter().any(|wanted| wanted == service.service_type()))
        })
        .collect();
    Ok(listing.respond(services, |service| service.render()))
}

pub(super) fn get(state: &ApiState, target: &Target) -> Result<Response, ApiError> {
    require_mesh(state, target)?;
    let mut found = services(&target.mesh, &state.store.snapshot());
    // An unknown service has an empty insight, as in the compatible API.
    let service = match found.iter().position(|service| service.name == target.name) {
        Some(index) => found.swap_remove(index),
        None => Service::new(&target.mesh, &target.name),
    };
    Ok(response::ok(&service.render()))
}

/// The services of all meshes.
pub(super) fn all(snapshot: &Snapshot) -> Vec<Service> {
    snapshot
        .list(Kind::Mesh, None)
        .flat_map(|stored| services(&stored.resource.name, snapshot))
        .collect()
}

/// How many services there are of one sort, by status.
pub(super) fn counts(services: &[Service], proxy_type: ProxyType) -> Counts {
    Counts::of(
        services
            .iter()
            .filter(|service| service.proxy_type == proxy_type)
            .map(Service::status),
    )
}

fn wanted_types(listing: &Listing) -> Result<Option<Vec<String>>, ApiError> {
    let Some(text) = listing.query.first("type") else {
        return Ok(None);
    };
    let types: Vec<String> = text.split(',').map(str::to_owned).collect();
    match types.iter().find(|wanted| !TYPES.contains(&wanted.as_str())) {
        Some(unknown) => {
            let reason = format!("\"{unknown}\" is unknown, must be a list of {}", TYPES.join(", "));
            Err(ApiError::bad_query("Invalid service type", "type", reason))
        }
        None => Ok(Some(types)),
    }
}

/// One service of one mesh.
pub(super) struct Service {
    mesh: String,
    name: String,
    proxy_type: ProxyType,
    statuses: Vec<Status>,
    issued_backends: BTreeMap<String, u32>,
    zones: BTreeSet<String>,
    creation_time: OffsetDateTime,
    modification_time: OffsetDateTime,
}

fn services(mesh: &str, snapshot: &Snapshot) -> Vec<Service> {
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    for proxy in proxies(snapshot, Some(mesh)) {
        for name in services_of(&proxy) {
            services
                .entry(name.clone())
                .or_insert_with(|| Service::new(mesh, &name))
                .add(&proxy);
        }
    }
    services.into_values().collect()
}

fn services_of(proxy: &Proxy) -> BTreeSet<String> {
    let networking = &proxy.dataplane.networking;
    let inbounds = networking.inbound.iter().map(|inbound| &inbound.tags);
    let tag_sets = inbounds.chain(networking.gateway.iter().map(|gateway| &gateway.tags));
    tag_sets.filter_map(|tags| tags.get(TAG_SERVICE)).cloned().collect()
}

impl Service {
    fn new(mesh: &str, name: &str) -> Self {
        Self {
            mesh: mesh.to_owned(),
            name: name.to_owned(),
            proxy_type: ProxyType::Standard,
            statuses: Vec::new(),
            issued_backends: BTreeMap::new(),
            zones: BTreeSet::new(),
            creation_time: OffsetDateTime::UNIX_EPOCH,
            modification_time: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn add(&mut self, proxy: &Proxy) {
        let Resource {
            creation_time,
            modification_time,
            ..
        } = &*proxy.resource;
        self.creation_time = match self.statuses.is_empty() {
            true => *creation_time,
            false => self.creation_time.min(*creation_time),
        };
        self.modification_time = self.modification_time.max(*modification_time);
        self.proxy_type = proxy.proxy_type();
        self.statuses.push(self.status_on(proxy));
        if let Some(backend) = proxy
            .insight
            .mtls
            .as_ref()
            .map(|mtls| &mtls.issued_backend)
            .filter(|name| !name.is_empty())
        {
            *self.issued_backends.entry(backend.clone()).or_default() += 1;
        }
        if !proxy.zone().is_empty() {
            self.zones.insert(proxy.zone().to_owned());
        }
    }

    /// Only the inbounds of this service count.
    fn status_on(&self, proxy: &Proxy) -> Status {
        let mut inbounds = proxy
            .dataplane
            .networking
            .inbound
            .iter()
            .filter(|inbound| inbound.service() == self.name);
        let is_gateway = proxy.dataplane.networking.gateway.is_some();
        if proxy.is_online() && (is_gateway || inbounds.any(|inbound| proxy.insight.serves(inbound))) {
            Status::Online
        } else {
            Status::Offline
        }
    }

    fn service_type(&self) -> &'static str {
        match self.proxy_type {
            ProxyType::Standard => "internal",
            ProxyType::GatewayBuiltin => "gateway_builtin",
            ProxyType::GatewayDelegated => "gateway_delegated",
        }
    }

    fn online(&self) -> usize {
        self.statuses.iter().filter(|status| **status == Status::Online).count()
    }

    fn status(&self) -> Status {
        match self.online() {
            0 => Status::Offline,
            all if all == self.statuses.len() => Status::Online,
            _ => Status::PartiallyDegraded,
        }
    }

    fn render(self) -> Value {
        let (total, online) = (self.statuses.len(), self.online());
        let status = match self.status() {
            _ if total == 0 => "not_available",
            Status::Offline => "offline",
            Status::Online => "online",
            Status::PartiallyDegraded => "partially_degraded",
        };
        let mut object = Map::new();
        object.insert("type".into(), "ServiceInsight".into());
        object.insert("mesh".into(), self.mesh.as_str().into());
        object.insert("name".into(), self.name.as_str().into());
        object.insert("creationTime".into(), timestamp(self.creation_time).into());
        object.insert("modificationTime".into(), timestamp(self.modification_time).into());
        object.insert("status".into(), status.into());
        object.insert(
            "dataplanes".into(),
            json!({"total": total, "online": online, "offline": total - online}),
        );
        object.insert("issuedBackends".into(), json!(self.issued_backends));
        // Absent means internal.
        if self.proxy_type != ProxyType::Standard {
            object.insert("serviceType".into(), self.service_type().into());
        }
        object.insert("zones".into(), json!(self.zones));
        Value::Object(object)
    }
}
