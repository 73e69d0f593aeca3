//! What is projected does what is meant: real Envoys, real certificates, real connections on loopback.
//!
//! Applications use explicit outbounds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::net::SocketAddr;

use meshspan_envoy::destination_endpoints;
use meshspan_world::view::{InboundTls, Protocol, Sidecar};
use support::app::{App, closed_port};
use support::client::get;
use support::envoy::eventually;
use support::inputs::*;
use support::proxies::{BACKEND_ID, Backend, Client, backend, ingress_envoy, ingress_port};

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
    for _ in 0..20 {
        assert_eq!(client.ask_http().as_deref(), Ok("west"));
    }
    assert_eq!(
        client.envoy.counter("outlier_detection.ejections_enforced_total"),
        0,
        "an answer is an answer"
    );
    drop(east_app);
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
    for status in [500, 502, 503, 504] {
        app.set_status(status);
        for _ in 0..10 {
            let response = get(client.address, "/").unwrap();
            assert_eq!(response.status, status);
            assert!(response.body.starts_with("east\n"), "{response:?}");
        }
        app.set_status(200);
        assert_eq!(client.ask_http().as_deref(), Ok("east"));
    }
}

#[test]
fn requests_that_fail_leave_the_service_to_others() {
    let app = App::http("east");
    let server = Backend::start(app.port(), Protocol::Http, |_| {});
    let client = Client::start(&backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]));
    for path in ["/unavailable", "/reset"] {
        for _ in 0..10 {
            let response = get(client.address, path).unwrap();
            assert_eq!(response.status, 503);
            assert!(!response.body.contains("no healthy upstream"), "{response:?}");
            assert_eq!(client.ask_http().as_deref(), Ok("east"));
        }
    }
    assert_eq!(client.envoy.counter("outlier_detection.ejections_enforced_total"), 0);
}

#[test]
fn the_last_endpoint_is_tried_again_at_once() {
    let port = closed_port();
    let server = Backend::start(port, Protocol::Http, |_| {});
    // That others are known but not ready makes no difference.
    let endpoints = vec![ready(server.port()), unready(closed_port()), unready(closed_port())];
    let client = Client::start(&backend(Protocol::Http, vec![own_zone(endpoints)]));
    for _ in 0..10 {
        let response = get(client.address, "/").unwrap();
        assert!(
            response.status == 503 && !response.body.contains("no healthy upstream"),
            "{response:?}"
        );
        assert!(!response.head.contains("x-meshspan"), "{response:?}");
    }
    let _app = App::http_at(port, "east");
    assert_eq!(client.ask_http().as_deref(), Ok("east"));

    let gone = own_zone(vec![ready(closed_port()), unready(closed_port())]);
    let of_requests = Client::start(&backend(Protocol::Http, vec![gone.clone()]));
    let of_bytes = Client::start(&backend(Protocol::Tcp, vec![gone]));
    for _ in 0..10 {
        assert_eq!((of_requests.ask_http(), of_bytes.ask_line()), (Err(503), None));
    }
    for client in [of_requests, of_bytes] {
        assert_eq!(client.envoy.counter("outlier_detection.ejections_enforced_total"), 0);
    }
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

/// An outbound by tags, whose services have a name for each zone.
#[test]
fn an_outbound_with_fallbacks_leaves_a_destination_of_which_nothing_is_left() {
    for protocol in [Protocol::Http, Protocol::Tcp] {
        let (east_app, west_app) = match protocol {
            Protocol::Http => (App::http("east"), App::http("west")),
            _ => (App::line("east"), App::line("west")),
        };
        let east = Backend::start(east_app.port(), protocol, |_| {});
        let west = Backend::start(west_app.port(), protocol, |_| {});
        let gate = ingress_envoy("west", &[&west], protocol);
        let behind = backend(
            protocol,
            vec![other_zone("west", vec![ready(ingress_port(&gate, "west"))])],
        );
        let own = |endpoint| {
            let service = over_tls(destination("backend-east", "main", protocol), &[BACKEND_ID]);
            with_localities(service, vec![own_zone(vec![endpoint])])
        };
        let client = Client::start_with_fallback(&own(ready(east.port())), &behind);
        let ask = || match protocol {
            Protocol::Http => client.ask_http().ok(),
            _ => client.ask_line(),
        };
        for _ in 0..10 {
            assert_eq!(ask().as_deref(), Some("east"));
        }
        let lost = destination_endpoints(&own(unready(east.port())), &default_policies());
        client.envoy.set_endpoints(&lost);
        eventually("traffic leaves", || {
            (ask().expect("no request fails") == "west").then_some(())
        });
        let back = destination_endpoints(&own(ready(east.port())), &default_policies());
        client.envoy.set_endpoints(&back);
        eventually("traffic comes home", || {
            (ask().expect("no request fails") == "east").then_some(())
        });
        // Dead before anybody says so.
        drop(east);
        for _ in 0..10 {
            assert_eq!(ask().as_deref(), Some("west"), "{protocol:?}");
        }
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
