//! Our global and a scripted zone that behaves as the reference implementation does: compressed messages, none of our
//! headers, many types that we do not know.

use std::time::Duration;

use bytes::Bytes;
use meshspan_model::{Kind, Resource, labels};
use meshspan_sync::key::WireKey;
use meshspan_sync::proto::discovery::{
    Any, ControlPlane, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource as WireResource,
};
use meshspan_sync::proto::kds::global_kds_service_client::GlobalKdsServiceClient;
use meshspan_sync::proto::kds::kds_sync_service_client::KdsSyncServiceClient;
use meshspan_sync::proto::kds::kuma_resource::Meta;
use meshspan_sync::proto::kds::{KumaResource, ZoneHealthCheckRequest};
use meshspan_sync::wire;
use prost::Message as _;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};

use crate::system::{Global, Resources, token_of};

async fn channel(global: &Global) -> Channel {
    Channel::from_shared(format!("http://{}", global.address))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let headers = request.metadata_mut();
    headers.insert("client-id", "west".parse().unwrap());
    headers.insert("kds-version", "v3".parse().unwrap());
    headers.append("features", "zone-ping-health".parse().unwrap());
    headers.append("features", "hash-suffix".parse().unwrap());
    headers.insert("authorization", token_of("west").parse().unwrap());
    request
}

fn request(kind: &str, nonce: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(Node {
            id: "west".to_owned(),
            ..Node::default()
        }),
        type_url: kind.to_owned(),
        resource_names_subscribe: if nonce.is_empty() {
            vec!["*".to_owned()]
        } else {
            Vec::new()
        },
        response_nonce: nonce.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// The stream on which the zone asks.
struct Downstream {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

async fn downstream(channel: &Channel) -> Downstream {
    let (requests, queue) = mpsc::channel(64);
    let mut client = KdsSyncServiceClient::new(channel.clone()).send_compressed(CompressionEncoding::Gzip);
    let responses = client
        .global_to_zone_sync(call(ReceiverStream::new(queue)))
        .await
        .unwrap()
        .into_inner();
    Downstream { requests, responses }
}

#[tokio::test]
async fn a_zone_gets_what_it_asks_for_and_nothing_else() {
    let global = Global::start(&Resources::new()).await;
    global
        .resources
        .put(Resource::new(Kind::Mesh, "", "default", json!({})))
        .await;
    let policy = json!({"targetRef": {"kind": "Mesh"}, "from": [{"targetRef": {"kind": "Mesh"}, "default": {"action": "Allow"}}]});
    global
        .resources
        .put(Resource::new(Kind::MeshTrafficPermission, "default", "allow", policy))
        .await;
    let mut stream = downstream(&channel(&global).await).await;
    for kind in ["MeshGateway", "AccessRole", "Mesh", "MeshService"] {
        stream.requests.send(request(kind, "")).await.unwrap();
    }
    let mesh = stream.responses.message().await.unwrap().unwrap();
    assert_eq!(
        (
            mesh.type_url.as_str(),
            mesh.nonce.as_str(),
            mesh.control_plane.unwrap().identifier.as_str()
        ),
        ("Mesh", "1", "global")
    );
    let decoded = wire::decode(Kind::Mesh, &mesh.resources[0]).unwrap();
    assert_eq!(
        (decoded.name.as_str(), decoded.label(labels::ORIGIN)),
        ("default", "global")
    );
    let services = stream.responses.message().await.unwrap().unwrap();
    assert_eq!(
        (services.type_url.as_str(), services.resources.len()),
        ("MeshService", 0)
    );
    stream.requests.send(request("Mesh", "1")).await.unwrap();
    global
        .resources
        .put(Resource::new(Kind::Mesh, "", "second", json!({})))
        .await;
    let delta = stream.responses.message().await.unwrap().unwrap();
    assert_eq!(wire::decode_key(&delta.resources[0]), WireKey::parse("second."));
    global.stop().await;
    let end = stream.responses.message().await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_zone_sends_in_the_inverted_stream() {
    let global = Global::start(&Resources::new()).await;
    let (responses, queue) = mpsc::channel(8);
    let mut client = KdsSyncServiceClient::new(channel(&global).await).send_compressed(CompressionEncoding::Gzip);
    let mut requests = client
        .zone_to_global_sync(call(ReceiverStream::new(queue)))
        .await
        .unwrap()
        .into_inner();
    let mut asked = Vec::new();
    while asked.last().is_none_or(|last: &String| last != "MeshTrafficPermission") {
        let request = requests.message().await.unwrap().unwrap();
        assert_eq!(
            (request.node.unwrap().id.as_str(), request.response_nonce.as_str()),
            ("west", "")
        );
        assert_eq!(request.resource_names_subscribe, ["*"]);
        asked.push(request.type_url);
    }
    assert!(
        asked.contains(&"MeshService".to_owned()) && !asked.contains(&"Secret".to_owned()),
        "{asked:?}"
    );
    // Bytes as the reference writes them: JSON with a field that we do not know, and an explicit empty status.
    let meta = Meta {
        name: "redis-f8xz8bddwx8b5c22".to_owned(),
        mesh: "default".to_owned(),
        labels: [
            (labels::DISPLAY_NAME, "redis"),
            (labels::ORIGIN, "zone"),
            (labels::ZONE, "west"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        ..Meta::default()
    };
    let any = |json: &'static str| {
        Some(Any {
            type_url: String::new(),
            value: Bytes::from_static(json.as_bytes()),
        })
    };
    let resource = KumaResource {
        meta: Some(meta),
        spec: any(
            r#"{"state":"Available","selector":{"dataplaneTags":{"kuma.io/service":"redis"}},"ports":[{"port":6379,"targetPort":6379,"appProtocol":"tcp","new":1}]}"#,
        ),
        status: any(r#"{"tls":{},"dataplaneProxies":{}}"#),
    };
    let value = Bytes::from(resource.encode_to_vec());
    let type_url = "type.googleapis.com/kuma.mesh.v1alpha1.KumaResource".to_owned();
    let response = DeltaDiscoveryResponse {
        type_url: "MeshService".to_owned(),
        nonce: "1".to_owned(),
        resources: vec![WireResource {
            version: "v1".to_owned(),
            resource: Some(Any { type_url, value }),
            name: String::new(),
        }],
        control_plane: Some(ControlPlane {
            identifier: "west".to_owned(),
        }),
        ..DeltaDiscoveryResponse::default()
    };
    responses.send(response).await.unwrap();
    // The first requests for other kinds may still be on their way.
    let ack = loop {
        let request = requests.message().await.unwrap().unwrap();
        if request.type_url == "MeshService" {
            break request;
        }
        assert_eq!(request.response_nonce, "");
    };
    assert_eq!((ack.response_nonce.as_str(), ack.error_detail), ("1", None));
    let stored = global.resources.find(Kind::MeshService, "redis").unwrap();
    assert_eq!(
        stored.resource.spec["ports"][0],
        json!({"port": 6379, "targetPort": 6379, "appProtocol": "tcp"})
    );
    global.stop().await;
}

#[tokio::test]
async fn calls_without_a_usable_zone_name_are_refused() {
    let global = Global::start(&Resources::new()).await;
    let mut client = GlobalKdsServiceClient::new(channel(&global).await);
    let missing = client.health_check(ZoneHealthCheckRequest {}).await.unwrap_err();
    assert_eq!(missing.code(), Code::InvalidArgument);
    assert!(missing.message().contains("client-id"));
    for bad in ["West", "-", "a b", &"a".repeat(64)] {
        let mut request = Request::new(ZoneHealthCheckRequest {});
        request.metadata_mut().insert("client-id", bad.parse().unwrap());
        assert_eq!(
            client.health_check(request).await.unwrap_err().code(),
            Code::InvalidArgument,
            "{bad}"
        );
    }
    let healthy = client
        .health_check(call(ZoneHealthCheckRequest {}))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(healthy.interval.unwrap().seconds, 30);
    global.stop().await;
}

#[tokio::test]
async fn a_zone_that_promised_health_checks_and_sends_none_is_disconnected() {
    let limit = Duration::from_millis(200);
    let global = Global::start_at(
        &Resources::new(),
        "127.0.0.1:0".parse().unwrap(),
        |options| options.health_timeout = Some(limit),
        None,
    )
    .await;
    let mut stream = downstream(&channel(&global).await).await;
    let end = stream.responses.message().await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
    assert!(end.message().contains("sent no health check"), "{end}");
    global.stop().await;
}

#[tokio::test]
async fn a_connection_without_instance_never_replaces_one_that_is_open() {
    let global = Global::start(&Resources::new()).await;
    let (first, second) = (channel(&global).await, channel(&global).await);
    let mut holder = downstream(&first).await;
    let (_requests, queue) = mpsc::channel::<DeltaDiscoveryRequest>(1);
    let refused = KdsSyncServiceClient::new(second.clone())
        .global_to_zone_sync(call(ReceiverStream::new(queue)))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(
        refused.message().contains("zone name \"west\" is already connected"),
        "{refused}"
    );
    holder.requests.send(request("Mesh", "")).await.unwrap();
    assert_eq!(holder.responses.message().await.unwrap().unwrap().type_url, "Mesh");
    // When it is gone the other one gets the name.
    drop((holder, first));
    let mut newer = loop {
        let (requests, queue) = mpsc::channel(64);
        let opened = KdsSyncServiceClient::new(second.clone())
            .global_to_zone_sync(call(ReceiverStream::new(queue)))
            .await;
        match opened {
            Ok(opened) => {
                break Downstream {
                    requests,
                    responses: opened.into_inner(),
                };
            }
            Err(status) => assert_eq!(status.code(), Code::AlreadyExists),
        }
    };
    newer.requests.send(request("Mesh", "")).await.unwrap();
    assert_eq!(newer.responses.message().await.unwrap().unwrap().type_url, "Mesh");
    global.stop().await;
}
