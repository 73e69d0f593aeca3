//! A real Envoy on delta ADS: it accepts what is served, sends traffic accordingly, and never gets stuck.
//!
//! Needs an Envoy binary: `MESHSPAN_ENVOY`, `envoy` in `PATH`, or the managed copy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod envoy;
mod plane;

use std::net::SocketAddr;
use std::time::Duration;

use envoy::{Envoy, bad_listener, cluster, endpoint, http_listener, listener, routes};
use meshspan_xds::{Changes, Resource, ResourceType, Snapshot, StreamEvent};
use plane::{Server, Stream, TOKEN};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use ResourceType::{Cluster, Endpoint, Listener, Route};

/// What never comes is given up after this long. Nothing here takes more than a second or two; no test measures time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A control plane with one connected Envoy.
struct Mesh {
    server: Server,
    envoy: Envoy,
    stream: Stream,
    snapshot: Snapshot,
}

impl Mesh {
    /// Starts an Envoy and serves it `resources`.
    async fn start(resources: Vec<(ResourceType, Resource)>) -> Self {
        let mut server = Server::start().await;
        let envoy = Envoy::start(server.address, TOKEN);
        let stream = timeout(PATIENCE, server.accept())
            .await
            .unwrap_or_else(|_| panic!("{}", envoy.log()));
        let mut mesh = Self {
            server,
            envoy,
            stream,
            snapshot: Snapshot::default(),
        };
        for (ty, resource) in resources {
            mesh.snapshot.own.insert(ty, resource);
        }
        mesh.stream.feed.publish(mesh.snapshot.clone(), Changes::All);
        mesh
    }

    fn publish(&mut self, resources: Vec<(ResourceType, Resource)>) {
        let changes = resources
            .iter()
            .map(|(ty, resource)| (*ty, resource.name().clone()))
            .collect();
        for (ty, resource) in resources {
            self.snapshot.own.insert(ty, resource);
        }
        self.stream.feed.publish(self.snapshot.clone(), changes);
    }

    fn remove(&mut self, names: &[(ResourceType, &str)]) {
        for (ty, name) in names {
            assert!(self.snapshot.own.remove(*ty, name));
        }
        let changes = names.iter().map(|(ty, name)| (*ty, (*name).into())).collect();
        self.stream.feed.publish(self.snapshot.clone(), changes);
    }

    /// Collects events until one is as wanted.
    async fn until(&mut self, wanted: impl Fn(&StreamEvent) -> bool) -> Vec<StreamEvent> {
        let mut events = Vec::new();
        while !events.last().is_some_and(&wanted) {
            match timeout(PATIENCE, self.stream.event()).await {
                Ok(event) => events.push(event),
                Err(_) => panic!("waited in vain after {events:#?}\n{}", self.envoy.log()),
            }
        }
        events
    }

    async fn until_acked(&mut self, ty: ResourceType) -> Vec<StreamEvent> {
        self.until(|event| matches!(event, StreamEvent::Acked { ty: acked, .. } if *acked == ty))
            .await
    }

    /// Connects through a listener until the backend of that name answers.
    async fn reaches(&self, listener: SocketAddr, backend: &str) {
        let attempts = async {
            while ask(listener).await.as_deref() != Some(backend) {
                tokio::task::yield_now().await;
            }
        };
        if timeout(PATIENCE, attempts).await.is_err() {
            panic!("{listener} does not lead to {backend}\n{}", self.envoy.log());
        }
    }

    /// Sends requests until the answer has that `server` header and body.
    async fn answers(&self, listener: SocketAddr, server: &str, body: &str) {
        let header = format!("server: {server}\r\n");
        let attempts = async {
            while !get(listener)
                .await
                .is_some_and(|answer| answer.contains(&header) && answer.ends_with(body))
            {
                tokio::task::yield_now().await;
            }
        };
        if timeout(PATIENCE, attempts).await.is_err() {
            panic!("{listener} does not answer {server} {body}\n{}", self.envoy.log());
        }
    }

    async fn stop(self) {
        self.envoy.stop().await;
        drop(self.stream);
        self.server.stop().await;
    }
}

/// Who answers at an address, if anybody.
async fn ask(address: SocketAddr) -> Option<String> {
    let mut connection = TcpStream::connect(address).await.ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

/// The answer to a request, head and body, if there is one.
async fn get(address: SocketAddr) -> Option<String> {
    let mut connection = TcpStream::connect(address).await.ok()?;
    connection
        .write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        .await
        .ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

/// A backend that tells its name to everyone who connects, until the test ends.
async fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            drop(connection.write_all(name.as_bytes()).await);
        }
    });
    address
}

/// An address that was free a moment ago, for an Envoy listener.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// What was sent, in order: `cds +1 -0`.
fn sent(events: &[StreamEvent]) -> Vec<String> {
    let line = |event: &StreamEvent| match event {
        StreamEvent::Sent {
            ty: Some(ty),
            resources,
            removed,
            ..
        } => Some(format!("{ty} +{resources} -{removed}")),
        _ => None,
    };
    events.iter().filter_map(line).collect()
}

#[tokio::test]
async fn traffic_follows_endpoints_and_a_changed_cluster_does_not_get_stuck() {
    let (a, b, bind) = (backend("a").await, backend("b").await, free_address().await);
    let mut mesh = Mesh::start(vec![
        (Cluster, cluster("web", 1)),
        (Endpoint, endpoint("web", a)),
        (Listener, listener("in", bind, "web")),
    ])
    .await;
    let events = mesh.until_acked(Listener).await;
    assert_eq!(sent(&events), ["cds +1 -0", "eds +1 -0", "lds +1 -0"]);
    mesh.reaches(bind, "a").await;

    mesh.publish(vec![(Endpoint, endpoint("web", b))]);
    assert_eq!(sent(&mesh.until_acked(Endpoint).await), ["eds +1 -0"]);
    mesh.reaches(bind, "b").await;

    // Envoy acknowledges the changed cluster when it is warm, that is when it has its endpoints again.
    mesh.publish(vec![(Cluster, cluster("web", 2))]);
    assert_eq!(sent(&mesh.until_acked(Cluster).await), ["cds +1 -0", "eds +1 -0"]);
    mesh.publish(vec![(Endpoint, endpoint("web", a))]);
    mesh.reaches(bind, "a").await;
    mesh.stop().await;
}

#[tokio::test]
async fn a_listener_comes_after_and_goes_before_the_cluster_it_refers_to() {
    let (a, bind, second) = (backend("a").await, free_address().await, free_address().await);
    let mut mesh = Mesh::start(vec![
        (Cluster, cluster("web", 1)),
        (Endpoint, endpoint("web", a)),
        (Listener, listener("in", bind, "web")),
    ])
    .await;
    mesh.until_acked(Listener).await;

    mesh.publish(vec![
        (Listener, listener("second", second, "db")),
        (Endpoint, endpoint("db", a)),
        (Cluster, cluster("db", 1)),
    ]);
    assert_eq!(
        sent(&mesh.until_acked(Listener).await),
        ["cds +1 -0", "eds +1 -0", "lds +1 -0"]
    );
    mesh.reaches(second, "a").await;

    mesh.remove(&[(Cluster, "db"), (Endpoint, "db"), (Listener, "second")]);
    assert_eq!(sent(&mesh.until_acked(Cluster).await), ["lds +0 -1", "cds +0 -1"]);
    mesh.reaches(bind, "a").await;

    // The same cluster again, after Envoy forgot it.
    mesh.publish(vec![
        (Listener, listener("second", second, "db")),
        (Endpoint, endpoint("db", a)),
        (Cluster, cluster("db", 1)),
    ]);
    mesh.until_acked(Listener).await;
    mesh.reaches(second, "a").await;
    mesh.stop().await;
}

#[tokio::test]
async fn a_changed_listener_does_not_wait_for_its_unchanged_routes() {
    let bind = free_address().await;
    let mut mesh = Mesh::start(vec![
        (Listener, http_listener("http", bind, "routes", "first")),
        (Route, routes("routes", "one")),
    ])
    .await;
    mesh.until_acked(Route).await;
    mesh.answers(bind, "first", "one").await;

    mesh.publish(vec![(Listener, http_listener("http", bind, "routes", "second"))]);
    assert_eq!(sent(&mesh.until_acked(Listener).await), ["lds +1 -0"]);
    mesh.answers(bind, "second", "one").await;

    mesh.publish(vec![(Route, routes("routes", "two"))]);
    assert_eq!(sent(&mesh.until_acked(Route).await), ["rds +1 -0"]);
    mesh.answers(bind, "second", "two").await;

    // Other routes: Envoy asks for them, and for the old ones no longer.
    mesh.publish(vec![
        (Listener, http_listener("http", bind, "other", "third")),
        (Route, routes("other", "three")),
    ]);
    mesh.until_acked(Route).await;
    mesh.answers(bind, "third", "three").await;
    mesh.stop().await;
}

#[tokio::test]
async fn a_cluster_without_endpoints_holds_nothing_up() {
    let (a, bind) = (backend("a").await, free_address().await);
    let mut mesh = Mesh::start(vec![
        (Cluster, cluster("empty", 1)),
        (Cluster, cluster("web", 1)),
        (Endpoint, endpoint("web", a)),
        (Listener, listener("in", bind, "web")),
    ])
    .await;
    mesh.until_acked(Listener).await;
    mesh.reaches(bind, "a").await;

    let to_empty = free_address().await;
    mesh.publish(vec![(Listener, listener("to-empty", to_empty, "empty"))]);
    mesh.until_acked(Listener).await;
    mesh.publish(vec![(Endpoint, endpoint("empty", a))]);
    mesh.reaches(to_empty, "a").await;
    mesh.stop().await;
}

#[tokio::test]
async fn a_bad_listener_is_named_and_harms_no_other() {
    let (a, bind, good) = (backend("a").await, free_address().await, free_address().await);
    let mut mesh = Mesh::start(vec![
        (Cluster, cluster("web", 1)),
        (Endpoint, endpoint("web", a)),
        (Listener, listener("in", bind, "web")),
    ])
    .await;
    mesh.until_acked(Listener).await;

    mesh.publish(vec![
        (Listener, bad_listener("bad", free_address().await)),
        (Listener, listener("good", good, "web")),
    ]);
    let found = |event: &StreamEvent| matches!(event, StreamEvent::Rejections { .. });
    let events = mesh.until(found).await;
    let Some(StreamEvent::Rejections { ty: Listener, rejected }) = events.last() else {
        panic!("{events:?}")
    };
    let [(name, rejection)] = rejected.as_slice() else {
        panic!("{rejected:?}")
    };
    assert_eq!((&**name, &*rejection.version), ("bad", "bad"));
    assert!(
        rejection.message.contains("no filter chains specified"),
        "{}",
        rejection.message
    );
    mesh.reaches(bind, "a").await;
    mesh.reaches(good, "a").await;

    mesh.publish(vec![(Listener, listener("bad", free_address().await, "web"))]);
    let events = mesh.until(found).await;
    let Some(StreamEvent::Rejections { rejected, .. }) = events.last() else {
        panic!("{events:?}")
    };
    assert!(rejected.is_empty(), "{rejected:?}");
    mesh.stop().await;
}

#[tokio::test]
async fn after_a_restart_of_the_control_plane_only_differences_are_sent() {
    let (a, b, bind) = (backend("a").await, backend("b").await, free_address().await);
    let mut mesh = Mesh::start(vec![
        (Cluster, cluster("old", 1)),
        (Cluster, cluster("web", 1)),
        (Endpoint, endpoint("old", a)),
        (Endpoint, endpoint("web", a)),
        (Listener, listener("in", bind, "web")),
    ])
    .await;
    mesh.until_acked(Listener).await;
    mesh.reaches(bind, "a").await;

    let Mesh {
        server,
        envoy,
        stream,
        mut snapshot,
    } = mesh;
    let address = server.address;
    drop(stream);
    server.stop().await;
    assert_eq!(
        ask(bind).await.as_deref(),
        Some("a"),
        "traffic goes on without a control plane"
    );

    snapshot.own.remove(Cluster, "old");
    snapshot.own.remove(Endpoint, "old");
    snapshot.own.insert(Endpoint, endpoint("web", b));
    let mut server = Server::start_on(address).await;
    let stream = timeout(PATIENCE, server.accept())
        .await
        .unwrap_or_else(|_| panic!("{}", envoy.log()));
    let mut mesh = Mesh {
        server,
        envoy,
        stream,
        snapshot,
    };
    mesh.stream.feed.publish(mesh.snapshot.clone(), Changes::All);
    mesh.reaches(bind, "b").await;
    let removal = |event: &StreamEvent| {
        matches!(
            event,
            StreamEvent::Sent {
                ty: Some(Cluster),
                removed: 1,
                ..
            }
        )
    };
    let update = |event: &StreamEvent| {
        matches!(
            event,
            StreamEvent::Sent {
                ty: Some(Endpoint),
                resources: 1,
                ..
            }
        )
    };
    let mut events = Vec::new();
    while !(events.iter().any(removal) && events.iter().any(update)) {
        events.extend(mesh.until(|event| removal(event) || update(event)).await);
    }
    let sent = sent(&events);
    let updates = sent.iter().filter(|sent| !sent.contains("+0"));
    assert_eq!(updates.collect::<Vec<_>>(), ["eds +1 -0"]);
    assert!(!sent.iter().any(|sent| sent.ends_with("+0 -0")), "{sent:?}");
    mesh.stop().await;
}
