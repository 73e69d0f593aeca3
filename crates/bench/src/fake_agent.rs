//! An agent that reports what it is told to.

use anyhow::{Context, Result, bail};
use meshspan_xds::proto::agent::agent_message::Message;
use meshspan_xds::proto::agent::agent_service_client::AgentServiceClient;
use meshspan_xds::proto::agent::{AgentMessage, HealthReport, Hello, InboundHealth};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::Channel;

use crate::fake_envoy::Identity;

/// Reports that may wait for the connection.
const QUEUE: usize = 4;

/// An open agent stream. Dropping it breaks it off.
#[derive(Debug)]
pub struct FakeAgent {
    messages: mpsc::Sender<AgentMessage>,
    inbound_port: u16,
    task: JoinHandle<()>,
}

impl FakeAgent {
    /// Opens the stream of a registered proxy with one inbound. Returns when the control plane has let it in.
    ///
    /// # Errors
    /// The control plane does not let it in, or breaks off.
    pub async fn start(channel: Channel, who: &Identity, inbound_port: u16) -> Result<Self> {
        let (messages, outgoing) = mpsc::channel(QUEUE);
        let hello = Hello {
            mesh: who.mesh.clone(),
            name: who.name.clone(),
            proxy_type: "dataplane".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            wants_dns: false,
            ..Hello::default()
        };
        messages
            .send(AgentMessage {
                message: Some(Message::Hello(hello)),
            })
            .await
            .context("the stream is not open yet")?;
        let mut request = Request::new(ReceiverStream::new(outgoing));
        request.metadata_mut().insert(
            "authorization",
            who.token
                .parse()
                .context("the token has characters that cannot be sent")?,
        );
        let mut incoming = AgentServiceClient::new(channel)
            .stream_agent(request)
            .await?
            .into_inner();
        let Some(_plan) = incoming
            .message()
            .await
            .with_context(|| format!("connecting the agent of {}", who.name))?
        else {
            bail!("the control plane ended the agent stream of {}", who.name);
        };
        // It has to be read for its end to be seen, but says nothing that matters here.
        let task = tokio::spawn(async move { while let Ok(Some(_)) = incoming.message().await {} });
        Ok(Self {
            messages,
            inbound_port,
            task,
        })
    }

    /// Reports the health of the inbound.
    ///
    /// # Errors
    /// The stream has ended.
    pub async fn report(&self, ready: bool) -> Result<()> {
        let inbound = InboundHealth {
            inbound_port: self.inbound_port.into(),
            ready,
            detail: String::new(),
        };
        let report = HealthReport {
            inbounds: vec![inbound],
            draining: false,
        };
        let message = AgentMessage {
            message: Some(Message::Health(report)),
        };
        self.messages.send(message).await.context("the agent stream has ended")
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.task.abort();
    }
}
