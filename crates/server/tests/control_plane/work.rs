//! Cost follows the change: how much is computed for a change does not depend on how many proxies and services there are.

use std::net::SocketAddr;

use http::Request;
use meshspan_model::{Kind, Resource};
use meshspan_xds::ResourceType::{Cluster, Listener};
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::documents::{
    PORT, cluster, dataplane, explicit, ingress, mesh_with_mtls, multi_zone_cluster, multi_zone_service, probed,
};
use crate::support::http::send;
use crate::support::proxy::Driven;
use crate::support::{Agent, ControlPlane, Proxy};

/// What projection has done since the control plane started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    encodings: u64,
    comparisons: u64,
    own_halves: u64,
    /// Names for each stream that gets everything.
    published: u64,
    published_whole: u64,
}

/// A zone with services of one proxy each, and as many proxies again with an outbound of their own to one of them.
struct Zone {
    cp: ControlPlane,
    diagnostics: SocketAddr,
    /// Streams that get every destination.
    broad: u64,
    observer: Proxy,
    flipped: Agent,
    _others: Vec<Driven>,
}

fn service(number: usize) -> String {
    format!("svc-{number}")
}

/// A policy about the traffic to one service.
fn timeout(seconds: u32) -> Resource {
    let target = json!({ "kind": "MeshMultiZoneService", "name": service(0) });
    let to = json!([{ "targetRef": target, "default": { "connectionTimeout": format!("{seconds}s") } }]);
    let spec = json!({ "targetRef": { "kind": "Mesh" }, "to": to });
    Resource::new(Kind::MeshTimeout, "default", "of-one", spec).with_label("kuma.io/origin", "zone")
}

/// Logs of all proxies, in which each calls itself by its own name.
fn access_log() -> Resource {
    let to = json!([{ "targetRef": { "kind": "Mesh" },
                      "default": { "backends": [{ "type": "File", "file": { "path": "/dev/stdout" } }] } }]);
    let spec = json!({ "targetRef": { "kind": "Mesh" }, "to": to });
    Resource::new(Kind::MeshAccessLog, "default", "of-all", spec).with_label("kuma.io/origin", "zone")
}

impl Zone {
    async fn of(size: usize, mtls: bool) -> Self {
        let port = {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap().port()
        };
        let cp = ControlPlane::start_with(|settings| settings.diagnostics.server_port = port).await;
        let (mut others, mut ready) = (Vec::new(), Vec::new());
        if mtls {
            cp.apply(&mesh_with_mtls("default", "8000h")).await;
            let document = ingress("ingress-1");
            let zone_ingress = Proxy::connect(&cp, "", "ingress-1", Some(&document), None).await;
            others.push(zone_ingress.unwrap().driven());
        }
        cp.put(timeout(3)).await;
        cp.put(access_log()).await;
        cp.put(multi_zone_service("default", "flipped", "flipped", PORT)).await;
        for number in 0..size {
            let name = service(number);
            cp.put(multi_zone_service("default", &name, &name, PORT)).await;
            let address = format!("10.0.1.{number}");
            others.push(
                Proxy::start(&cp, &dataplane("default", &name, &name, &address))
                    .await
                    .driven(),
            );
            let narrow = format!("narrow-{number}");
            let document = explicit("default", &narrow, &format!("10.0.2.{number}"), &[(5000, &name, PORT)]);
            others.push(Proxy::start(&cp, &document).await.driven());
            ready.extend([cluster("default", &name), multi_zone_cluster("default", &name, PORT)]);
        }
        let flipped = probed("default", "flipped", "flipped", "10.0.3.1");
        others.push(Proxy::start(&cp, &flipped).await.driven());
        let flipped = Agent::connect(&cp, "default", "flipped", None).await;
        let mut observer = Proxy::start(&cp, &dataplane("default", "observer", "observer", "10.0.3.2")).await;
        ready.push(cluster("default", "observer"));
        // Whoever has connected has been noticed by then.
        observer
            .until("everybody", |observer| {
                ready.iter().all(|name| {
                    let health = observer.health(name);
                    observer.has(Listener, name) && matches!(health.as_slice(), [(_, true)])
                })
            })
            .await;
        Self {
            cp,
            diagnostics: ([127, 0, 0, 1], port).into(),
            // An ingress is handed as many: the same names, or its one listener instead of theirs.
            broad: u64::try_from(size).unwrap() + 2 + u64::from(mtls),
            observer,
            flipped,
            _others: others,
        }
    }

    async fn work(&self) -> Work {
        let stream = TcpStream::connect(self.diagnostics).await.unwrap();
        let request = Request::get("/metrics").header("host", "localhost").body(String::new());
        let (_, text) = send(stream, request.unwrap()).await;
        let counter = |name: &str| -> u64 {
            let line = format!("projection_{name}_total ");
            let found = text.lines().find_map(|found| found.strip_prefix(&line));
            found.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
        };
        Work {
            encodings: counter("encodings"),
            comparisons: counter("comparisons"),
            own_halves: counter("own_halves"),
            published: counter("published"),
            published_whole: counter("published_whole"),
        }
    }

    async fn rest(&mut self) -> Work {
        self.cp.settle("default", &mut [&mut self.observer]).await;
        self.work().await
    }

    /// Waits for the end of a change, and returns what it cost, with that of the same number of markers each time.
    async fn since(&mut self, before: Work) -> Work {
        let after = self.rest().await;
        let published = after.published - before.published;
        assert_eq!(published % self.broad, 0, "not the same for each stream: {published}");
        Work {
            encodings: after.encodings - before.encodings,
            comparisons: after.comparisons - before.comparisons,
            own_halves: after.own_halves - before.own_halves,
            published: published / self.broad,
            published_whole: after.published_whole - before.published_whole,
        }
    }

    async fn nothing(&mut self) -> Work {
        let before = self.rest().await;
        self.since(before).await
    }

    async fn readiness_flip(&mut self) -> Work {
        let before = self.rest().await;
        self.flipped.report(PORT, true).await;
        for name in [
            cluster("default", "flipped"),
            multi_zone_cluster("default", "flipped", PORT),
        ] {
            let is_ready = |observer: &Proxy| observer.health(&name).iter().any(|(_, ready)| *ready);
            self.observer.until("the flip", is_ready).await;
        }
        self.since(before).await
    }

    async fn new_service(&mut self) -> Work {
        let before = self.rest().await;
        self.cp.put(multi_zone_service("default", "new", "flipped", PORT)).await;
        let name = multi_zone_cluster("default", "new", PORT);
        self.observer
            .until("the service", |observer| observer.has_all_of(&name))
            .await;
        self.since(before).await
    }

    async fn edit(&mut self) -> Work {
        let before = self.rest().await;
        let name = multi_zone_cluster("default", &service(0), PORT);
        let version = self.observer.version(Cluster, &name);
        self.cp.put(timeout(4)).await;
        self.observer
            .until("the edit", |observer| observer.version(Cluster, &name) != version)
            .await;
        // One proxy with an outbound of its own uses the service.
        let after = self.rest().await;
        Work {
            encodings: after.encodings - before.encodings,
            comparisons: after.comparisons - before.comparisons,
            own_halves: after.own_halves - before.own_halves,
            published: 0,
            published_whole: after.published_whole - before.published_whole,
        }
    }

    async fn reconnect(&mut self) -> Work {
        let before = self.rest().await;
        let document = dataplane("default", "observer", "observer", "10.0.3.2");
        let placeholder = Proxy::start(&self.cp, &document).await;
        let held = std::mem::replace(&mut self.observer, placeholder).kill();
        self.observer = Proxy::open(&self.cp, "default", "observer", Some(&document), None, held)
            .await
            .unwrap();
        let after = self.rest().await;
        Work {
            encodings: after.encodings - before.encodings,
            comparisons: after.comparisons - before.comparisons,
            own_halves: after.own_halves - before.own_halves,
            published: 0,
            published_whole: after.published_whole - before.published_whole,
        }
    }

    async fn all(size: usize, mtls: bool) -> [(&'static str, Work); 5] {
        let mut zone = Self::of(size, mtls).await;
        [
            ("markers alone", zone.nothing().await),
            ("a readiness flip", zone.readiness_flip().await),
            ("a new service", zone.new_service().await),
            ("an edit of a policy", zone.edit().await),
            ("a reconnect", zone.reconnect().await),
        ]
    }
}

#[tokio::test]
async fn a_change_costs_the_same_among_few_and_among_many() {
    let (few, many) = (Zone::all(2, false).await, Zone::all(20, false).await);
    assert_eq!(few, many);
    let [(_, markers), (_, flip), (_, service), (_, edit), (_, reconnect)] = few;
    // Endpoints of the service and of the one that joins it over zones; its proxy is what the flip is of.
    assert_eq!((flip.published - markers.published, flip.own_halves), (2, 1));
    // Cluster, endpoints and listener.
    assert_eq!((service.published - markers.published, service.own_halves), (3, 0));
    assert_eq!(service.encodings - markers.encodings, 3);
    // The one proxy that uses the service at an address of its own.
    assert_eq!(edit.own_halves, 1);
    assert_eq!(
        reconnect.published_whole, 2,
        "the stream that takes over and the one that comes back"
    );
}

#[tokio::test]
async fn with_mtls_and_an_ingress_as_well() {
    assert_eq!(Zone::all(2, true).await, Zone::all(12, true).await);
}
