//! What others ask of the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meshspan_envoy::{Encoded, ProxyOptions};
use meshspan_model::ResourceKey;
use meshspan_policy::Mode;
use meshspan_world::Inspected;
use meshspan_world::view::{SidecarView, Source};
use meshspan_xds::ProxyFeed;
use tokio::sync::{mpsc, oneshot, watch};

use super::fleet;
use super::issuer::Answer;
use super::names::{MeshNames, NamesFollower};
use crate::proxy_key::ProxyKey;

/// Commands that may wait for the engine.
pub(super) const QUEUE: usize = 1024;

/// Talks to the engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(super) commands: mpsc::Sender<Command>,
}

/// What the engine is asked to do.
pub(super) enum Command {
    ProxyConnected {
        id: ProxyKey,
        stream: u64,
        feed: ProxyFeed,
        options: ProxyOptions,
        source: Option<Source>,
    },
    ProxyDisconnected {
        id: ProxyKey,
        stream: u64,
    },
    LogsUnopened {
        id: ProxyKey,
        stream: u64,
        files: BTreeSet<String>,
    },
    Resolved {
        name: String,
        address: Result<IpAddr, String>,
    },
    Inspect(Question),
    Problems {
        answer: oneshot::Sender<BTreeMap<ResourceKey, Vec<String>>>,
    },
    /// From the issuer.
    Certificates(Vec<Answer>),
    Watch {
        id: ProxyKey,
        answer: oneshot::Sender<ProxyWatch>,
    },
}

/// What is asked about a sidecar.
pub(super) struct Question {
    pub(super) id: ProxyKey,
    pub(super) mode: Mode,
    pub(super) answer: oneshot::Sender<Option<Inspection>>,
}

/// What a sidecar is served, as the world has it: projecting it takes time, and is for whoever asks.
pub struct Inspection {
    pub(super) inspected: Inspected,
    pub(super) options: ProxyOptions,
    /// The node says what access logs call the proxy.
    pub(super) says_source: bool,
}

impl Inspection {
    /// All resources but secrets, by type and name.
    pub fn resources(&self) -> Vec<Encoded> {
        fleet::sidecar_resources(&self.inspected, &self.options, self.says_source)
    }
}

/// What an agent follows.
pub struct ProxyWatch {
    /// Names that applications of the proxy's mesh may resolve, where its Envoy serves them.
    pub names: (MeshNames, NamesFollower),
    /// The proxy's own view; `None` while its Dataplane is not stored.
    pub view: watch::Receiver<Option<Arc<SidecarView>>>,
}

/// The control plane is stopping.
#[derive(Debug, thiserror::Error)]
#[error("the control plane is stopping")]
pub struct Stopped;

impl Engine {
    /// Starts serving a connected proxy; `source` is what its node says that access logs call it. A newer stream of the same
    /// proxy replaces an older one.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn proxy_connected(
        &self,
        id: ProxyKey,
        stream: u64,
        feed: ProxyFeed,
        options: ProxyOptions,
        source: Option<Source>,
    ) -> Result<(), Stopped> {
        self.send(Command::ProxyConnected {
            id,
            stream,
            feed,
            options,
            source,
        })
        .await
    }

    /// Stops serving a stream.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn proxy_disconnected(&self, id: ProxyKey, stream: u64) -> Result<(), Stopped> {
        self.send(Command::ProxyDisconnected { id, stream }).await
    }

    /// Leaves access logs out that the Envoy of a stream cannot open.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn logs_unopened(&self, id: ProxyKey, stream: u64, files: BTreeSet<String>) -> Result<(), Stopped> {
        self.send(Command::LogsUnopened { id, stream, files }).await
    }

    /// Follows what an agent needs.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn watch(&self, id: ProxyKey) -> Result<ProxyWatch, Stopped> {
        let (answer, receiver) = oneshot::channel();
        self.send(Command::Watch { id, answer }).await?;
        receiver.await.map_err(|_| Stopped)
    }

    /// What a sidecar is served, or would be if policies with effect `shadow` counted, ready to be projected. `None` if the
    /// proxy or its mesh is unknown.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn inspect(&self, id: ProxyKey, mode: Mode) -> Result<Option<Inspection>, Stopped> {
        let (answer, receiver) = oneshot::channel();
        self.send(Command::Inspect(Question { id, mode, answer })).await?;
        receiver.await.map_err(|_| Stopped)
    }

    /// Why clients do not reach proxies: inbounds that are not served, names that do not resolve, inbounds without a service;
    /// only those where that is so.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn problems(&self) -> Result<BTreeMap<ResourceKey, Vec<String>>, Stopped> {
        let (answer, receiver) = oneshot::channel();
        self.send(Command::Problems { answer }).await?;
        receiver.await.map_err(|_| Stopped)
    }

    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }
}
