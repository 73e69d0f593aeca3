//! The agent's own stream to the control plane (`meshspan.agent.v1.AgentService`): DNS records and the health check plan
//! come down, health goes up. When it breaks, what was received stays in force and the stream is opened again.

use crate::backoff::Backoff;
use crate::control_plane::{ControlPlane, Protocol};
use crate::dns::Table;
use crate::phase::{self, Phase};
use crate::token_secret::{TokenSecret, TokenSecretError};
use futures::StreamExt;
use hyper_util::rt::TokioIo;
use meshspan_xds::proto::agent::agent_service_client::AgentServiceClient;
use meshspan_xds::proto::agent::{
    AgentMessage, ControlPlaneMessage, DenialReport, Goodbye, HealthCheck, HealthReport, Hello, agent_message,
    control_plane_message,
};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A stream that lived this long was sound: after its end the first retry comes at once.
const SOUND_AFTER: Duration = Duration::from_secs(5);
/// A control plane that has vanished without a word is noticed within twice this time.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// A full DNS update of some hundred thousand names.
const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;

/// What the stream moves, and where to.
pub(crate) struct AgentStream {
    pub(crate) control_plane: ControlPlane,
    pub(crate) token: Arc<TokenSecret>,
    pub(crate) hello: Hello,
    /// `None` where the agent serves no DNS.
    pub(crate) dns: Option<Arc<Table>>,
    pub(crate) plans: watch::Sender<Option<Vec<HealthCheck>>>,
    pub(crate) reports: watch::Receiver<Option<HealthReport>>,
    /// Whom Envoy refused; nothing where it cannot be asked.
    pub(crate) denials: watch::Receiver<Option<DenialReport>>,
    pub(crate) phase: watch::Receiver<Phase>,
}

#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("{0}")]
    Token(#[from] TokenSecretError),
    #[error("the token has characters that cannot be sent; is it the output of `meshspan generate dataplane-token`?")]
    TokenCharacters,
    #[error("{0}")]
    Connect(String),
    #[error("the control plane does not accept the token of this proxy: {0}")]
    Unauthenticated(String),
    #[error("the token does not allow this proxy: {0}")]
    PermissionDenied(String),
    #[error("{code:?}: {message}")]
    Status { code: Code, message: String },
    #[error("the connection to the control plane is lost")]
    Lost,
    #[error("the control plane ended the stream")]
    Ended,
}

impl From<tonic::Status> for StreamError {
    fn from(status: tonic::Status) -> Self {
        // What tonic wraps is words of transports.
        if let Some(source) = status.source() {
            tracing::debug!("agent stream: {}", chain(source));
            return Self::Lost;
        }
        let message = status.message().to_owned();
        match status.code() {
            Code::Unauthenticated => Self::Unauthenticated(message),
            Code::PermissionDenied => Self::PermissionDenied(message),
            code => Self::Status { code, message },
        }
    }
}

impl AgentStream {
    /// Keeps the stream open until the agent has stopped; then ends it in good order.
    pub(crate) async fn run(self) {
        let fresh = || Backoff::immediate(FIRST_PAUSE, LONGEST_PAUSE);
        let mut backoff = fresh();
        let mut reported = String::new();
        loop {
            let mut opened = None;
            let Err(error) = self.run_once(&mut opened).await;
            if opened.is_some_and(|since: Instant| since.elapsed() >= SOUND_AFTER) {
                backoff = fresh();
                reported.clear();
            }
            if self.phase.borrow().is_stopped() {
                return;
            }
            let text = error.to_string();
            if text != reported {
                match error {
                    StreamError::Unauthenticated(_)
                    | StreamError::PermissionDenied(_)
                    | StreamError::TokenCharacters => {
                        tracing::error!("agent stream refused: {text}; DNS and health checks stay as they are");
                    }
                    _ => tracing::warn!("agent stream: {text}; reconnecting, DNS and health checks stay as they are"),
                }
                reported = text;
            }
            let mut phase = self.phase.clone();
            tokio::select! {
                () = tokio::time::sleep(backoff.next_pause(fastrand::f64())) => {}
                () = phase::until(&mut phase, Phase::is_stopped) => return,
            }
        }
    }

    async fn run_once(&self, opened: &mut Option<Instant>) -> Result<std::convert::Infallible, StreamError> {
        let mut request = Request::new(self.outgoing());
        // The control plane ends both streams when the token does not hold any longer, so Envoy gets the new one here too.
        if let Some(token) = self.token.refresh()? {
            let mut value: MetadataValue<_> = token.parse().map_err(|_| StreamError::TokenCharacters)?;
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        let channel = self.connect().await?;
        let mut client = AgentServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let mut incoming = client.stream_agent(request).await?.into_inner();
        *opened = Some(Instant::now());
        // A refusal may still come: only a message shows that the control plane has let us in.
        let mut admitted = false;
        while let Some(message) = incoming.message().await? {
            if !std::mem::replace(&mut admitted, true) {
                tracing::info!(control_plane = %self.control_plane.authority(), "agent stream is open");
            }
            self.receive(message);
        }
        Err(StreamError::Ended)
    }

    async fn connect(&self) -> Result<Channel, StreamError> {
        // TLS is the connector's: to tonic this is a plain connection.
        let endpoint = Endpoint::from_shared(format!("http://{}", self.control_plane.authority()))
            .map_err(|error| StreamError::Connect(error.to_string()))?
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        let control_plane = self.control_plane.clone();
        let connector = tower::service_fn(move |_| {
            let control_plane = control_plane.clone();
            async move { control_plane.connect(Protocol::Http2).await.map(TokioIo::new) }
        });
        endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|error| StreamError::Connect(innermost(&error)))
    }

    /// Hello, then every report that is published while the stream is open, until the agent has stopped, then goodbye. The
    /// first report follows the plan with which the control plane opens its side.
    fn outgoing(&self) -> impl futures::Stream<Item = AgentMessage> + Send + 'static {
        let mut reports = self.reports.clone();
        reports.mark_unchanged();
        let hello = agent_message::Message::Hello(Hello {
            dns_digests: self.dns.as_ref().map(|table| table.digests()).unwrap_or_default(),
            ..self.hello.clone()
        });
        let mut denials = self.denials.clone();
        // A control plane that does not know of them yet hears what was counted so far.
        denials.mark_changed();
        let state = Some((reports, denials, self.phase.clone()));
        let reports = futures::stream::unfold(state, async |state| {
            let (mut reports, mut denials, mut phase) = state?;
            loop {
                let message = tokio::select! {
                    // A report that is there goes out before the end.
                    biased;
                    changed = reports.changed() => {
                        changed.ok()?;
                        reports.borrow_and_update().clone().map(agent_message::Message::Health)
                    }
                    () = phase::until(&mut phase, Phase::is_stopped) => {
                        return Some((agent_message::Message::Goodbye(Goodbye {}), None));
                    }
                    Ok(()) = denials.changed() => {
                        denials.borrow_and_update().clone().map(agent_message::Message::Denials)
                    }
                };
                if let Some(message) = message {
                    return Some((message, Some((reports, denials, phase))));
                }
            }
        });
        futures::stream::once(async { hello })
            .chain(reports)
            .map(|message| AgentMessage { message: Some(message) })
    }

    fn receive(&self, message: ControlPlaneMessage) {
        match (message.message, &self.dns) {
            (Some(control_plane_message::Message::Dns(update)), Some(table)) => table.apply(update),
            (Some(control_plane_message::Message::HealthChecks(plan)), _) => {
                self.plans.send_replace(Some(plan.checks));
            }
            // Records that nobody asked for, or a message of a newer control plane.
            (Some(control_plane_message::Message::Dns(_)), None) | (None, _) => {}
        }
    }
}

/// tonic wraps our connector's error several times in texts that say nothing.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut current: &(dyn Error + 'static) = error;
    while let Some(source) = current.source() {
        if current.is::<crate::control_plane::ConnectError>() {
            break;
        }
        current = source;
    }
    current.to_string()
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut current = error.source();
    while let Some(source) = current {
        text = format!("{text}: {source}");
        current = source.source();
    }
    text
}

#[cfg(test)]
mod tests;
