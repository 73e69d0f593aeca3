//! The two gRPC services: they move bytes between streams and state machines.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use meshspan_store::StoreError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::ask::serve_admin;
use super::authorization::authorize;
use super::caller::{Caller, PeerAddress};
use super::connection::{Connection, StreamGuard, StreamKind};
use super::strangers::Streams;
use super::streams::{receive_from_zone, send_to_zone};
use super::supervisor::supervise;
use super::{GlobalSync, insight};
use crate::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Duration as ProtoDuration};
use crate::proto::kds::global_kds_service_server::{GlobalKdsService, GlobalKdsServiceServer};
use crate::proto::kds::kds_sync_service_server::{KdsSyncService, KdsSyncServiceServer};
use crate::proto::kds::{
    ClustersRequest, ClustersResponse, StatsRequest, StatsResponse, XdsConfigRequest, XdsConfigResponse,
    ZoneHealthCheckRequest, ZoneHealthCheckResponse,
};
use crate::zone::headers::{GLOBAL, MAX_MESSAGE_SIZE};

/// How many messages may wait for a slow peer.
const QUEUE: usize = 16;

/// The sending end of a stream.
pub(super) type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl GlobalSync {
    /// Both services, to be mounted on a server (HTTP/2 only).
    pub fn routes(&self) -> Routes {
        let max_message = self.shared.options.max_message;
        let sync = KdsSyncServiceServer::new(self.clone())
            .max_decoding_message_size(max_message)
            .max_encoding_message_size(max_message)
            .accept_compressed(CompressionEncoding::Gzip);
        let admin = GlobalKdsServiceServer::new(self.clone())
            .max_decoding_message_size(max_message)
            .max_encoding_message_size(max_message)
            .accept_compressed(CompressionEncoding::Gzip);
        Routes::new(sync).add_service(admin)
    }

    async fn admit<T>(&self, request: &Request<T>, kind: StreamKind) -> Result<StreamGuard, Status> {
        let caller = Caller::of(request)?;
        let (zone, address) = (caller.zone.clone(), caller.address.clone());
        let mut admitted = authorize(&self.shared.options, &*self.shared.store, &caller)
            .and_then(|_| self.shared.registry.admit(caller, kind, &self.shared.cancel))
            .inspect_err(|status| self.refused(&zone, &address, status))?;
        if let Some(transport) = request.extensions().get::<Streams>() {
            admitted.guard.count_on(transport);
        }
        let shared = Arc::clone(&self.shared);
        let connection = Arc::clone(admitted.guard.connection());
        // In a task of its own, because other streams may have joined by the time this call is given up.
        let prepared = tokio::spawn(async move {
            // Without tokens only zones that exist come this far.
            if shared.options.check_token.is_some() {
                insight::ensure_zone(&*shared.store, &connection.caller.zone).await?;
            }
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

    /// Refuses a call by its head, before anything of its body is read.
    pub(super) fn check_head(&self, headers: &http::HeaderMap, address: PeerAddress) -> Result<(), Status> {
        let mut head = Request::new(());
        *head.metadata_mut() = MetadataMap::from_headers(headers.clone());
        head.extensions_mut().insert(address);
        self.allow(&Caller::of(&head)?).map(drop)
    }

    /// Lets a caller speak for its zone; with the connection whose caller it is, if it has one.
    fn allow(&self, caller: &Caller) -> Result<Option<Arc<Connection>>, Status> {
        let current = self.shared.registry.current(&caller.zone);
        let own = current.filter(|current| {
            (&current.caller.connection, &current.caller.token) == (&caller.connection, &caller.token)
        });
        // The token of a connection is watched.
        if own.is_none() {
            authorize(&self.shared.options, &*self.shared.store, caller)
                .inspect_err(|status| self.refused(&caller.zone, &caller.address, status))?;
        }
        Ok(own)
    }

    fn refused(&self, zone: &str, address: &str, status: &Status) {
        // Each connection has a port of its own.
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        if let Some(held_back) = self.shared.log_limit.allows(host) {
            tracing::warn!(
                zone,
                address,
                more = held_back,
                reason = status.message(),
                "refused a zone control plane"
            );
            let (shared, zone) = (Arc::clone(&self.shared), zone.to_owned());
            let reason = format!("refused since: {}", status.message());
            tokio::spawn(async move {
                if let Err(error) = insight::refused(&*shared.store, &zone, &reason).await {
                    tracing::error!(zone, %error, "ZoneInsight cannot be written");
                }
            });
        }
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
        let mut response = Response::new(until_closed(ReceiverStream::new(receiver), connection));
        response
            .metadata_mut()
            .insert(MAX_MESSAGE_SIZE, self.shared.options.max_message.into());
        Ok(response)
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
        if let Some(connection) = self.allow(&Caller::of(&request)?)? {
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
