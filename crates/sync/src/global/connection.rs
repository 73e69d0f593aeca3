//! One connection of a zone: what its streams have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use meshspan_model::Kind;
use meshspan_model::kinds::dataplane_insight::ServiceStats;
use time::OffsetDateTime;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::ask::Question;
use super::caller::Caller;
use super::strangers::{OpenStream, Streams};
use crate::node::About;
use crate::receiver::Rejected;

/// The five streams of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StreamKind {
    GlobalToZone,
    ZoneToGlobal,
    XdsConfigs,
    Stats,
    Clusters,
}

/// Askers by id of their question.
pub(super) type Waiting = BTreeMap<String, oneshot::Sender<Result<Vec<u8>, String>>>;

/// Shared by the streams of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) caller: Caller,
    /// Id of the subscription in the ZoneInsight.
    pub(super) id: String,
    pub(super) since: OffsetDateTime,
    /// What the zone says about itself, once it did.
    pub(super) about: watch::Sender<Option<About>>,
    pub(super) last_sign_of_life: Mutex<Instant>,
    pub(super) stats: Mutex<BTreeMap<Kind, ServiceStats>>,
    /// Who waits for an answer, by id of the question.
    pub(super) waiting: Mutex<Waiting>,
    /// Tokens may be worth something else than before.
    pub(super) keys_changed: Notify,
    /// Resources of the zone that are refused.
    pub(super) refused: Mutex<Vec<Rejected>>,
    admin_streams: Mutex<BTreeMap<StreamKind, mpsc::Sender<Question>>>,
    streams: Mutex<BTreeSet<StreamKind>>,
    closed: CancellationToken,
    reason: OnceLock<String>,
}

impl Connection {
    pub(super) fn new(caller: Caller, cancel: &CancellationToken) -> Self {
        Self {
            caller,
            id: uuid::Uuid::new_v4().to_string(),
            since: OffsetDateTime::now_utc(),
            about: watch::Sender::new(None),
            last_sign_of_life: Mutex::new(Instant::now()),
            stats: Mutex::default(),
            waiting: Mutex::default(),
            keys_changed: Notify::new(),
            refused: Mutex::default(),
            admin_streams: Mutex::default(),
            streams: Mutex::default(),
            closed: cancel.child_token(),
            reason: OnceLock::new(),
        }
    }

    /// Opens a stream; `None` if one of the kind is open already: then this is another connection.
    pub(super) fn open(self: &Arc<Self>, kind: StreamKind) -> Option<StreamGuard> {
        let opened = self.streams.lock().unwrap_or_else(PoisonError::into_inner).insert(kind);
        opened.then(|| StreamGuard {
            connection: Arc::clone(self),
            kind,
            counted: None,
        })
    }

    /// Ends all streams, with the reason for the peer.
    pub(super) fn close(&self, reason: impl Into<String>) {
        // The first reason is the cause of all later ones.
        let _ = self.reason.set(reason.into());
        self.closed.cancel();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Waits for the end; the status ends a stream so that the peer retries.
    pub(super) async fn closed(&self) -> Status {
        self.closed.cancelled().await;
        Status::unavailable(
            self.reason
                .get()
                .map_or("the global control plane is stopping", String::as_str),
        )
    }

    pub(super) fn is_alive(&self) {
        *self.last_sign_of_life.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn last_sign_of_life(&self) -> Instant {
        *self.last_sign_of_life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn admin_stream(&self, kind: StreamKind) -> Option<mpsc::Sender<Question>> {
        self.admin_streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&kind)
            .cloned()
    }

    pub(super) fn set_admin_stream(&self, kind: StreamKind, questions: mpsc::Sender<Question>) {
        self.admin_streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(kind, questions);
    }

    /// Instance id, from the header or from the node.
    pub(super) fn instance(&self) -> Option<String> {
        self.caller
            .instance
            .clone()
            .or_else(|| self.about.borrow().as_ref().map(|about| about.instance_id.clone()))
    }
}

/// An open stream. The end of a synchronisation stream, or of the last stream, ends the connection.
#[derive(Debug)]
pub(super) struct StreamGuard {
    connection: Arc<Connection>,
    kind: StreamKind,
    /// If the server that accepted the transport counts its streams.
    counted: Option<OpenStream>,
}

impl StreamGuard {
    /// Counts the stream on the transport that carries it.
    pub(super) fn count_on(&mut self, transport: &Streams) {
        self.counted = Some(transport.open());
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let mut streams = self.connection.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.remove(&self.kind);
        if streams.is_empty() || matches!(self.kind, StreamKind::GlobalToZone | StreamKind::ZoneToGlobal) {
            self.connection
                .close(format!("stream {:?} of the zone ended", self.kind));
        }
    }
}
