//! Requests of all kinds that applications send arrive, through real Envoys, and those that cannot arrive harm no others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use meshspan_world::view::{InboundTls, Protocol, Sidecar};
use support::app::App;
use support::client::{Response, exchange, get_with, send};
use support::envoy::{Envoy, PATIENCE, eventually};
use support::inputs::*;
use support::proxies::{Backend, Client, backend, ingress_envoy, ingress_port};

/// A client of one application that is behind a sidecar.
fn pair(app: &App, protocol: Protocol) -> (Backend, Client) {
    let server = Backend::start(app.port(), protocol, |_: &mut Sidecar| {});
    let client = Client::start(&backend(protocol, vec![own_zone(vec![ready(server.port())])]));
    (server, client)
}

fn with_headers(client: &Client, count: usize, value: &str) -> Response {
    let names: Vec<_> = (0..count).map(|index| format!("x-{index}")).collect();
    let headers: Vec<_> = names.iter().map(|name| (name.as_str(), value)).collect();
    get_with(client.address, "/", &headers).unwrap()
}

#[test]
fn what_is_accepted_of_a_client_is_not_too_much_for_the_server() {
    let app = App::http("east");
    let (_server, client) = pair(&app, Protocol::Http);
    let kib = "y".repeat(1024);
    for (count, value) in [
        (70, "y"),
        (90, "y"),
        (94, "y"),
        (98, "y"),
        (50, &kib),
        (58, &kib),
        (59, &kib),
    ] {
        assert_eq!(
            with_headers(&client, count, value).status,
            200,
            "{count} headers of {} bytes",
            value.len()
        );
    }
    for (count, value) in [(101, "y"), (61, &kib)] {
        assert_eq!(
            with_headers(&client, count, value).status,
            431,
            "{count} headers of {} bytes",
            value.len()
        );
    }
    assert_eq!(client.envoy.counter("upstream_rq_retry"), 0);
}

#[test]
fn what_is_accepted_of_an_application_is_not_too_much_for_its_client() {
    let app = App::http("east");
    let (_server, client) = pair(&app, Protocol::Http);
    for (count, status) in [(50, 200), (96, 200), (97, 200), (98, 200)] {
        let response = get_with(client.address, "/", &[("x-answer-headers", &count.to_string())]).unwrap();
        assert_eq!(response.status, status, "{count} headers");
    }
    // More than a proxy takes of its application is the application's fault, and no reason to leave it alone.
    for _ in 0..10 {
        let response = get_with(client.address, "/", &[("x-answer-headers", "300")]).unwrap();
        assert!((502..=503).contains(&response.status), "{response:?}");
        assert_eq!(client.ask_http().as_deref(), Ok("east"));
    }
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nhost: service\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn upgraded(client: &Client) -> String {
    String::from_utf8(exchange(client.address, format!("{UPGRADE}hello\n").as_bytes()).unwrap()).unwrap()
}

#[test]
fn web_sockets_open_in_the_zone_and_through_the_ingress_of_another() {
    let app = App::upgrading("app");
    let (server, client) = pair(&app, Protocol::Http);
    let answer = upgraded(&client);
    assert!(
        answer.starts_with("HTTP/1.1 101") && answer.ends_with("app: hello\n"),
        "{answer}"
    );

    let gate = ingress_envoy("west", &[&server], Protocol::Http);
    let remote = other_zone("west", vec![ready(ingress_port(&gate, "west"))]);
    let client = Client::start(&backend(Protocol::Http, vec![remote]));
    let answer = upgraded(&client);
    assert!(
        answer.starts_with("HTTP/1.1 101") && answer.ends_with("app: hello\n"),
        "{answer}"
    );
}

#[test]
fn only_what_comes_in_is_drained() {
    let app = App::http("app");
    let server = Backend::start(app.port(), Protocol::Http, |proxy| proxy.inbound_tls = InboundTls::Off);
    let mut to = destination("backend", "main", Protocol::Http);
    to.localities = vec![own_zone(vec![ready(server.port())])];
    let client = Client::start(&to);
    let drain = |envoy: &Envoy| {
        for path in ["/healthcheck/fail", "/drain_listeners?inboundonly&graceful&skip_exit"] {
            assert_eq!(send(envoy.admin_address(), "POST", path, &[]).unwrap().status, 200);
        }
    };
    let closes = |address: SocketAddr| keep_alive(address).to_ascii_lowercase().contains("connection: close");
    let inbound = SocketAddr::new(LOCALHOST, server.port());
    assert!(!closes(inbound) && !closes(client.address));
    drain(&client.envoy);
    for _ in 0..20 {
        assert!(!closes(client.address), "the application goes on calling others");
    }
    drain(&server.envoy);
    eventually("those who call it are asked to go", || closes(inbound).then_some(()));
}

/// The head of the answer to a client that wants to keep its connection.
fn keep_alive(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: service\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head).unwrap() > 2 {}
    head
}

#[test]
fn http_1_0_is_served() {
    let app = App::http("east");
    let (_server, client) = pair(&app, Protocol::Http);
    for (host, expected) in [("", "host: backend"), ("host: shop\r\n", "host: shop")] {
        let request = format!("GET /old HTTP/1.0\r\n{host}\r\n");
        let answer = String::from_utf8(exchange(client.address, request.as_bytes()).unwrap()).unwrap();
        assert!(answer.contains(" 200 ") && answer.contains(expected), "{answer}");
    }
}
