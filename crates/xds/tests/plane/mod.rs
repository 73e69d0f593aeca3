//! A control plane for tests: it lets every proxy with the right token in and hands its stream to the test.

#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::Arc;

use meshspan_xds::proto::ads::Node;
use meshspan_xds::{AdsService, ControlPlane, ProxyFeed, Session, StreamEvent};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::transport::Server as GrpcServer;

pub const TOKEN: &str = "raw-token";

/// One admitted stream, as the control plane sees it.
pub struct Stream {
    pub node: Node,
    pub token: Option<String>,
    pub feed: ProxyFeed,
    events: mpsc::UnboundedReceiver<StreamEvent>,
}

impl Stream {
    /// Waits for the next event.
    pub async fn event(&mut self) -> StreamEvent {
        self.events.recv().await.expect("no event after the end of the stream")
    }

    /// Waits for the end of the stream: all events that are left.
    pub async fn all_events(&mut self) -> Vec<StreamEvent> {
        let mut events = Vec::new();
        while let Some(event) = self.events.recv().await {
            events.push(event);
        }
        events
    }
}

struct Plane {
    streams: mpsc::UnboundedSender<Stream>,
}

impl ControlPlane for Plane {
    async fn open(
        &self,
        node: Node,
        token: Option<String>,
        peer: Option<SocketAddr>,
        _resumes: bool,
    ) -> Result<Session, Status> {
        assert!(peer.is_some_and(|peer| peer.ip().is_loopback()));
        if token.as_deref() != Some(TOKEN) {
            return Err(Status::unauthenticated("authorization: not a token of this zone"));
        }
        let (feed, receiver) = ProxyFeed::new();
        let (sender, events) = mpsc::unbounded_channel();
        let stream = Stream {
            node,
            token,
            feed,
            events,
        };
        self.streams
            .send(stream)
            .map_err(|_| Status::unavailable("the test has ended"))?;
        let report = move |event| drop(sender.send(event));
        Ok(Session {
            feed: receiver,
            events: Box::new(report),
        })
    }
}

/// A running server; told to stop when dropped.
pub struct Server {
    pub address: SocketAddr,
    streams: mpsc::UnboundedReceiver<Stream>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_on(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::unbounded_channel();
        let service = AdsService::new(Arc::new(Plane { streams: sender })).into_server();
        let (stop, stopped) = oneshot::channel::<()>();
        let incoming = TcpListenerStream::new(listener);
        let serving = GrpcServer::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, async move { drop(stopped.await) });
        let task = tokio::spawn(async move { serving.await.unwrap() });
        Self {
            address,
            streams,
            stop,
            task,
        }
    }

    /// Waits for the next stream.
    pub async fn accept(&mut self) -> Stream {
        self.streams.recv().await.expect("the server has ended")
    }

    /// Ends the server and its connections; the test must have dropped its streams.
    pub async fn stop(self) {
        let Self {
            streams, stop, task, ..
        } = self;
        drop((streams, stop));
        task.await.unwrap();
    }
}
