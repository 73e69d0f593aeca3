//! The data plane server (port 5678): bootstrap, ADS and the agents' stream, for the proxies of one zone.

mod ads;
mod agent;
mod auth;
mod bootstrap;
mod fleet;
mod health;
mod inbound_insights;
mod insights;
mod listening;
mod names;
mod presence;
mod registration;
mod token_watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use meshspan_log_limit::LogLimit;
use meshspan_store::Store;
use meshspan_xds::proto::ads::aggregated_discovery_service_server;
use meshspan_xds::proto::agent::agent_service_server;
use meshspan_xds::{AdsService, AgentService};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::engine::Engine;
use crate::settings::Settings;

pub use insights::Insights;
pub use listening::Listening;
pub use presence::{Presence, run as run_presence};
pub use registration::Registrations;
pub use token_watch::TrustChanges;

/// What all parts of the data plane server share.
pub struct DataPlane {
    /// The resources.
    pub store: Arc<dyn Store>,
    /// Projects to proxies.
    pub engine: Engine,
    /// What is known of connections.
    pub insights: Arc<Insights>,
    /// Settings.
    pub settings: Settings,
    /// PEM of the CA by which proxies verify this server.
    pub ca_pem: String,
    /// The server's certificate, to check that proxies call it by a name that is in it.
    pub certificate: rustls_pki_types::CertificateDer<'static>,
    /// Set when the control plane stops: connections that end then are not the proxies' doing.
    pub stop: CancellationToken,
    /// Tasks that are waited for at the end.
    pub tasks: TaskTracker,
    /// Who stores or removes the resource of a proxy.
    pub registrations: Registrations,
    /// What peers may make this process log.
    pub log_limit: Arc<LogLimit>,
    /// Hears when tokens may have stopped to hold.
    pub trust_changes: Arc<TrustChanges>,
    /// Which proxies are there.
    pub presence: Presence,
    /// Which listeners they run.
    pub listening: Listening,
    /// Numbers streams.
    pub streams: AtomicU64,
}

impl DataPlane {
    fn next_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    fn zone(&self) -> &str {
        &self.settings.multizone.zone.name
    }
}

/// The gRPC services of the port.
pub const STREAMS: &[&str] = &[
    aggregated_discovery_service_server::SERVICE_NAME,
    agent_service_server::SERVICE_NAME,
];

/// All paths of the port.
pub fn router(plane: &Arc<DataPlane>) -> Router {
    let ads = AdsService::new(Arc::new(ads::Ads(plane.clone()))).into_server();
    let agents = AgentService::new(Arc::new(agent::Agents(plane.clone()))).into_server();
    let grpc = Routes::new(ads).add_service(agents).into_axum_router();
    bootstrap::router(plane.clone()).merge(grpc)
}
