//! Questions about Envoys of a zone, asked over the streams that the zone opened (`spec/zone-sync.md` §1.8).

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::stream::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::GlobalSync;
use super::connection::{Connection, StreamGuard, StreamKind};
use super::services::{Outgoing, run, until_closed};
use crate::proto::kds::{
    AdminOutputFormat, ClustersRequest, ClustersResponse, StatsRequest, StatsResponse, XdsConfigRequest,
    XdsConfigResponse, clusters_response, stats_response, xds_config_response,
};
use crate::zone::{AdminFormat, AdminQuestion};

/// Limit of one answer; the zone gives up after 10 s.
const LIMIT: Duration = Duration::from_secs(12);
/// How many questions may wait for a slow zone.
const QUEUE: usize = 16;

/// The proxy a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedProxy {
    /// `Dataplane`, `ZoneIngress` or `ZoneEgress`.
    pub resource_type: String,
    /// Its mesh; empty for zone proxies.
    pub mesh: String,
    /// Its name inside the zone: the display name, with `.<namespace>` on Kubernetes.
    pub name: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The zone is not connected, or not with the stream for this question.
    #[error("zone \"{0}\" is not connected")]
    NotConnected(String),
    /// The zone went away or did not answer in time.
    #[error("zone \"{0}\" did not answer within {LIMIT:?}")]
    NoAnswer(String),
    /// The zone answers with an error.
    #[error("zone \"{zone}\" answers: {message}")]
    Refused {
        /// The zone.
        zone: String,
        /// Its words.
        message: String,
    },
}

/// A question as it travels.
pub(super) type Question = (String, AdminQuestion, AskedProxy);
type Answer = (String, Result<Vec<u8>, String>);

impl GlobalSync {
    /// Asks a zone about the Envoy of one of its proxies.
    ///
    /// # Errors
    /// [`AskError`] if the zone is away or has no answer.
    pub async fn ask(&self, zone: &str, question: AdminQuestion, proxy: AskedProxy) -> Result<Vec<u8>, AskError> {
        let kind = match question {
            AdminQuestion::Config { .. } => StreamKind::XdsConfigs,
            AdminQuestion::Stats(_) => StreamKind::Stats,
            AdminQuestion::Clusters(_) => StreamKind::Clusters,
        };
        let not_connected = || AskError::NotConnected(zone.to_owned());
        let connection = self.shared.registry.current(zone).ok_or_else(not_connected)?;
        let stream = connection.admin_stream(kind).ok_or_else(not_connected)?;
        let id = uuid::Uuid::new_v4().to_string();
        let (answered, answer) = oneshot::channel();
        waiting(&connection).insert(id.clone(), answered);
        let outcome = tokio::time::timeout(LIMIT, async {
            stream.send((id.clone(), question, proxy)).await.ok()?;
            tokio::select! {
                answer = answer => answer.ok(),
                _ = connection.closed() => None,
            }
        });
        let outcome = outcome.await.ok().flatten();
        waiting(&connection).remove(&id);
        match outcome {
            Some(answer) => answer.map_err(|message| AskError::Refused {
                zone: zone.to_owned(),
                message,
            }),
            None => Err(AskError::NoAnswer(zone.to_owned())),
        }
    }
}

fn waiting(connection: &Connection) -> std::sync::MutexGuard<'_, super::connection::Waiting> {
    connection.waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens an admin stream: questions go out, answers find who asked.
pub(super) fn serve_admin<A, Q>(guard: StreamGuard, kind: StreamKind, mut answers: Streaming<A>) -> Outgoing<Q>
where
    A: Into<Answer> + Send + 'static,
    Q: From<Question> + Send + 'static,
{
    let connection = Arc::clone(guard.connection());
    let (sender, questions) = mpsc::channel::<Question>(QUEUE);
    connection.set_admin_stream(kind, sender);
    let asked = Arc::clone(&connection);
    tokio::spawn(run(guard, async move {
        while let Some(answer) = answers.message().await? {
            let (id, outcome) = answer.into();
            if let Some(answered) = waiting(&asked).remove(&id) {
                // Who asked may have given up.
                let _ = answered.send(outcome);
            }
        }
        Ok(())
    }));
    // The connection holds a sender, so the questions end with the connection.
    let end = Arc::clone(&connection);
    let questions = ReceiverStream::new(questions)
        .map(Q::from)
        .take_until(async move { end.closed().await });
    until_closed(questions, connection)
}

fn format(format: AdminFormat) -> i32 {
    match format {
        AdminFormat::Text => AdminOutputFormat::Text.into(),
        AdminFormat::Json => AdminOutputFormat::Json.into(),
    }
}

impl From<Question> for XdsConfigRequest {
    fn from((request_id, question, proxy): Question) -> Self {
        XdsConfigRequest {
            request_id,
            resource_type: proxy.resource_type,
            resource_name: proxy.name,
            resource_mesh: proxy.mesh,
            include_eds: matches!(question, AdminQuestion::Config { include_eds: true }),
        }
    }
}

impl From<Question> for StatsRequest {
    fn from((request_id, question, proxy): Question) -> Self {
        let format = if let AdminQuestion::Stats(wanted) = question {
            format(wanted)
        } else {
            0
        };
        StatsRequest {
            request_id,
            resource_type: proxy.resource_type,
            resource_name: proxy.name,
            resource_mesh: proxy.mesh,
            format,
        }
    }
}

impl From<Question> for ClustersRequest {
    fn from((request_id, question, proxy): Question) -> Self {
        let format = if let AdminQuestion::Clusters(wanted) = question {
            format(wanted)
        } else {
            0
        };
        ClustersRequest {
            request_id,
            resource_type: proxy.resource_type,
            resource_name: proxy.name,
            resource_mesh: proxy.mesh,
            format,
        }
    }
}

fn nothing() -> Result<Vec<u8>, String> {
    Err("an empty answer".to_owned())
}

impl From<XdsConfigResponse> for Answer {
    fn from(response: XdsConfigResponse) -> Self {
        let outcome = response.result.map_or_else(nothing, |result| match result {
            xds_config_response::Result::Error(message) => Err(message),
            xds_config_response::Result::Config(bytes) => Ok(bytes),
        });
        (response.request_id, outcome)
    }
}

impl From<StatsResponse> for Answer {
    fn from(response: StatsResponse) -> Self {
        let outcome = response.result.map_or_else(nothing, |result| match result {
            stats_response::Result::Error(message) => Err(message),
            stats_response::Result::Stats(bytes) => Ok(bytes),
        });
        (response.request_id, outcome)
    }
}

impl From<ClustersResponse> for Answer {
    fn from(response: ClustersResponse) -> Self {
        let outcome = response.result.map_or_else(nothing, |result| match result {
            clusters_response::Result::Error(message) => Err(message),
            clusters_response::Result::Clusters(bytes) => Ok(bytes),
        });
        (response.request_id, outcome)
    }
}
