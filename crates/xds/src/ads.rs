//! Envoy's aggregated discovery service (delta): moves the bytes of a [`Subscriber`] over gRPC.
//!
//! The caller mounts [`AdsService::into_server`] on its own HTTP/2 server and sets keepalive, TLS and connection limits
//! there. The peer's address is known if that server puts `tonic::transport::server::TcpConnectInfo` (or the TLS variant)
//! into the request's extensions.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use tonic::{Request, Response, Status, Streaming};

use crate::feed::FeedReceiver;
use crate::proto::ads::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use crate::proto::ads::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node};
use crate::resource_type::ResourceType;
use crate::subscriber::{Action, Holdings, Rejection, Subscriber};

/// The largest request a proxy may send, in bytes. The largest ones come after a reconnect, with all names and versions.
const MAX_REQUEST_BYTES: usize = 4 << 20;

/// How long a new stream may be silent.
pub(crate) const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Who may connect, and what a connected proxy gets.
pub trait ControlPlane: Send + Sync + 'static {
    /// Called with the first request of a stream: `token` is the `authorization` metadata as sent; `resumes` says that
    /// the proxy already holds resources, of an earlier stream.
    ///
    /// # Errors
    /// The status with which the stream ends, when the proxy is not let in.
    fn open(
        &self,
        node: Node,
        token: Option<String>,
        peer: Option<SocketAddr>,
        resumes: bool,
    ) -> impl Future<Output = Result<Session, Status>> + Send;
}

/// One admitted stream.
pub struct Session {
    /// Where its snapshots come from; the other end also ends the stream.
    pub feed: FeedReceiver,
    /// Who hears what happens on it.
    pub events: EventSink,
}

/// Called from the stream's task for each event; must not block.
pub type EventSink = Box<dyn Fn(StreamEvent) + Send + Sync>;

/// What happened on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// A response was handed to the transport.
    Sent {
        /// `None` for the empty answer to a type that is not served.
        ty: Option<ResourceType>,
        /// Pairs this event with the proxy's answer.
        nonce: String,
        /// Resources added or updated.
        resources: usize,
        /// Names removed or said not to exist.
        removed: usize,
    },
    /// The proxy accepted a response.
    Acked {
        /// The response's type.
        ty: ResourceType,
        /// The response's nonce.
        nonce: String,
    },
    /// The proxy refused a response; see [`Action::Nacked`].
    Nacked {
        /// The response's type.
        ty: ResourceType,
        /// The response's nonce.
        nonce: String,
        /// The proxy's words.
        message: String,
        /// The resources that were in the response.
        resources: Vec<Arc<str>>,
    },
    /// What the proxy refuses of a type has changed; this replaces what was reported for the type before.
    Rejections {
        /// The type.
        ty: ResourceType,
        /// The refused resources by name; their last accepted versions, if any, stay in use.
        rejected: Vec<(Arc<str>, Rejection)>,
    },
    /// What the proxy runs of listeners has changed.
    Listeners(Holdings),
    /// The proxy has, for the first time on this stream, every listener that it should have, or has refused it.
    CaughtUp,
    /// The stream has ended; always the last event.
    Closed {
        /// Either side ended it on purpose; false when the connection broke or the proxy was stopped.
        graceful: bool,
    },
}

/// The gRPC service.
pub struct AdsService<C> {
    control_plane: Arc<C>,
}

impl<C: ControlPlane> AdsService<C> {
    /// A service that asks `control_plane` about each new stream.
    pub const fn new(control_plane: Arc<C>) -> Self {
        Self { control_plane }
    }

    /// The service as it is mounted on a server, with the size limit for requests.
    pub fn into_server(self) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES)
    }
}

#[tonic::async_trait]
impl<C: ControlPlane> AggregatedDiscoveryService for AdsService<C> {
    type DeltaAggregatedResourcesStream =
        Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send + 'static>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let conversation = Conversation {
            control_plane: self.control_plane.clone(),
            token: token(&request),
            peer: request.remote_addr(),
            requests: request.into_inner(),
            open: None,
        };
        // The stream is driven by whoever sends its responses: no task to leak, and flow control reaches the state machine.
        let responses = unfold(Some(conversation), |conversation| async {
            let mut conversation = conversation?;
            match conversation.next_response().await {
                Ok(Some(response)) => Some((Ok(response), Some(conversation))),
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

/// The `authorization` metadata of a call as sent, `None` if absent or not printable.
pub(crate) fn token<T>(request: &Request<T>) -> Option<String> {
    request
        .metadata()
        .get("authorization")?
        .to_str()
        .ok()
        .map(str::to_owned)
}

/// One call.
struct Conversation<C> {
    control_plane: Arc<C>,
    token: Option<String>,
    peer: Option<SocketAddr>,
    requests: Streaming<DeltaDiscoveryRequest>,
    open: Option<OpenStream>,
}

impl<C: ControlPlane> Conversation<C> {
    /// Works until there is a response to send; `None` when the proxy has ended the stream.
    async fn next_response(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        let mut stream = match self.open.take() {
            Some(stream) => stream,
            None => match self.admit().await? {
                Some(stream) => stream,
                None => return Ok(None),
            },
        };
        let response = stream.next_response(&mut self.requests).await?;
        self.open = Some(stream);
        Ok(response)
    }

    /// Waits for the first request and lets the control plane decide.
    async fn admit(&mut self) -> Result<Option<OpenStream>, Status> {
        let first = tokio::time::timeout(FIRST_MESSAGE_TIMEOUT, self.requests.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no discovery request after opening the stream"))??;
        let Some(mut first) = first else { return Ok(None) };
        let Some(node) = first.node.take() else {
            return Err(Status::invalid_argument(
                "node: missing in the first request of the stream",
            ));
        };
        let node_id = node.id.clone();
        let resumes = !first.initial_resource_versions.is_empty();
        let session = self
            .control_plane
            .open(node, self.token.take(), self.peer, resumes)
            .await?;
        let mut stream = OpenStream {
            node_id,
            feed: session.feed,
            report: Report {
                events: session.events,
                graceful: false,
            },
            subscriber: Subscriber::new(),
            outbox: VecDeque::new(),
        };
        stream.take_request(&first)?;
        Ok(Some(stream))
    }
}

/// One admitted stream at work.
struct OpenStream {
    node_id: String,
    feed: FeedReceiver,
    report: Report,
    subscriber: Subscriber,
    outbox: VecDeque<DeltaDiscoveryResponse>,
}

impl OpenStream {
    async fn next_response(
        &mut self,
        requests: &mut Streaming<DeltaDiscoveryRequest>,
    ) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        loop {
            if let Some(response) = self.outbox.pop_front() {
                self.report.sent(&response);
                return Ok(Some(response));
            }
            tokio::select! {
                request = requests.message() => match request? {
                    Some(request) => self.take_request(&request)?,
                    None => {
                        self.report.graceful = true;
                        return Ok(None);
                    }
                },
                change = self.feed.next() => {
                    let (snapshot, changes) = change.inspect_err(|_| self.report.graceful = true)?;
                    let actions = self.subscriber.on_change(snapshot, &changes);
                    self.perform(actions)?;
                }
            }
        }
    }

    fn take_request(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        if let Some(node) = &request.node
            && !node.id.is_empty()
            && node.id != self.node_id
        {
            let shown: String = node.id.chars().take(200).collect();
            let text = format!("node.id: {shown:?} on a stream that was opened by {:?}", self.node_id);
            return Err(Status::invalid_argument(text));
        }
        if ResourceType::from_type_url(&request.type_url).is_none() {
            tracing::debug!(
                node = self.node_id,
                type_url = request.type_url,
                "a proxy asks for a type that is not served"
            );
        }
        let actions = self.subscriber.on_request(request);
        self.perform(actions)
    }

    fn perform(&mut self, actions: Vec<Action>) -> Result<(), Status> {
        for action in actions {
            match action {
                Action::Send(response) => self.outbox.push_back(response),
                Action::Acked { ty, nonce } => self.report.event(StreamEvent::Acked { ty, nonce }),
                Action::Nacked {
                    ty,
                    nonce,
                    message,
                    resources,
                } => {
                    self.report.event(StreamEvent::Nacked {
                        ty,
                        nonce,
                        message,
                        resources,
                    });
                }
                Action::Rejections { ty, rejected } => self.report.event(StreamEvent::Rejections { ty, rejected }),
                Action::Listeners(holdings) => self.report.event(StreamEvent::Listeners(holdings)),
                Action::CaughtUp => self.report.event(StreamEvent::CaughtUp),
                Action::Reject(status) => return Err(status),
            }
        }
        Ok(())
    }
}

/// Reports the end of the stream however it comes.
struct Report {
    events: EventSink,
    graceful: bool,
}

impl Report {
    fn event(&self, event: StreamEvent) {
        (self.events)(event);
    }

    fn sent(&self, response: &DeltaDiscoveryResponse) {
        self.event(StreamEvent::Sent {
            ty: ResourceType::from_type_url(&response.type_url),
            nonce: response.nonce.clone(),
            resources: response.resources.len(),
            removed: response.removed_resources.len(),
        });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.event(StreamEvent::Closed {
            graceful: self.graceful,
        });
    }
}
