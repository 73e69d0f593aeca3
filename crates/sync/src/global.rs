//! The global side: serves the zones that dial in (port 5685).
//!
//! Mount [`GlobalSync::routes`] on a server, or let [`GlobalSync::serve`] listen. A zone has one connection with all
//! its streams; the ends of a connection and of its streams are one event: when one synchronisation stream ends, all
//! do, and the zone is offline at once.
//!
//! **Two control planes with one zone name** would delete each other's resources. A second one while the first is
//! connected is therefore refused, with an error that says who holds the name; dead holders are found by keepalive
//! within seconds. Only the same instance replaces its own older connection; a peer that names no instance (the
//! reference implementation) tries again until the old connection is gone.
//!
//! **What a zone gets** are the keys of all meshes. So it must show a token for its name, on each stream and for as long
//! as its connection lives (`authorization`). Where no tokens are checked only zones that exist are served.

use std::sync::Arc;
use std::time::Duration;

use meshspan_log_limit::LogLimit;
use meshspan_store::{Store, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use crate::admission::CheckVip;
use crate::node::About;
use crate::outgoing::{Direction, PublicKeyOf};
use crate::publisher::Publisher;

mod ask;
mod authorization;
mod caller;
mod connection;
mod insight;
mod registry;
mod serve;
mod services;
mod strangers;
mod streams;
mod supervisor;

pub use ask::{AskError, AskedProxy};
pub use authorization::CheckToken;
pub use caller::PeerAddress;
use registry::Registry;

/// Settings of the global side.
#[derive(Clone)]
pub struct GlobalOptions {
    /// Instance id and version of this control plane; its config stays empty.
    pub about: About,
    /// Makes public keys of signing keys.
    pub public_key_of: PublicKeyOf,
    /// Zones must show a token of scope `cp`. `None`: whoever says the name of a Zone that exists is that zone.
    pub check_token: Option<CheckToken>,
    /// Refuses addresses that cannot be virtual IPs of a kind of service.
    pub check_vip: CheckVip,
    /// Largest message, in bytes (`maxMsgSize`).
    pub max_message: usize,
    /// Most connections at once.
    pub max_connections: usize,
    /// How often zones are asked to call `HealthCheck`.
    pub health_interval: Duration,
    /// A zone that promised health checks and was silent for this long is disconnected; `None` never.
    pub health_timeout: Option<Duration>,
    /// How often counters are written to ZoneInsights.
    pub insight_interval: Duration,
}

impl GlobalOptions {
    /// Defaults: 1000 connections, health checks every 30 s with a limit of 90 s, counters every 10 s, no tokens.
    pub fn new(about: About, public_key_of: PublicKeyOf) -> Self {
        Self {
            about,
            public_key_of,
            check_token: None,
            check_vip: Arc::new(|_, _| Ok(())),
            max_message: crate::MAX_MESSAGE,
            max_connections: 1000,
            health_interval: Duration::from_secs(30),
            health_timeout: Some(Duration::from_secs(90)),
            insight_interval: Duration::from_secs(10),
        }
    }
}

/// The global side. Clones share everything.
#[derive(Clone)]
pub struct GlobalSync {
    shared: Arc<Shared>,
}

struct Shared {
    options: GlobalOptions,
    store: Arc<dyn Store>,
    publisher: Arc<Publisher>,
    registry: Registry,
    /// What zones and refused callers may make this process log.
    log_limit: LogLimit,
    cancel: CancellationToken,
    /// How many connections are open or still being written down.
    connections: watch::Sender<usize>,
}

impl GlobalSync {
    /// Loads the store and follows it. `cancel` ends all streams and tasks.
    ///
    /// Connections that a former process left open in ZoneInsights are closed first.
    ///
    /// # Errors
    /// [`StoreError`] if ZoneInsights cannot be written.
    pub async fn start(
        store: Arc<dyn Store>,
        options: GlobalOptions,
        cancel: CancellationToken,
    ) -> Result<Self, StoreError> {
        insight::close_all(&*store).await?;
        let direction = Direction::ToZones {
            public_key_of: Arc::clone(&options.public_key_of),
        };
        let publisher = Publisher::start(&*store, direction, cancel.clone());
        let registry = Registry::new(options.about.clone(), Arc::clone(&options.check_vip));
        let changes = store.subscribe();
        let connections = watch::Sender::new(0);
        let shared = Arc::new(Shared {
            options,
            store,
            publisher,
            registry,
            log_limit: LogLimit::default(),
            cancel,
            connections,
        });
        tokio::spawn(supervisor::follow(Arc::clone(&shared), changes));
        Ok(Self { shared })
    }

    /// Waits until no zone is connected and all ends are written down; after the cancellation only.
    pub async fn finished(&self) {
        // Fails only when the sender is gone, which `self` holds.
        let _ = self.shared.connections.subscribe().wait_for(|open| *open == 0).await;
    }

    /// Names of the zones that are connected now.
    pub fn connected_zones(&self) -> Vec<String> {
        self.shared.registry.connected()
    }
}
