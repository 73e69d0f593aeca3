//! Overviews: a resource together with its insight (`spec/http-api.md` §3.5).

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use meshspan_model::document::timestamp;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::{Kind, ProxyKind, Resource, ResourceKey};
use meshspan_store::Snapshot;
use serde_json::{Map, Value, json};

use crate::error::{ApiError, COULD_NOT_RETRIEVE};
use crate::inspect::{ProxyProblems, failure};
use crate::listing::Listing;
use crate::path::Target;
use crate::resources::{DataplaneFilter, require_mesh};
use crate::response;
use crate::state::ApiState;

/// One kind with an overview.
#[derive(Clone, Copy, Debug)]
struct Overview {
    kind: Kind,
    insight: Kind,
    /// The `type` of its documents.
    name: &'static str,
    /// The field with the resource.
    field: &'static str,
    /// The field with the insight.
    insight_field: &'static str,
    /// Older path of the list.
    alias: &'static str,
}

const ZONES: Overview = Overview {
    kind: Kind::Zone,
    insight: Kind::ZoneInsight,
    name: "ZoneOverview",
    field: "zone",
    insight_field: "zoneInsight",
    alias: "zones+insights",
};

fn of_proxies(proxy: ProxyKind) -> Overview {
    let (name, field, insight_field, alias) = match proxy {
        ProxyKind::Sidecar => (
            "DataplaneOverview",
            "dataplane",
            "dataplaneInsight",
            "dataplanes+insights",
        ),
        ProxyKind::ZoneIngress => (
            "ZoneIngressOverview",
            "zoneIngress",
            "zoneIngressInsight",
            "zoneingresses+insights",
        ),
        ProxyKind::ZoneEgress => (
            "ZoneEgressOverview",
            "zoneEgress",
            "zoneEgressInsight",
            "zoneegressoverviews",
        ),
    };
    Overview {
        kind: proxy.resource(),
        insight: proxy.insight(),
        name,
        field,
        insight_field,
        alias,
    }
}

pub(super) fn routes() -> Router<ApiState> {
    let proxies = ProxyKind::ALL.iter().copied().map(of_proxies);
    proxies.chain([ZONES]).fold(Router::new(), |router, overview| {
        let list = move |State(state): State<ApiState>, Path(target): Path<Target>, listing: Listing| async move {
            let problems = problems(&state, overview.kind).await?;
            overview.list(&state, &target, &listing, problems)
        };
        let single = move |State(state): State<ApiState>, Path(target): Path<Target>| async move {
            let problems = problems(&state, overview.kind).await?;
            overview.get(&state, &target, &problems)
        };
        let info = overview.kind.info();
        let prefixes: &[&str] = if overview.kind.is_mesh_scoped() {
            &["", "/meshes/{mesh}"]
        } else {
            &[""]
        };
        let prefix = prefixes.last().copied().unwrap_or_default();
        let mut router = router;
        for path in std::iter::once(&info.path).chain(info.path_aliases) {
            for prefix in prefixes {
                router = router.route(&format!("{prefix}/{path}/_overview"), get(list));
            }
            router = router.route(&format!("{prefix}/{path}/{{name}}/_overview"), get(single));
        }
        for prefix in prefixes {
            router = router.route(&format!("{prefix}/{}", overview.alias), get(list));
        }
        router.route(&format!("{prefix}/{}/{{name}}", overview.alias), get(single))
    })
}

/// What is wrong with proxies, as far as this control plane has some.
async fn problems(state: &ApiState, kind: Kind) -> Result<ProxyProblems, ApiError> {
    match &state.proxy_configs {
        Some(configs) if kind.proxy().is_some() => configs.problems().await.map_err(failure),
        _ => Ok(ProxyProblems::new()),
    }
}

impl Overview {
    fn list(
        &self,
        state: &ApiState,
        target: &Target,
        listing: &Listing,
        problems: ProxyProblems,
    ) -> Result<Response, ApiError> {
        let mesh = match target.mesh.as_str() {
            "" => None,
            mesh => {
                require_mesh(state, target)?;
                Some(mesh)
            }
        };
        let filter = match self.kind {
            Kind::Dataplane => DataplaneFilter::from_query(&listing.query)?,
            _ => DataplaneFilter::default(),
        };
        let snapshot = state.store.snapshot();
        let wanted = |resource: &Resource| {
            listing.matches(resource)
                && (filter.is_empty()
                    || resource
                        .parse::<Dataplane>()
                        .is_ok_and(|dataplane| filter.matches(&dataplane)))
        };
        let found: Vec<Arc<Resource>> = snapshot
            .list(self.kind, mesh)
            .map(|stored| Arc::clone(&stored.resource))
            .filter(|resource| wanted(resource))
            .collect();
        let overview = *self;
        Ok(listing.respond(found, move |resource| {
            overview.render(&resource, overview.insight_of(&resource, &snapshot), &problems)
        }))
    }

    fn get(&self, state: &ApiState, target: &Target, problems: &ProxyProblems) -> Result<Response, ApiError> {
        if self.kind.is_mesh_scoped() {
            require_mesh(state, target)?;
        }
        let snapshot = state.store.snapshot();
        let stored = snapshot
            .get(&target.key(self.kind))
            .ok_or_else(|| ApiError::not_found(COULD_NOT_RETRIEVE))?;
        // Alone, a missing insight is an empty object; in lists it is left out.
        let insight = self
            .insight_of(&stored.resource, &snapshot)
            .unwrap_or_else(|| json!({}));
        Ok(response::ok(&self.render(&stored.resource, Some(insight), problems)))
    }

    fn insight_of(&self, resource: &Resource, snapshot: &Snapshot) -> Option<Value> {
        let key = ResourceKey {
            kind: self.insight,
            ..resource.key()
        };
        snapshot.get(&key).map(|stored| stored.resource.spec.clone())
    }

    fn render(&self, resource: &Resource, insight: Option<Value>, problems: &ProxyProblems) -> Value {
        let mut object = Map::new();
        object.insert("type".into(), self.name.into());
        if self.kind.is_mesh_scoped() {
            object.insert("mesh".into(), resource.mesh.as_str().into());
        }
        object.insert("name".into(), resource.name.as_str().into());
        object.insert("creationTime".into(), timestamp(resource.creation_time).into());
        object.insert("modificationTime".into(), timestamp(resource.modification_time).into());
        if !resource.labels.is_empty() {
            object.insert("labels".into(), json!(resource.labels));
        }
        if let Some(kri) = resource.kri() {
            object.insert("kri".into(), kri.to_string().into());
        }
        object.insert(self.field.into(), self.payload(resource));
        if let Some(insight) = insight {
            object.insert(self.insight_field.into(), insight);
        }
        // Beyond the reference.
        if let Some(problems) = problems.get(&resource.key()) {
            object.insert("problems".into(), json!(problems));
        }
        Value::Object(object)
    }

    /// The payload with the defaults that clients expect to see written out.
    fn payload(&self, resource: &Resource) -> Value {
        let mut payload = resource.spec.clone();
        match self.kind {
            Kind::Zone => {
                if let Some(zone) = payload.as_object_mut() {
                    zone.entry("enabled").or_insert(Value::Bool(true));
                }
            }
            Kind::Dataplane => add_health(&mut payload),
            _ => {}
        }
        payload
    }
}

/// The GUI of 2.9 reads `health.ready`, which newer proxies do not send.
fn add_health(dataplane: &mut Value) {
    let inbounds = dataplane
        .get_mut("networking")
        .and_then(|networking| networking.get_mut("inbound"));
    for inbound in inbounds
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        let ready = inbound.get("state").is_none_or(|state| state == "Ready");
        inbound.entry("health").or_insert_with(|| json!({ "ready": ready }));
    }
}
