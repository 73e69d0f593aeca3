//! Our zone and a scripted global that behaves as the reference implementation does: no admin service, full state
//! first, no word of `initial_resource_versions`.

use std::pin::Pin;

use futures::Stream;
use meshspan_model::{Kind, Resource, labels};
use meshspan_sync::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use meshspan_sync::proto::kds::kds_sync_service_server::{KdsSyncService, KdsSyncServiceServer};
use meshspan_sync::wire;
use meshspan_sync::zone::ZoneToken;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::system::{Resources, Zone};

type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A stream of the zone, in the hands of the test.
struct Opened<In, Out> {
    headers: MetadataMap,
    incoming: Streaming<In>,
    outgoing: mpsc::Sender<Result<Out, Status>>,
}

struct Script {
    down: mpsc::Sender<Opened<DeltaDiscoveryRequest, DeltaDiscoveryResponse>>,
    up: mpsc::Sender<Opened<DeltaDiscoveryResponse, DeltaDiscoveryRequest>>,
}

async fn hand_over<In, Out: Send + 'static>(
    to: &mpsc::Sender<Opened<In, Out>>,
    request: Request<Streaming<In>>,
) -> Response<Outgoing<Out>> {
    let (outgoing, queue) = mpsc::channel(64);
    let headers = request.metadata().clone();
    let opened = Opened {
        headers,
        incoming: request.into_inner(),
        outgoing,
    };
    assert!(to.send(opened).await.is_ok(), "the test listens");
    Response::new(Box::pin(ReceiverStream::new(queue)))
}

#[tonic::async_trait]
impl KdsSyncService for Script {
    type GlobalToZoneSyncStream = Outgoing<DeltaDiscoveryResponse>;
    type ZoneToGlobalSyncStream = Outgoing<DeltaDiscoveryRequest>;

    async fn global_to_zone_sync(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::GlobalToZoneSyncStream>, Status> {
        Ok(hand_over(&self.down, request).await)
    }

    async fn zone_to_global_sync(
        &self,
        request: Request<Streaming<DeltaDiscoveryResponse>>,
    ) -> Result<Response<Self::ZoneToGlobalSyncStream>, Status> {
        Ok(hand_over(&self.up, request).await)
    }
}

#[tokio::test]
async fn our_zone_follows_the_protocol() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ((down, mut downs), (up, mut ups)) = (mpsc::channel(1), mpsc::channel(1));
    let stop = CancellationToken::new();
    let server = tonic::transport::Server::builder().add_service(KdsSyncServiceServer::new(Script { down, up }));
    let serving = tokio::spawn(
        server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned()),
    );
    let resources = Resources::new();
    let service = json!({"state": "Available", "selector": {}, "ports": [{"port": 1, "appProtocol": "tcp"}]});
    resources
        .put(Resource::new(Kind::MeshService, "default", "redis", service))
        .await;
    let mut zone = Zone::start_with("west", &resources, &format!("grpc://{address}"), |options| {
        options.token = Some(ZoneToken::Inline("secret".to_owned()))
    });

    let mut stream = downs.recv().await.unwrap();
    let features: Vec<_> = stream
        .headers
        .get_all("features")
        .iter()
        .map(|value| value.to_str().unwrap().to_owned())
        .collect();
    assert_eq!(features, ["zone-ping-health", "hash-suffix"]);
    for (header, value) in [
        ("client-id", "west"),
        ("kds-version", "v3"),
        ("version", "2.9.13"),
        ("authorization", "secret"),
    ] {
        assert_eq!(stream.headers.get(header).unwrap().to_str().unwrap(), value);
    }
    assert!(
        stream
            .headers
            .get("user-agent")
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(concat!("kds/2.9.13 (meshspan/", env!("CARGO_PKG_VERSION"), ")"))
    );
    let first = stream.incoming.message().await.unwrap().unwrap();
    assert_eq!(
        (
            first.type_url.as_str(),
            first.node.as_ref().unwrap().id.as_str(),
            first.response_nonce.as_str()
        ),
        ("Mesh", "west", "")
    );
    let metadata = format!("{:?}", first.node.unwrap().metadata.unwrap());
    for said in [
        "hash-suffix",
        "hg-mz-selector",
        "producer-policy-flow",
        "optional-top-level-target-ref",
        "control-plane-id",
        "west-cp",
        "2.9.13",
        "store",
    ] {
        assert!(metadata.contains(said), "{said} is missing in {metadata}");
    }
    zone.connected().await;

    let mesh = Resource::new(Kind::Mesh, "", "default", json!({})).with_label(labels::ORIGIN, "global");
    let response = DeltaDiscoveryResponse {
        type_url: "Mesh".to_owned(),
        nonce: "1".to_owned(),
        resources: vec![wire::encode(&mesh, false).unwrap()],
        ..DeltaDiscoveryResponse::default()
    };
    stream.outgoing.send(Ok(response)).await.unwrap();
    resources.arrival(Kind::Mesh, "default").await;
    let ack = loop {
        let request = stream.incoming.message().await.unwrap().unwrap();
        if !request.response_nonce.is_empty() {
            break request;
        }
    };
    assert_eq!(
        (ack.type_url.as_str(), ack.response_nonce.as_str(), ack.error_detail),
        ("Mesh", "1", None)
    );

    let mut stream = ups.recv().await.unwrap();
    let request = |kind: &str| DeltaDiscoveryRequest {
        type_url: kind.to_owned(),
        resource_names_subscribe: vec!["*".to_owned()],
        ..DeltaDiscoveryRequest::default()
    };
    // Types that we do not have get no answer, the next one gets its full state.
    for kind in ["MeshGateway", "MeshService"] {
        stream.outgoing.send(Ok(request(kind))).await.unwrap();
    }
    let response = stream.incoming.message().await.unwrap().unwrap();
    assert_eq!(
        (
            response.type_url.as_str(),
            response.control_plane.unwrap().identifier.as_str()
        ),
        ("MeshService", "west")
    );
    let sent = wire::decode(Kind::MeshService, &response.resources[0]).unwrap();
    assert_eq!(
        (sent.name.as_str(), sent.zone(), sent.label(labels::ORIGIN)),
        ("redis-f8xz8bddwx8b5c22", "west", "zone")
    );
    zone.stop().await;
    stop.cancel();
    serving.await.unwrap().unwrap();
}
