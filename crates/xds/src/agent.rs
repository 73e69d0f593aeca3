//! The data plane agent's stream (`proto/meshspan/agent/v1/agent.proto`): DNS records and health check plans flow down,
//! the health of the local application flows up.
//!
//! The caller mounts [`AgentService::into_server`] beside ADS, see [`crate::ads`].

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::stream::unfold;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use crate::ads::{FIRST_MESSAGE_TIMEOUT, token};
use crate::proto::agent::agent_message::Message;
use crate::proto::agent::agent_service_server::{AgentService as AgentServiceTrait, AgentServiceServer};
use crate::proto::agent::{AgentMessage, ControlPlaneMessage, DenialReport, HealthReport, Hello};

/// The largest message an agent may send, in bytes: the health of thousands of inbounds.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// Who may connect, and what a connected agent gets.
pub trait AgentPlane: Send + Sync + 'static {
    /// Called with the first message of a stream: `token` is the `authorization` metadata as sent.
    ///
    /// # Errors
    /// The status with which the stream ends, when the agent is not let in.
    fn open(
        &self,
        hello: Hello,
        token: Option<String>,
        peer: Option<SocketAddr>,
    ) -> impl Future<Output = Result<AgentSession, Status>> + Send;
}

/// One admitted agent.
pub struct AgentSession {
    /// What to send to it. An error ends the stream with that status, the sender's end ends it without one; the sender
    /// sees it closed when the stream has ended.
    pub outgoing: mpsc::Receiver<Result<ControlPlaneMessage, Status>>,
    /// Who hears what happens on the stream; called from the stream's task, must not block.
    pub events: Box<dyn Fn(AgentEvent) + Send + Sync>,
}

/// What happened on an agent's stream.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentEvent {
    /// The whole current health of the application; it replaces what was reported before.
    Health(HealthReport),
    /// The agent is about to end, and its Envoy has ended.
    Goodbye,
    /// Whom the proxy refused; it replaces what was reported before.
    Denials(DenialReport),
    /// The stream has ended; always the last event.
    Closed {
        /// Either side ended it on purpose; false when the connection broke or the agent was killed.
        graceful: bool,
    },
}

/// The gRPC service.
pub struct AgentService<P> {
    plane: Arc<P>,
}

impl<P: AgentPlane> AgentService<P> {
    /// A service that asks `plane` about each new stream.
    pub const fn new(plane: Arc<P>) -> Self {
        Self { plane }
    }

    /// The service as it is mounted on a server, with the size limit for messages.
    pub fn into_server(self) -> AgentServiceServer<Self> {
        AgentServiceServer::new(self).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl<P: AgentPlane> AgentServiceTrait for AgentService<P> {
    type StreamAgentStream = Pin<Box<dyn Stream<Item = Result<ControlPlaneMessage, Status>> + Send + 'static>>;

    async fn stream_agent(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::StreamAgentStream>, Status> {
        let conversation = Conversation {
            plane: self.plane.clone(),
            token: token(&request),
            peer: request.remote_addr(),
            messages: request.into_inner(),
            open: None,
        };
        let outgoing = unfold(Some(conversation), |conversation| async {
            let mut conversation = conversation?;
            match conversation.next_outgoing().await {
                Ok(Some(message)) => Some((Ok(message), Some(conversation))),
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(outgoing)))
    }
}

/// One call.
struct Conversation<P> {
    plane: Arc<P>,
    token: Option<String>,
    peer: Option<SocketAddr>,
    messages: Streaming<AgentMessage>,
    open: Option<OpenStream>,
}

impl<P: AgentPlane> Conversation<P> {
    /// Works until there is a message to send; `None` when the stream has ended.
    async fn next_outgoing(&mut self) -> Result<Option<ControlPlaneMessage>, Status> {
        let mut stream = match self.open.take() {
            Some(stream) => stream,
            None => match self.admit().await? {
                Some(stream) => stream,
                None => return Ok(None),
            },
        };
        let message = stream.next_outgoing(&mut self.messages).await?;
        self.open = Some(stream);
        Ok(message)
    }

    /// Waits for the hello and lets the control plane decide.
    async fn admit(&mut self) -> Result<Option<OpenStream>, Status> {
        let first = tokio::time::timeout(FIRST_MESSAGE_TIMEOUT, self.messages.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello after opening the stream"))??;
        let Some(first) = first else { return Ok(None) };
        let Some(Message::Hello(hello)) = first.message else {
            return Err(Status::invalid_argument(
                "hello: missing in the first message of the stream",
            ));
        };
        let session = self.plane.open(hello, self.token.take(), self.peer).await?;
        Ok(Some(OpenStream {
            session,
            graceful: false,
        }))
    }
}

/// One admitted stream at work; reports its end however it comes.
struct OpenStream {
    session: AgentSession,
    graceful: bool,
}

impl OpenStream {
    async fn next_outgoing(
        &mut self,
        messages: &mut Streaming<AgentMessage>,
    ) -> Result<Option<ControlPlaneMessage>, Status> {
        loop {
            tokio::select! {
                message = messages.message() => match message?.map(|message| message.message) {
                    Some(Some(Message::Health(report))) => (self.session.events)(AgentEvent::Health(report)),
                    Some(Some(Message::Goodbye(_))) => (self.session.events)(AgentEvent::Goodbye),
                    Some(Some(Message::Denials(report))) => (self.session.events)(AgentEvent::Denials(report)),
                    Some(Some(Message::Hello(_))) => {
                        return Err(Status::invalid_argument("hello: only the first message may carry it"));
                    }
                    // A field that this version does not know.
                    Some(None) => {}
                    None => {
                        self.graceful = true;
                        return Ok(None);
                    }
                },
                outgoing = self.session.outgoing.recv() => match outgoing {
                    Some(Ok(message)) => return Ok(Some(message)),
                    end => {
                        self.graceful = true;
                        return end.transpose();
                    }
                }
            }
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        (self.session.events)(AgentEvent::Closed {
            graceful: self.graceful,
        });
    }
}
