//! The ADS service over a real loopback connection, spoken to by the scripted client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod plane;

use meshspan_xds::client::{AdsClient, Mirror};
use meshspan_xds::proto::ads::{DeltaDiscoveryRequest, Node};
use meshspan_xds::{Changes, Rejection, Resource, ResourceType, Snapshot, StreamEvent};
use plane::{Server, TOKEN};
use tonic::transport::{Channel, Endpoint as Target};
use tonic::{Code, Status};

use ResourceType::{Cluster, Endpoint};

async fn channel(server: &Server) -> Channel {
    Target::from_shared(format!("http://{}", server.address))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

async fn client(server: &Server) -> AdsClient {
    let node = Node {
        id: "default.web".into(),
        ..Default::default()
    };
    AdsClient::new(channel(server).await, node, Some(TOKEN)).unwrap()
}

fn snapshot(resources: &[(ResourceType, &str, &str)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (ty, name, version) in resources {
        snapshot
            .own
            .insert(*ty, Resource::new(*name, *version, format!("{name} {version}")));
    }
    snapshot
}

#[tokio::test]
async fn resources_flow_and_answers_come_back_as_events() {
    let mut server = Server::start().await;
    let mut client = client(&server).await;
    client.subscribe(Cluster, &[]).await.unwrap();
    let (first, stream) = tokio::join!(client.next(), async {
        let stream = server.accept().await;
        stream
            .feed
            .publish(snapshot(&[(Cluster, "a", "1"), (Cluster, "b", "1")]), Changes::All);
        stream
    });
    let mut stream = stream;
    assert_eq!(stream.node.id, "default.web");
    assert_eq!(stream.token.as_deref(), Some(TOKEN));

    let mut mirror = Mirror::default();
    let first = first.unwrap().unwrap();
    mirror.apply(&first);
    assert_eq!(mirror.get(Cluster, "a").unwrap().1, "a 1");
    client.ack(&first).await.unwrap();

    stream.feed.publish(
        snapshot(&[(Cluster, "a", "2")]),
        Changes::from_iter([(Cluster, "a".into()), (Cluster, "b".into())]),
    );
    let second = client.next().await.unwrap().unwrap();
    mirror.apply(&second);
    assert_eq!(mirror.versions(Cluster), [("a".to_owned(), "2".to_owned())].into());
    client.nack(&second, "a: no").await.unwrap();
    client.finish().await.unwrap();

    let nonce = first.nonce;
    assert_eq!(
        stream.all_events().await,
        [
            StreamEvent::Sent {
                ty: Some(Cluster),
                nonce: nonce.clone(),
                resources: 2,
                removed: 0
            },
            StreamEvent::Acked { ty: Cluster, nonce },
            StreamEvent::Sent {
                ty: Some(Cluster),
                nonce: second.nonce.clone(),
                resources: 1,
                removed: 1
            },
            StreamEvent::Nacked {
                ty: Cluster,
                nonce: second.nonce,
                message: "a: no".into(),
                resources: vec!["a".into()]
            },
            StreamEvent::Rejections {
                ty: Cluster,
                rejected: vec![(
                    "a".into(),
                    Rejection {
                        version: "2".into(),
                        message: "a: no".into()
                    }
                )]
            },
            StreamEvent::Closed { graceful: true },
        ]
    );
    assert!(stream.feed.is_closed());
}

#[tokio::test]
async fn a_client_that_comes_back_gets_the_difference() {
    let mut server = Server::start().await;
    let mut client = client(&server).await;
    let held = [
        ("same".to_owned(), "1".to_owned()),
        ("changed".to_owned(), "1".to_owned()),
    ];
    client.resume(Cluster, &["*"], held.into()).await.unwrap();
    let (response, _stream) = tokio::join!(client.next(), async {
        let stream = server.accept().await;
        stream.feed.publish(
            snapshot(&[(Cluster, "same", "1"), (Cluster, "changed", "2")]),
            Changes::All,
        );
        stream
    });
    let response = response.unwrap().unwrap();
    let names: Vec<_> = response
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect();
    assert_eq!(names, ["changed"]);
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let server = Server::start().await;
    let node = Node {
        id: "default.web".into(),
        ..Default::default()
    };
    let mut client = AdsClient::new(channel(&server).await, node, Some("wrong")).unwrap();
    client.subscribe(Cluster, &[]).await.unwrap();
    assert_eq!(client.next().await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_first_request_without_node_is_refused() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    // The client gives its node to the first request that has none, so this one brings an empty node id of its own.
    let request = DeltaDiscoveryRequest {
        type_url: Cluster.type_url().into(),
        ..Default::default()
    };
    let nameless = DeltaDiscoveryRequest {
        node: Some(Node::default()),
        ..request.clone()
    };
    client.send(nameless).await.unwrap();
    client.send(request).await.unwrap();
    let status = client.next().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("node.id"), "{status}");
}

#[tokio::test]
async fn another_node_id_on_the_same_stream_is_refused() {
    let mut server = Server::start().await;
    let mut client = client(&server).await;
    client.subscribe(Cluster, &[]).await.unwrap();
    let other = Node {
        id: "default.other".into(),
        ..Default::default()
    };
    let request = DeltaDiscoveryRequest {
        node: Some(other),
        type_url: Endpoint.type_url().into(),
        ..Default::default()
    };
    client.send(request).await.unwrap();
    let (response, mut stream) = tokio::join!(client.next(), server.accept());
    let status = response.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("default.other"), "{status}");
    assert_eq!(stream.all_events().await, [StreamEvent::Closed { graceful: false }]);
}

#[tokio::test]
async fn the_control_plane_ends_a_stream_with_its_reason() {
    let mut server = Server::start().await;
    let mut client = client(&server).await;
    client.subscribe(Cluster, &[]).await.unwrap();
    let (response, mut stream) = tokio::join!(client.next(), async {
        let stream = server.accept().await;
        stream.feed.close(Status::permission_denied("the token was revoked"));
        stream
    });
    assert_eq!(response.unwrap_err().message(), "the token was revoked");
    assert_eq!(stream.all_events().await, [StreamEvent::Closed { graceful: true }]);
}

#[tokio::test]
async fn a_broken_connection_is_reported() {
    let mut server = Server::start().await;
    let mut client = client(&server).await;
    client.subscribe(Cluster, &[]).await.unwrap();
    let (response, mut stream) = tokio::join!(client.next(), async {
        let stream = server.accept().await;
        stream.feed.publish(Snapshot::default(), Changes::All);
        stream
    });
    response.unwrap().unwrap();
    drop(client);
    assert_eq!(
        stream.all_events().await.last(),
        Some(&StreamEvent::Closed { graceful: false })
    );
}
