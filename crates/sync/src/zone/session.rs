//! One connection to the global: all streams and the health checks, until the first of them fails.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use meshspan_store::StoreError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use super::admin::Exchange;
use super::dial::causes;
use super::{ZoneSync, ZoneToken, explain, headers};
use crate::MAX_MESSAGE;
use crate::outbox::Peer;
use crate::proto::kds::ZoneHealthCheckRequest;
use crate::proto::kds::global_kds_service_client::GlobalKdsServiceClient;
use crate::proto::kds::kds_sync_service_client::KdsSyncServiceClient;
use crate::publisher::Publisher;
use crate::receiver::joined;
use crate::sender::Sender;
use crate::storing;
use crate::text::{MAX_LOGGED, bounded};

/// How many messages may wait for the network.
const QUEUE: usize = 64;
/// Health checks where the global does not say how often.
const DEFAULT_HEALTH: Duration = Duration::from_secs(300);
/// Health checks of a global of our make: it is noticed soon when it is lost.
const OWN_HEALTH: Duration = Duration::from_secs(1);
/// Limit of a health check towards a global of our make.
const OWN_HEALTH_LIMIT: Duration = Duration::from_secs(3);
/// Limit of other health checks.
const HEALTH_LIMIT: Duration = Duration::from_secs(30);

/// The name of a stream in errors, and what ended it.
type Ended = (&'static str, Status);

impl ZoneSync {
    /// Runs one connection; the error says why it ended.
    pub(super) async fn session(&self, publisher: &Arc<Publisher>) -> String {
        let version = &self.options.about.version.version;
        let channel = match self.target.dial(&self.options.trust, version).await {
            Ok(channel) => channel,
            Err(error) => return causes(&error),
        };
        let token = match self.options.token.as_ref().map(ZoneToken::read).transpose() {
            Ok(token) => token,
            Err(reason) => return reason,
        };
        let connection = uuid::Uuid::new_v4().to_string();
        let headers = match headers::of(&self.options, &connection, token.as_deref()) {
            Ok(headers) => headers,
            Err(_) => return "zone name, version, instance id and token must be printable ASCII".to_owned(),
        };
        let sync = KdsSyncServiceClient::new(channel.clone())
            .max_decoding_message_size(self.options.max_message)
            .max_encoding_message_size(self.options.max_message);
        let admin = GlobalKdsServiceClient::new(channel)
            .max_decoding_message_size(self.options.max_message)
            .max_encoding_message_size(self.options.max_message);
        let ended = tokio::select! {
            ended = self.receive(sync.clone(), &headers) => ended,
            ended = self.send(sync, publisher, &headers) => ended,
            ended = self.config_dumps(admin.clone(), &headers) => ended,
            ended = self.stats(admin.clone(), &headers) => ended,
            ended = self.clusters(admin.clone(), &headers) => ended,
            ended = self.health(admin, &headers) => ended,
        };
        let (stream, status) = ended;
        let answered = self.state.borrow().connected;
        bounded(
            &explain::stream(stream, &status, self.target.is_tls(), answered),
            MAX_LOGGED,
        )
    }

    /// Logs what one side refuses of the other, but not more often than people can read.
    fn complain(&self, kind: &str, reason: &str, what: &str) {
        if let Some(held_back) = self.log_limit.allows("") {
            let (kind, reason) = (bounded(kind, MAX_LOGGED), bounded(reason, MAX_LOGGED));
            tracing::error!(
                zone = self.options.zone,
                r#type = kind,
                reason,
                others_held_back = held_back,
                "{what}"
            );
        }
    }

    /// GlobalToZoneSync: we ask, and store what comes.
    async fn receive(&self, mut client: KdsSyncServiceClient<Channel>, headers: &MetadataMap) -> Ended {
        let result = async {
            let mut receiver = self.receiver.lock().await;
            let mut changes = self.store.subscribe();
            let (requests, queue) = mpsc::channel(QUEUE);
            for request in receiver.subscribe(&self.store.snapshot()) {
                requests.send(request).await.map_err(gone)?;
            }
            let response = client
                .global_to_zone_sync(call(ReceiverStream::new(queue), headers))
                .await?;
            // Another server's answer looks like the beginning of a stream; its error comes as the first message.
            if is_grpc(response.metadata()) {
                self.connected();
            }
            let mut responses = response.into_inner();
            loop {
                if let Some(obstacle) = receiver.unblocked(&self.store.snapshot()) {
                    return Err(Status::unavailable(obstacle.to_string()));
                }
                let response = tokio::select! {
                    response = responses.message() => response?,
                    batch = changes.next() => match batch {
                        Some(_) => continue,
                        None => return Err(Status::unavailable("the store is closed")),
                    },
                };
                let Some(response) = response else {
                    return Err(Status::unavailable("ended by the global"));
                };
                let report = |error: &StoreError| {
                    self.complain(
                        &response.type_url,
                        &error.to_string(),
                        "resources of the global cannot be stored; this is tried again",
                    );
                };
                let stored = storing::store(&receiver, &*self.store, &response, report).await;
                let delivery = stored.map_err(|error| Status::unavailable(error.to_string()))?;
                if !delivery.rejected.is_empty() {
                    self.complain(
                        &response.type_url,
                        &joined(&delivery.rejected),
                        "resources of the global are refused",
                    );
                }
                requests.send(receiver.applied(&delivery)).await.map_err(gone)?;
            }
        };
        ended("GlobalToZoneSync", result.await)
    }

    /// ZoneToGlobalSync: the global asks, and we send what is ours.
    async fn send(
        &self,
        mut client: KdsSyncServiceClient<Channel>,
        publisher: &Arc<Publisher>,
        headers: &MetadataMap,
    ) -> Ended {
        let result = async {
            let (responses, queue) = mpsc::channel(QUEUE);
            let response = client
                .zone_to_global_sync(call(ReceiverStream::new(queue), headers))
                .await?;
            let theirs = response.metadata().get(headers::MAX_MESSAGE_SIZE);
            let theirs = theirs
                .and_then(|size| size.to_str().ok()?.parse().ok())
                .unwrap_or(MAX_MESSAGE);
            let mut requests = response.into_inner();
            let mut changes = publisher.changes();
            let zone = self.options.zone.clone();
            let max_message = self.options.max_message.min(theirs);
            let mut machine = Sender::new(zone, Peer::default(), max_message, &publisher.outbox());
            loop {
                let ready = tokio::select! {
                    request = requests.message() => {
                        let Some(request) = request? else { return Err(Status::unavailable("ended by the global")) };
                        let reaction = machine.on_request(&request, &publisher.outbox());
                        if let Some(message) = reaction.rejection {
                            self.complain(&request.type_url, &message, "the global refuses resources of this zone");
                        }
                        reaction.response.into_iter().collect()
                    }
                    Ok(()) = changes.changed() => machine.on_change(&publisher.outbox()),
                };
                for response in ready {
                    responses.send(response).await.map_err(gone)?;
                }
            }
        };
        ended("ZoneToGlobalSync", result.await)
    }

    async fn config_dumps(&self, mut client: GlobalKdsServiceClient<Channel>, headers: &MetadataMap) -> Ended {
        let (answers, queue) = mpsc::channel(QUEUE);
        let opened = client
            .stream_xds_configs(call(ReceiverStream::new(queue), headers))
            .await;
        ("StreamXDSConfigs", self.answer(opened, answers).await)
    }

    async fn stats(&self, mut client: GlobalKdsServiceClient<Channel>, headers: &MetadataMap) -> Ended {
        let (answers, queue) = mpsc::channel(QUEUE);
        let opened = client.stream_stats(call(ReceiverStream::new(queue), headers)).await;
        ("StreamStats", self.answer(opened, answers).await)
    }

    async fn clusters(&self, mut client: GlobalKdsServiceClient<Channel>, headers: &MetadataMap) -> Ended {
        let (answers, queue) = mpsc::channel(QUEUE);
        let opened = client.stream_clusters(call(ReceiverStream::new(queue), headers)).await;
        ("StreamClusters", self.answer(opened, answers).await)
    }

    /// Calls HealthCheck at once and then as often as the global wants.
    async fn health(&self, mut client: GlobalKdsServiceClient<Channel>, headers: &MetadataMap) -> Ended {
        let mut limit = HEALTH_LIMIT;
        loop {
            let checked =
                tokio::time::timeout(limit, client.health_check(call(ZoneHealthCheckRequest {}, headers))).await;
            let response = match checked {
                Ok(Ok(response)) => response,
                Ok(Err(status)) if status.code() == Code::Unimplemented => return std::future::pending().await,
                Ok(Err(status)) => return ("HealthCheck", status),
                Err(_) => {
                    return (
                        "HealthCheck",
                        Status::deadline_exceeded(format!("the global did not answer within {limit:?}")),
                    );
                }
            };
            let own_make = response.metadata().contains_key(headers::GLOBAL);
            if !own_make {
                // A reference global that has nothing to send never opens its side of GlobalToZoneSync.
                self.connected();
            }
            let wanted = response
                .into_inner()
                .interval
                .and_then(|interval| u64::try_from(interval.seconds).ok())
                .filter(|seconds| *seconds > 0);
            let mut pause = wanted.map_or(DEFAULT_HEALTH, Duration::from_secs);
            if own_make {
                (pause, limit) = (pause.min(OWN_HEALTH), OWN_HEALTH_LIMIT);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Answers questions concurrently until the stream ends. A global without this service is fine.
    async fn answer<Q: Exchange>(
        &self,
        opened: Result<Response<Streaming<Q>>, Status>,
        answers: mpsc::Sender<Q::Answer>,
    ) -> Status {
        let mut questions = match opened {
            Ok(response) => response.into_inner(),
            Err(status) if status.code() == Code::Unimplemented => return std::future::pending().await,
            Err(status) => return status,
        };
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                question = questions.message(), if running.len() < QUEUE => match question {
                    Ok(Some(question)) => running.push(question.answer(&*self.options.admin)),
                    Ok(None) => return Status::unavailable("ended by the global"),
                    Err(status) if status.code() == Code::Unimplemented => return std::future::pending().await,
                    Err(status) => return status,
                },
                Some(answer) = running.next() => {
                    if answers.send(answer).await.is_err() {
                        return gone(());
                    }
                }
            }
        }
    }
}

fn is_grpc(headers: &MetadataMap) -> bool {
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/grpc"))
}

fn call<T>(message: T, headers: &MetadataMap) -> Request<T> {
    let mut request = Request::new(message);
    *request.metadata_mut() = headers.clone();
    request
}

fn gone<T>(_: T) -> Status {
    Status::unavailable("the connection is gone")
}

fn ended(stream: &'static str, result: Result<(), Status>) -> Ended {
    (stream, result.err().unwrap_or_else(|| Status::unavailable("ended")))
}
