//! Health of the process on port 5680: `/healthy` while it runs, `/ready` while it serves, `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use meshspan_model::Kind;
use meshspan_store::Store;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::components::Components;
use crate::engine::Work;

/// What the endpoints tell.
#[derive(Clone)]
pub struct Diagnostics {
    /// Whether everything has started.
    pub ready: Arc<AtomicBool>,
    /// Whether everything still runs.
    pub components: Components,
    /// Counted for `/metrics`.
    pub store: Arc<dyn Store>,
    /// What projection does; zones only.
    pub work: Option<Work>,
    /// Shown in `cp_info`.
    pub instance_id: Arc<str>,
}

/// The endpoints.
pub fn router(diagnostics: Diagnostics) -> Router {
    Router::new()
        .route("/healthy", get(|| async { "" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(diagnostics)
}

async fn ready(State(diagnostics): State<Diagnostics>) -> StatusCode {
    if diagnostics.ready.load(Ordering::Acquire) && diagnostics.components.all_run() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

async fn metrics(State(diagnostics): State<Diagnostics>) -> Result<String, StatusCode> {
    let mut registry = Registry::default();
    let info = Family::<[(&str, String); 2], Gauge>::default();
    info.get_or_create(&[
        ("instance_id", diagnostics.instance_id.to_string()),
        ("version", crate::COMPATIBLE_VERSION.to_owned()),
    ])
    .set(1);
    registry.register("cp_info", "The control plane", info);
    let counts = Family::<[(&str, &str); 1], Gauge>::default();
    let snapshot = diagnostics.store.snapshot();
    for kind in Kind::ALL {
        let count = i64::try_from(snapshot.list(*kind, None).count()).unwrap_or(i64::MAX);
        counts.get_or_create(&[("resource_type", kind.name())]).set(count);
    }
    registry.register("resources_count", "Stored resources by kind", counts);
    diagnostics.components.register(&mut registry);
    if let Some(work) = &diagnostics.work {
        work.register(&mut registry);
    }
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(text)
}
