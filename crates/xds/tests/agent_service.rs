//! The agent's service over a real loopback connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;

use meshspan_xds::proto::agent::agent_message::Message;
use meshspan_xds::proto::agent::agent_service_client::AgentServiceClient;
use meshspan_xds::proto::agent::control_plane_message::Message as Down;
use meshspan_xds::proto::agent::{
    AgentMessage, ControlPlaneMessage, DnsRecord, DnsUpdate, Goodbye, HealthReport, Hello, InboundHealth,
};
use meshspan_xds::{AgentEvent, AgentPlane, AgentService, AgentSession};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Server};
use tonic::{Code, Status, Streaming};

type Outgoing = mpsc::Sender<Result<ControlPlaneMessage, Status>>;

struct Opened {
    hello: Hello,
    outgoing: Outgoing,
    events: mpsc::UnboundedReceiver<AgentEvent>,
}

struct Plane {
    opened: mpsc::UnboundedSender<Opened>,
}

impl AgentPlane for Plane {
    async fn open(
        &self,
        hello: Hello,
        token: Option<String>,
        _peer: Option<SocketAddr>,
    ) -> Result<AgentSession, Status> {
        if token.as_deref() != Some("raw-token") {
            return Err(Status::unauthenticated("authorization: no token"));
        }
        let (outgoing, receiver) = mpsc::channel(1);
        let (sender, events) = mpsc::unbounded_channel();
        self.opened
            .send(Opened {
                hello,
                outgoing,
                events,
            })
            .unwrap();
        Ok(AgentSession {
            outgoing: receiver,
            events: Box::new(move |event| drop(sender.send(event))),
        })
    }
}

async fn start() -> (Channel, mpsc::UnboundedReceiver<Opened>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (opened, streams) = mpsc::unbounded_channel();
    let service = AgentService::new(Arc::new(Plane { opened })).into_server();
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (Channel::from_shared(url).unwrap().connect().await.unwrap(), streams)
}

async fn call(channel: Channel, token: &str) -> (mpsc::Sender<AgentMessage>, Streaming<ControlPlaneMessage>) {
    let (sender, outgoing) = mpsc::channel(8);
    let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
    request.metadata_mut().insert("authorization", token.parse().unwrap());
    let responses = AgentServiceClient::new(channel).stream_agent(request).await.unwrap();
    (sender, responses.into_inner())
}

fn hello() -> AgentMessage {
    let hello = Hello {
        mesh: "default".into(),
        name: "web".into(),
        proxy_type: "dataplane".into(),
        ..Default::default()
    };
    AgentMessage {
        message: Some(Message::Hello(hello)),
    }
}

fn health(ready: bool) -> HealthReport {
    HealthReport {
        inbounds: vec![InboundHealth {
            inbound_port: 80,
            ready,
            detail: String::new(),
        }],
        draining: false,
    }
}

#[tokio::test]
async fn records_flow_down_and_health_flows_up() {
    let (channel, mut streams) = start().await;
    let (messages, mut responses) = call(channel, "raw-token").await;
    messages.send(hello()).await.unwrap();
    messages
        .send(AgentMessage {
            message: Some(Message::Health(health(true))),
        })
        .await
        .unwrap();
    let (update, mut opened) = tokio::join!(responses.message(), async {
        let opened = streams.recv().await.unwrap();
        let record = DnsRecord {
            name: "redis.mesh".into(),
            addresses: vec!["10.0.0.1".into()],
        };
        let update = DnsUpdate {
            full: true,
            records: vec![record],
            removed_names: vec![],
            ttl_seconds: 60,
            ..DnsUpdate::default()
        };
        opened
            .outgoing
            .send(Ok(ControlPlaneMessage {
                message: Some(Down::Dns(update)),
            }))
            .await
            .unwrap();
        opened
    });
    assert_eq!(opened.hello.name, "web");
    let Some(Down::Dns(update)) = update.unwrap().unwrap().message else {
        panic!("not a DNS update")
    };
    assert!(update.full);
    assert_eq!(update.records[0].addresses, ["10.0.0.1"]);

    let waiting = tokio::spawn(async move { responses.message().await });
    assert_eq!(opened.events.recv().await.unwrap(), AgentEvent::Health(health(true)));
    let goodbye = Message::Goodbye(Goodbye {});
    messages.send(AgentMessage { message: Some(goodbye) }).await.unwrap();
    assert_eq!(opened.events.recv().await.unwrap(), AgentEvent::Goodbye);
    drop(messages);
    assert_eq!(
        opened.events.recv().await.unwrap(),
        AgentEvent::Closed { graceful: true }
    );
    assert_eq!(waiting.await.unwrap().unwrap(), None);
    opened.outgoing.closed().await;
}

#[tokio::test]
async fn the_control_plane_ends_a_stream_with_its_reason() {
    let (channel, mut streams) = start().await;
    let (messages, mut responses) = call(channel, "raw-token").await;
    messages.send(hello()).await.unwrap();
    let (end, mut opened) = tokio::join!(responses.message(), async {
        let opened = streams.recv().await.unwrap();
        opened
            .outgoing
            .send(Err(Status::unavailable("shutting down")))
            .await
            .unwrap();
        opened
    });
    assert_eq!(end.unwrap_err().message(), "shutting down");
    assert_eq!(
        opened.events.recv().await.unwrap(),
        AgentEvent::Closed { graceful: true }
    );
}

#[tokio::test]
async fn only_a_hello_with_a_good_token_opens_a_stream() {
    let (channel, _streams) = start().await;
    let (messages, mut responses) = call(channel.clone(), "wrong").await;
    messages.send(hello()).await.unwrap();
    assert_eq!(responses.message().await.unwrap_err().code(), Code::Unauthenticated);

    let (messages, mut responses) = call(channel.clone(), "raw-token").await;
    messages
        .send(AgentMessage {
            message: Some(Message::Health(health(true))),
        })
        .await
        .unwrap();
    assert_eq!(responses.message().await.unwrap_err().code(), Code::InvalidArgument);

    let (messages, mut responses) = call(channel, "raw-token").await;
    messages.send(hello()).await.unwrap();
    messages.send(hello()).await.unwrap();
    assert_eq!(responses.message().await.unwrap_err().code(), Code::InvalidArgument);
}
