//! The two gRPC services: they move bytes between streams and state machines.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use futures::{Stream, StreamExt as _, stream};
use meshspan_store::StoreError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::ask::serve_admin;
use super::caller::Caller;
use super::connection::{Connection, StreamGuard, StreamKind};
use super::supervisor::supervise;
use super::{GlobalSync, Shared, insight};
use crate::MAX_MESSAGE;
use crate::feature::Feature;
use crate::node;
use crate::outbox::Peer;
use crate::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Duration as ProtoDuration};
use crate::proto::kds::global_kds_service_server::{GlobalKdsService, GlobalKdsServiceServer};
use crate::proto::kds::kds_sync_service_server::{KdsSyncService, KdsSyncServiceServer};
use crate::proto::kds::{
    ClustersRequest, ClustersResponse, StatsRequest, StatsResponse, XdsConfigRequest, XdsConfigResponse,
    ZoneHealthCheckRequest, ZoneHealthCheckResponse,
};
use crate::sender::Sender;
use crate::zone::headers::GLOBAL;

/// How many messages may wait for a slow peer.
const QUEUE: usize = 16;

/// The sending end of a stream.
pub(super) type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl GlobalSync {
    /// Both services, to be mounted on a server (HTTP/2 only).
    pub fn routes(&self) -> Routes {
        let sync = KdsSyncServiceServer::new(self.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
            .accept_compressed(CompressionEncoding::Gzip);
        let admin = GlobalKdsServiceServer::new(self.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
            .accept_compressed(CompressionEncoding::Gzip);
        Routes::new(sync).add_service(admin)
    }

    async fn admit<T>(&self, request: &Request<T>, kind: StreamKind) -> Result<StreamGuard, Status> {
        let caller = Caller::of(request, &self.shared.options)?;
        let zone = caller.zone.clone();
        let admitted = self.shared.registry.admit(caller, kind, &self.shared.cancel)?;
        let shared = Arc::clone(&self.shared);
        let connection = Arc::clone(admitted.guard.connection());
        // In a task of its own, because other streams may have joined by the time this call is given up.
        let prepared = tokio::spawn(async move {
            insight::ensure_zone(&*shared.store, &connection.caller.zone).await?;
            if admitted.first {
                tokio::spawn(supervise(shared, connection));
            }
            Ok::<(), StoreError>(())
        });
        match prepared.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                return Err(Status::unavailable(format!(
                    "zone \"{zone}\" cannot be stored: {error}"
                )));
            }
            Err(_) => return Err(Status::internal("the zone cannot be prepared")),
        }
        Ok(admitted.guard)
    }
}

#[tonic::async_trait]
impl KdsSyncService for GlobalSync {
    type GlobalToZoneSyncStream = Outgoing<DeltaDiscoveryResponse>;
    type ZoneToGlobalSyncStream = Outgoing<DeltaDiscoveryRequest>;

    async fn global_to_zone_sync(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::GlobalToZoneSyncStream>, Status> {
        let guard = self.admit(&request, StreamKind::GlobalToZone).await?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let connection = Arc::clone(guard.connection());
        let body = send_to_zone(
            Arc::clone(&self.shared),
            Arc::clone(&connection),
            request.into_inner(),
            sender,
        );
        tokio::spawn(run(guard, body));
        Ok(Response::new(until_closed(ReceiverStream::new(receiver), connection)))
    }

    async fn zone_to_global_sync(
        &self,
        request: Request<Streaming<DeltaDiscoveryResponse>>,
    ) -> Result<Response<Self::ZoneToGlobalSyncStream>, Status> {
        let guard = self.admit(&request, StreamKind::ZoneToGlobal).await?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let connection = Arc::clone(guard.connection());
        let body = receive_from_zone(
            Arc::clone(&self.shared),
            Arc::clone(&connection),
            request.into_inner(),
            sender,
        );
        tokio::spawn(run(guard, body));
        Ok(Response::new(until_closed(ReceiverStream::new(receiver), connection)))
    }
}

/// Runs a stream until it or its connection ends.
pub(super) async fn run(guard: StreamGuard, body: impl Future<Output = Result<(), Status>>) {
    let connection = guard.connection();
    let ended = tokio::select! {
        _ = connection.closed() => return,
        result = body => result,
    };
    if let Err(status) = ended {
        connection.close(status.message());
    }
}

/// What is queued, and then always an error that makes the zone retry: a clean end would leave zones of some releases
/// of the reference without updates (`spec/zone-sync.md` §1.1).
pub(super) fn until_closed<T: Send + 'static>(
    messages: impl Stream<Item = T> + Send + 'static,
    connection: Arc<Connection>,
) -> Outgoing<T> {
    Box::pin(
        messages
            .map(Ok)
            .chain(stream::once(async move { Err(connection.closed().await) })),
    )
}

async fn send_to_zone(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    mut requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<DeltaDiscoveryResponse>,
) -> Result<(), Status> {
    let zone = connection.caller.zone.clone();
    let mut changes = shared.publisher.changes();
    let peer = Peer {
        zone: zone.clone(),
        features: connection.caller.features.clone(),
    };
    let mut machine = Sender::new("global", peer, &shared.publisher.outbox());
    loop {
        let ready = tokio::select! {
            request = requests.message() => {
                let Some(request) = request? else { return Ok(()) };
                connection.is_alive();
                if connection.about.borrow().is_none() && let Some(about) = request.node.as_ref().and_then(node::about) {
                    if !request.node.iter().any(|node| node::features(node).contains(&Feature::HashSuffix)) {
                        tracing::warn!(zone, "the zone does not know hashed names (feature hash-suffix); it gets them nevertheless");
                    }
                    connection.about.send_replace(Some(about));
                }
                let reaction = machine.on_request(&request, &shared.publisher.outbox());
                if let Some(message) = reaction.rejection {
                    tracing::error!(zone, r#type = request.type_url, message, "the zone rejected resources");
                }
                reaction.response.into_iter().collect()
            }
            Ok(()) = changes.changed() => machine.on_change(&shared.publisher.outbox()),
        };
        *connection.stats.lock().unwrap_or_else(PoisonError::into_inner) = machine.stats().collect();
        for response in ready {
            responses
                .send(response)
                .await
                .map_err(|_| Status::unavailable("the zone is gone"))?;
        }
    }
}

async fn receive_from_zone(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    mut responses: Streaming<DeltaDiscoveryResponse>,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
) -> Result<(), Status> {
    let gone = |_| Status::unavailable("the zone is gone");
    let zone = connection.caller.zone.clone();
    let machine = shared
        .registry
        .receiver(&zone)
        .ok_or_else(|| Status::internal("the zone is not registered"))?;
    // Waits for the end of an older stream of the zone.
    let mut machine = machine.lock_owned().await;
    for request in machine.subscribe(&shared.store.snapshot()) {
        requests.send(request).await.map_err(gone)?;
    }
    let mut mismatch_reported = false;
    while let Some(response) = responses.message().await? {
        connection.is_alive();
        if let Some(control_plane) = response
            .control_plane
            .as_ref()
            .filter(|control_plane| control_plane.identifier != zone && !mismatch_reported)
        {
            mismatch_reported = true;
            tracing::warn!(
                zone,
                identifier = control_plane.identifier,
                "the zone calls itself differently in its responses; client-id counts"
            );
        }
        let delivery = machine.receive(&response, &shared.store.snapshot());
        for reason in &delivery.rejected {
            tracing::error!(zone, reason, "resource of the zone rejected");
        }
        let answer = match shared.store.apply(delivery.writes.clone()).await {
            Ok(_) => machine.applied(&delivery),
            Err(error @ StoreError::MissingOwner { .. }) => {
                // Everything must be sent again, to a new Zone.
                machine.refused(&delivery, &error.to_string());
                return Err(Status::unavailable(format!(
                    "zone \"{zone}\" was deleted on the global control plane"
                )));
            }
            Err(error) => {
                tracing::error!(zone, %error, "resources of the zone cannot be stored");
                machine.refused(&delivery, &error.to_string())
            }
        };
        requests.send(answer).await.map_err(gone)?;
    }
    Ok(())
}

#[tonic::async_trait]
impl GlobalKdsService for GlobalSync {
    type StreamXDSConfigsStream = Outgoing<XdsConfigRequest>;
    type StreamStatsStream = Outgoing<StatsRequest>;
    type StreamClustersStream = Outgoing<ClustersRequest>;

    async fn stream_xds_configs(
        &self,
        request: Request<Streaming<XdsConfigResponse>>,
    ) -> Result<Response<Self::StreamXDSConfigsStream>, Status> {
        let guard = self.admit(&request, StreamKind::XdsConfigs).await?;
        Ok(Response::new(serve_admin(
            guard,
            StreamKind::XdsConfigs,
            request.into_inner(),
        )))
    }

    async fn stream_stats(
        &self,
        request: Request<Streaming<StatsResponse>>,
    ) -> Result<Response<Self::StreamStatsStream>, Status> {
        let guard = self.admit(&request, StreamKind::Stats).await?;
        Ok(Response::new(serve_admin(
            guard,
            StreamKind::Stats,
            request.into_inner(),
        )))
    }

    async fn stream_clusters(
        &self,
        request: Request<Streaming<ClustersResponse>>,
    ) -> Result<Response<Self::StreamClustersStream>, Status> {
        let guard = self.admit(&request, StreamKind::Clusters).await?;
        Ok(Response::new(serve_admin(
            guard,
            StreamKind::Clusters,
            request.into_inner(),
        )))
    }

    async fn health_check(
        &self,
        request: Request<ZoneHealthCheckRequest>,
    ) -> Result<Response<ZoneHealthCheckResponse>, Status> {
        let caller = Caller::of(&request, &self.shared.options)?;
        if let Some(connection) = self
            .shared
            .registry
            .current(&caller.zone)
            .filter(|current| current.caller.connection == caller.connection)
        {
            connection.is_alive();
        }
        let interval = ProtoDuration {
            seconds: i64::try_from(self.shared.options.health_interval.as_secs()).unwrap_or(i64::MAX),
            nanos: 0,
        };
        let mut response = Response::new(ZoneHealthCheckResponse {
            interval: Some(interval),
        });
        response
            .metadata_mut()
            .insert(GLOBAL, tonic::metadata::MetadataValue::from_static("1"));
        Ok(response)
    }
}
