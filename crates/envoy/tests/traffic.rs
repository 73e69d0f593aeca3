//! What is projected does what is meant: real Envoys, real certificates, real connections on loopback.
//!
//! A "sidecar" here is an Envoy with the resources of one proxy and certificates of one CA. Applications use explicit outbounds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::sync::LazyLock;

use meshspan_envoy::{Encoded, destination_cluster, destination_endpoints, names, outbound_listener, secrets};
use meshspan_identity::{Ca, WorkloadRequest};
use meshspan_world::view::{Destination, InboundTls, Locality, Protocol, Sidecar};
use support::app::{App, closed_port};
use support::client::{exchange, get};
use support::envoy::{Envoy, eventually};
use support::inputs::*;
use time::{Duration, OffsetDateTime};

static CA: LazyLock<Ca> =
    LazyLock::new(|| Ca::generate_builtin(MESH, 2048, OffsetDateTime::now_utc(), Duration::days(1)).unwrap());
const BACKEND_ID: &str = "spiffe://default/backend";

/// The secrets of a proxy of `service`.
fn certificates(service: &str) -> Vec<Encoded> {
    let tags = [("kuma.io/service".to_owned(), [service.to_owned()].into())].into();
    let request = WorkloadRequest::for_dataplane(MESH, tags, OffsetDateTime::now_utc(), Duration::hours(1)).unwrap();
    let cert = CA.issue_workload(&request).unwrap();
    vec![
        secrets::identity(MESH, &cert.cert_chain_pem, &cert.key_pem),
        secrets::trust_bundle(MESH, CA.cert_pem()),
    ]
}

/// A sidecar of the service `backend` in front of one application.
struct Backend {
    envoy: Envoy,
}

impl Backend {
    fn start(app_port: u16, protocol: Protocol, adapt: impl FnOnce(&mut Sidecar)) -> Self {
        let mut proxy = sidecar(
            "backend-1",
            vec![inbound("backend", "main", 0, app_port.into(), protocol)],
        );
        adapt(&mut proxy);
        let resources = [meshspan_envoy::sidecar(&proxy, &OPTIONS), certificates("backend")].concat();
        Self {
            envoy: Envoy::start(&resources, "east"),
        }
    }

    fn port(&self) -> u16 {
        self.envoy.port("self_inbound_dp_main")
    }
}

/// The service as clients see it.
fn backend(protocol: Protocol, localities: Vec<Locality>) -> Destination {
    with_localities(
        over_tls(destination("backend", "main", protocol), &[BACKEND_ID]),
        localities,
    )
}

/// A sidecar of the service `web`, whose application reaches one destination at [`Client::address`].
struct Client {
    envoy: Envoy,
    address: SocketAddr,
}

impl Client {
    fn start(destination: &Destination) -> Self {
        let mut proxy = sidecar("web-1", Vec::new());
        proxy.outbounds = vec![outbound(destination, LOCALHOST, 0, true)];
        let mut resources = meshspan_envoy::sidecar(&proxy, &OPTIONS);
        resources.extend([
            destination_cluster(destination, &default_policies()),
            destination_endpoints(destination, &default_policies()),
        ]);
        resources.extend(certificates("web"));
        let envoy = Envoy::start(&resources, "east");
        let address = envoy.address(&outbound_listener(&proxy.outbounds[0]).name);
        Self { envoy, address }
    }

    /// The application that answers, or the status of the failure.
    fn ask_http(&self) -> Result<String, u16> {
        let response = get(self.address, "/").unwrap();
        if response.status != 200 {
            return Err(response.status);
        }
        Ok(response.body.lines().next().unwrap().to_owned())
    }

    /// The application that answers; `None` if the connection is closed without an answer.
    fn ask_line(&self) -> Option<String> {
        let answer = String::from_utf8(exchange(self.address, b"hello\n").ok()?).unwrap();
        Some(answer.split_once(": hello")?.0.to_owned())
    }
}

/// An ingress of `zone` with one backend behind it.
fn ingress_envoy(zone: &str, backends: &[&Backend], protocol: Protocol) -> Envoy {
    let local = Locality {
        zone: zone.to_owned(),
        ..own_zone(backends.iter().map(|one| ready(one.port())).collect())
    };
    Envoy::start(
        &meshspan_envoy::ingress(&ingress(zone, 0, vec![backend(protocol, vec![local])])),
        zone,
    )
}

fn ingress_port(envoy: &Envoy, zone: &str) -> u16 {
    envoy.port(&names::ingress_listener(&format!("ingress-{zone}")))
}

#[test]
fn http_arrives_with_the_identity_of_the_client() {
    let app = App::http("east-1");
    let server = Backend::start(app.port(), Protocol::Http, |_| {});
    let client = Client::start(&backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]));
    let response = get(client.address, "/path").unwrap();
    assert_eq!(response.status, 200);
    assert!(
        response.body.starts_with("east-1\nGET /path HTTP/1.1\r\n"),
        "{}",
        response.body
    );
    assert!(response.body.contains("x-forwarded-client-cert: ") && response.body.contains("URI=spiffe://default/web"));
    assert_eq!(
        client.envoy.counter(".upstream_cx_http2_total"),
        1,
        "between proxies it is HTTP/2"
    );
}

#[test]
fn bytes_arrive() {
    let app = App::line("east-1");
    let server = Backend::start(app.port(), Protocol::Tcp, |_| {});
    let client = Client::start(&backend(Protocol::Tcp, vec![own_zone(vec![ready(server.port())])]));
    assert_eq!(client.ask_line().as_deref(), Some("east-1"));
    assert_eq!(client.envoy.counter(".ssl.handshake"), 1);
}

#[test]
fn without_permission_nothing_arrives() {
    let (app, line_app) = (App::http("east-1"), App::line("east-1"));
    let deny = |proxy: &mut Sidecar| proxy.inbound_policies.clear();
    let server = Backend::start(app.port(), Protocol::Http, deny);
    let client = Client::start(&backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]));
    assert_eq!(client.ask_http(), Err(403));

    let server = Backend::start(line_app.port(), Protocol::Tcp, deny);
    let client = Client::start(&backend(Protocol::Tcp, vec![own_zone(vec![ready(server.port())])]));
    assert_eq!(client.ask_line(), None);
}

#[test]
fn strict_refuses_plaintext_and_permissive_takes_both() {
    let app = App::http("east-1");
    for (mode, plaintext) in [
        (InboundTls::Strict, false),
        (InboundTls::Permissive, true),
        (InboundTls::Off, true),
    ] {
        let server = Backend::start(app.port(), Protocol::Http, |proxy| {
            proxy.inbound_tls = mode;
            // Concerns clients with an identity only.
            proxy.inbound_policies = vec![allow_all()];
        });
        let address = SocketAddr::new(LOCALHOST, server.port());
        assert_eq!(
            get(address, "/").is_ok_and(|response| response.status == 200),
            plaintext,
            "{mode:?}"
        );
        if mode != InboundTls::Off {
            let client = Client::start(&backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]));
            assert_eq!(client.ask_http().as_deref(), Ok("east-1"), "{mode:?}");
        }
    }
}

#[test]
fn a_server_with_another_identity_is_refused() {
    let app = App::http("east-1");
    let server = Backend::start(app.port(), Protocol::Http, |_| {});
    let here = || vec![own_zone(vec![ready(server.port())])];
    for ids in [&["spiffe://default/other"][..], &[]] {
        let impostor = over_tls(destination("backend", "main", Protocol::Http), ids);
        let client = Client::start(&with_localities(impostor, here()));
        assert_eq!(client.ask_http(), Err(503), "{ids:?}");
    }
}

#[test]
fn nothing_to_go_to_is_said_at_once() {
    let client = Client::start(&backend(Protocol::Http, Vec::new()));
    assert_eq!(client.ask_http(), Err(503));
    let client = Client::start(&backend(Protocol::Tcp, vec![own_zone(Vec::new())]));
    assert_eq!(client.ask_line(), None);
}

#[test]
fn an_unready_zone_is_left_through_the_ingress_of_another() {
    let (east_app, west_app) = (App::http("east"), App::http("west"));
    let east = Backend::start(east_app.port(), Protocol::Http, |_| {});
    let west = Backend::start(west_app.port(), Protocol::Http, |_| {});
    let gate = ingress_envoy("west", &[&west], Protocol::Http);
    let remote = other_zone("west", vec![ready(ingress_port(&gate, "west"))]);

    let all_up = backend(Protocol::Http, vec![own_zone(vec![ready(east.port())]), remote.clone()]);
    let client = Client::start(&all_up);
    for _ in 0..20 {
        assert_eq!(client.ask_http().as_deref(), Ok("east"));
    }
    let east_down = backend(Protocol::Http, vec![own_zone(vec![unready(east.port())]), remote]);
    client
        .envoy
        .set_endpoints(&destination_endpoints(&east_down, &default_policies()));
    eventually("traffic moves", || {
        let answer = client.ask_http().expect("no request fails");
        (answer == "west").then_some(())
    });
    for _ in 0..20 {
        assert_eq!(client.ask_http().as_deref(), Ok("west"));
    }
    client
        .envoy
        .set_endpoints(&destination_endpoints(&all_up, &default_policies()));
    eventually("traffic comes home", || {
        (client.ask_http().expect("no request fails") == "east").then_some(())
    });
}

#[test]
fn no_request_fails_when_the_local_application_does() {
    let (east_app, west_app) = (App::http("east"), App::http("west"));
    let east = Backend::start(east_app.port(), Protocol::Http, |_| {});
    let west = Backend::start(west_app.port(), Protocol::Http, |_| {});
    let gate = ingress_envoy("west", &[&west], Protocol::Http);
    let localities = vec![
        own_zone(vec![ready(east.port())]),
        other_zone("west", vec![ready(ingress_port(&gate, "west"))]),
    ];
    let client = Client::start(&backend(Protocol::Http, localities));
    assert_eq!(client.ask_http().as_deref(), Ok("east"));

    east_app.set_status(503);
    assert_eq!(client.ask_http().as_deref(), Ok("west"));
    assert_eq!(
        client.envoy.counter("upstream_rq_retry"),
        1,
        "the first retry leaves the zone"
    );
    // Many at once, so that retries must not wait for each other.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..20).for_each(|_| assert_eq!(client.ask_http().as_deref(), Ok("west"))));
        }
    });
    assert_eq!(
        client.envoy.counter("outlier_detection.ejections_active"),
        1,
        "the dead endpoint is left alone"
    );
}

#[test]
fn an_error_of_the_application_is_an_answer() {
    let app = App::http("east");
    let server = Backend::start(app.port(), Protocol::Http, |_| {});
    let client = Client::start(&backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]));
    app.set_status(500);
    for _ in 0..20 {
        assert_eq!(client.ask_http(), Err(500));
    }
    app.set_status(200);
    assert_eq!(client.ask_http().as_deref(), Ok("east"));
}

#[test]
fn no_connection_fails_when_local_endpoints_are_dead() {
    let app = App::line("west");
    let west = Backend::start(app.port(), Protocol::Tcp, |_| {});
    let gate = ingress_envoy("west", &[&west], Protocol::Tcp);
    let dead = own_zone(vec![ready(closed_port()), ready(closed_port()), ready(closed_port())]);
    let remote = other_zone("west", vec![ready(ingress_port(&gate, "west"))]);
    let client = Client::start(&backend(Protocol::Tcp, vec![dead, remote]));
    for _ in 0..20 {
        assert_eq!(client.ask_line().as_deref(), Some("west"));
    }
}

#[test]
fn an_ingress_passes_only_what_it_knows() {
    let app = App::line("west");
    let west = Backend::start(app.port(), Protocol::Tcp, |_| {});
    let gate = ingress_envoy("west", &[&west], Protocol::Tcp);
    let mut unknown = backend(
        Protocol::Tcp,
        vec![other_zone("west", vec![ready(ingress_port(&gate, "west"))])],
    );
    unknown.tls.as_mut().unwrap().sni = "a0.unknown.80.default.mzms".to_owned();
    assert_eq!(Client::start(&unknown).ask_line(), None);
}

#[test]
fn zones_share_equally_however_many_endpoints_they_have() {
    let west = App::line("west");
    let south = [App::line("south"), App::line("south"), App::line("south")];
    let plain = with_localities(
        destination("backend", "main", Protocol::Tcp),
        vec![
            own_zone(vec![unready(closed_port())]),
            other_zone("south", south.iter().map(|app| ready(app.port())).collect()),
            other_zone("west", vec![ready(west.port())]),
        ],
    );
    let client = Client::start(&plain);
    let to_west = (0..200)
        .filter(|_| client.ask_line().as_deref() == Some("west"))
        .count();
    assert!((90..=110).contains(&to_west), "{to_west} of 200 went to west");
}

#[test]
fn half_of_a_zone_carries_all_of_its_traffic() {
    let (east, west) = (App::line("east"), App::line("west"));
    let with_east = |endpoints| {
        with_localities(
            destination("backend", "main", Protocol::Tcp),
            vec![own_zone(endpoints), other_zone("west", vec![ready(west.port())])],
        )
    };
    let half = with_east(vec![ready(east.port()), unready(closed_port())]);
    let client = Client::start(&half);
    assert!((0..100).all(|_| client.ask_line().as_deref() == Some("east")));

    let quarter = [closed_port(), closed_port(), closed_port()].map(unready);
    let quarter = with_east([vec![ready(east.port())], quarter.to_vec()].concat());
    client
        .envoy
        .set_endpoints(&destination_endpoints(&quarter, &default_policies()));
    eventually("some traffic leaves", || {
        (client.ask_line().as_deref() == Some("west")).then_some(())
    });
    let stay = (0..200)
        .filter(|_| client.ask_line().as_deref() == Some("east"))
        .count();
    assert!((60..=140).contains(&stay), "{stay} of 200 stayed");
}
