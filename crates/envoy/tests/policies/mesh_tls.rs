//! Which TLS proxies speak, and how a mesh gets from Permissive to Strict.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use meshspan_envoy::Encoded;
use meshspan_model::policy::PolicyKind;
use meshspan_world::view::{Protocol, Sidecar};
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::client::get;
use crate::support::envoy::{PATIENCE, eventually};
use crate::support::inputs::*;
use crate::support::proxies::{Backend, Client, backend};

/// The policies of an inbound that lets everybody in, with this MeshTLS.
fn with_tls(proxy: &mut Sidecar, conf: &Value) {
    let allow = json!({ "from": [{ "targetRef": { "kind": "Mesh" }, "default": { "action": "Allow" } }] });
    let tls = json!({ "rules": [{ "default": conf }] });
    PolicyKind::MeshTLS.kind().check(&tls).unwrap();
    proxy.inbound_policies = vec![inbound_policies(&[
        (PolicyKind::MeshTrafficPermission, allow),
        (PolicyKind::MeshTLS, tls),
    ])];
}

/// The same inbound with another MeshTLS.
fn listeners(app: u16, protocol: Protocol, conf: &Value) -> Vec<Encoded> {
    let mut proxy = sidecar("backend-1", vec![inbound("backend", "main", 0, app.into(), protocol)]);
    with_tls(&mut proxy, conf);
    let all = meshspan_envoy::sidecar(&proxy, &OPTIONS);
    let is_listener = |one: &Encoded| one.resource_type == meshspan_envoy::ResourceType::Listener;
    all.into_iter().filter(is_listener).collect()
}

#[test]
fn the_mode_is_that_of_the_policy() {
    let app = App::http("app");
    for (mode, plaintext) in [("Strict", false), ("Permissive", true)] {
        let server = Backend::start(app.port(), Protocol::Http, |proxy| {
            with_tls(proxy, &json!({ "mode": mode }))
        });
        let address = SocketAddr::new(LOCALHOST, server.port());
        assert_eq!(
            get(address, "/").is_ok_and(|response| response.status == 200),
            plaintext,
            "{mode}"
        );
        let client = Client::start(&backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]));
        assert_eq!(client.ask_http().as_deref(), Ok("app"), "{mode}");
    }
}

#[test]
fn both_sides_speak_the_versions_and_ciphers_of_the_policy() {
    let app = App::http("app");
    let aes = "ECDHE-ECDSA-AES256-GCM-SHA384";
    let chacha = "ECDHE-ECDSA-CHACHA20-POLY1305";
    let rsa = "ECDHE-RSA-AES256-GCM-SHA384";
    let only = |version: &str| json!({ "tlsVersion": { "min": version, "max": version } });
    let starts_at = |version: &str| json!({ "tlsVersion": { "min": version } });
    for (server_conf, client_conf, works) in [
        (only("TLS13"), only("TLS13"), true),
        (starts_at("TLS13"), starts_at("TLS13"), true),
        (only("TLS13"), only("TLS12"), false),
        (only("TLS12"), starts_at("TLS13"), false),
        (
            json!({ "tlsCiphers": [aes, rsa] }),
            json!({ "tlsCiphers": [aes, rsa] }),
            true,
        ),
        (
            json!({ "tlsVersion": { "max": "TLS12" }, "tlsCiphers": [aes] }),
            json!({ "tlsVersion": { "max": "TLS12" }, "tlsCiphers": [chacha] }),
            false,
        ),
    ] {
        let server = Backend::start(app.port(), Protocol::Http, |proxy| with_tls(proxy, &server_conf));
        let destination = backend(Protocol::Http, vec![own_zone(vec![ready(server.port())])]);
        let said = policies([(PolicyKind::MeshTLS, client_conf.clone())]);
        let client = Client::start_with(&destination, &said);
        let answer = client.ask_http();
        assert_eq!(answer.is_ok(), works, "{server_conf} {client_conf}: {answer:?}");
    }
}

/// Requests over mTLS one after the other, and one connection that stays, while the mode changes again and again.
#[test]
fn a_change_of_the_mode_fails_no_request_over_mtls() {
    let app = App::http("app");
    let permissive = json!({ "mode": "Permissive" });
    let server = Backend::start(app.port(), Protocol::Http, |proxy| with_tls(proxy, &permissive));
    let port = server.port();
    let client = Client::start(&backend(Protocol::Http, vec![own_zone(vec![ready(port)])]));
    let address = SocketAddr::new(LOCALHOST, port);
    let takes_plaintext = || get(address, "/").is_ok_and(|response| response.status == 200);
    assert!(takes_plaintext());

    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(client.ask_http().as_deref(), Ok("app"));
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for (mode, plaintext) in [("Strict", false), ("Permissive", true), ("Strict", false)] {
            let before = answered.load(Ordering::SeqCst);
            eventually("requests are on their way", || {
                (answered.load(Ordering::SeqCst) > before + 20).then_some(())
            });
            server
                .envoy
                .set_listeners(&listeners(app.port(), Protocol::Http, &json!({ "mode": mode })));
            eventually("the mode changes", || (takes_plaintext() == plaintext).then_some(()));
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(
        client.envoy.counter(".upstream_cx_total"),
        1,
        "the connection between the proxies outlives the changes"
    );
}

#[test]
fn a_connection_over_mtls_outlives_a_change_of_the_mode() {
    let echo = TcpListener::bind("127.0.0.1:0").unwrap();
    let echo_port = echo.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = echo.accept().unwrap();
            let mut byte = [0];
            while stream.read(&mut byte).is_ok_and(|count| count == 1) {
                stream.write_all(&byte).unwrap();
            }
        });
        let server = Backend::start(echo_port, Protocol::Tcp, |proxy| {
            with_tls(proxy, &json!({ "mode": "Permissive" }));
        });
        let port = server.port();
        let client = Client::start(&backend(Protocol::Tcp, vec![own_zone(vec![ready(port)])]));
        let mut stream = TcpStream::connect(client.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut say = |line: &str| {
            stream.write_all(line.as_bytes()).unwrap();
            let mut answer = String::new();
            reader.read_line(&mut answer).unwrap();
            assert_eq!(answer, line);
        };
        say("before\n");
        server
            .envoy
            .set_listeners(&listeners(echo_port, Protocol::Tcp, &json!({ "mode": "Strict" })));
        say("after\n");
        drop((client, server));
    });
}
