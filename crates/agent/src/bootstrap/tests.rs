#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::args::ProxyType;
use crate::fake_control_plane::{FakeControlPlane, TestCertificate, bootstrap_answer};
use crate::proxy::Proxy;
use crate::socket::SocketMark;
use crate::tls::Trust;

const YAML: &str = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}";

fn request() -> BootstrapRequest {
    let proxy = Proxy {
        proxy_type: ProxyType::Dataplane,
        mesh: "demo".to_owned(),
        name: "web-1".to_owned(),
        inbound_ports: vec![],
        networking: None,
        resource: Some(r#"{"type":"Dataplane"}"#.to_owned()),
    };
    let mut request = BootstrapRequest::new(
        &proxy,
        "0.1.0+abc".into(),
        EnvoyVersion::new("1.40.0".into(), "a/1.40.0/b/c/d".into()),
    );
    request.dataplane_token = "secret".to_owned();
    request
}

async fn fetch_from(url: &str, trust: Option<Trust>) -> Result<Bootstrap, BootstrapError> {
    let control_plane = ControlPlane::new(url, trust, SocketMark::default()).unwrap();
    let retry = RetryPolicy {
        backoff: Duration::from_millis(10),
        max_duration: Duration::from_secs(20),
    };
    fetch(&control_plane, &request(), retry).await
}

#[tokio::test]
async fn an_unknown_proxy_is_asked_for_again() {
    let certificate = TestCertificate::issued("localhost");
    let answers = vec![
        (404, Bytes::new()),
        (503, "starting".into()),
        (200, bootstrap_answer(YAML)),
    ];
    let mut server = FakeControlPlane::start(Some(&certificate), answers).await;
    let bootstrap = fetch_from(&server.url("https", "localhost"), Some(Trust::Ca(certificate.ca_pem)))
        .await
        .unwrap();
    assert_eq!(bootstrap.yaml, YAML.as_bytes());
    let request = server.requests.recv().await.unwrap();
    assert_eq!(request["mesh"], "demo");
    assert_eq!(request["proxyType"], "dataplane");
    assert_eq!(request["dataplaneToken"], "secret");
    assert_eq!(request["dataplaneResource"], r#"{"type":"Dataplane"}"#);
    assert_eq!(request["version"]["envoy"]["version"], "1.40.0");
    assert_eq!(request["version"]["kumaDp"]["version"], "0.1.0+abc");
    for absent in ["socketMark", "dataplaneTokenPath", "readinessPort"] {
        assert!(request.get(absent).is_none(), "{absent}");
    }
    assert!(server.requests.recv().await.is_some());
    assert!(server.requests.recv().await.is_some());
}

#[tokio::test]
async fn a_refusal_is_final_and_quoted() {
    let certificate = TestCertificate::issued("localhost");
    let answers = vec![(422, "mesh: mesh \"demo\" does not exist".into())];
    let mut server = FakeControlPlane::start(Some(&certificate), answers).await;
    let error = fetch_from(&server.url("https", "localhost"), Some(Trust::Ca(certificate.ca_pem)))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            BootstrapError::Refused {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("mesh \"demo\" does not exist"), "{error}");
    assert!(server.requests.recv().await.is_some());
    assert!(server.requests.try_recv().is_err(), "asked once");
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_final_and_explained() {
    let certificate = TestCertificate::issued("localhost");
    let server = FakeControlPlane::start(Some(&certificate), vec![(200, bootstrap_answer(YAML))]).await;
    let other = TestCertificate::issued("localhost").ca_pem;
    let error = fetch_from(&server.url("https", "localhost"), Some(Trust::Ca(other)))
        .await
        .unwrap_err();
    assert!(matches!(error, BootstrapError::Certificate(_)), "{error}");
    assert!(error.to_string().contains("--ca-cert-file"), "{error}");
}

#[tokio::test]
async fn the_certificate_must_list_the_address() {
    for certificate in [
        TestCertificate::issued("elsewhere"),
        TestCertificate::self_signed_ca("elsewhere"),
    ] {
        let server = FakeControlPlane::start(Some(&certificate), vec![(200, bootstrap_answer(YAML))]).await;
        let trust = Trust::Ca(certificate.ca_pem);
        let error = fetch_from(&server.url("https", "127.0.0.1"), Some(trust))
            .await
            .unwrap_err();
        assert!(matches!(error, BootstrapError::Certificate(_)), "{error}");
        assert!(
            fetch_from(&server.url("https", "127.0.0.1"), Some(Trust::Anything))
                .await
                .is_ok()
        );
    }
}

#[tokio::test]
async fn a_self_signed_ca_may_be_the_server_certificate_itself() {
    let certificate = TestCertificate::self_signed_ca("127.0.0.1");
    let server = FakeControlPlane::start(Some(&certificate), vec![(200, bootstrap_answer(YAML))]).await;
    let url = server.url("https", "127.0.0.1");
    assert!(fetch_from(&url, Some(Trust::Ca(certificate.ca_pem))).await.is_ok());
    let other = TestCertificate::self_signed_ca("127.0.0.1").ca_pem;
    let error = fetch_from(&url, Some(Trust::Ca(other))).await.unwrap_err();
    assert!(matches!(error, BootstrapError::Certificate(_)), "{error}");
}

#[tokio::test]
async fn an_unreachable_control_plane_is_named_in_the_end() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let control_plane = ControlPlane::new(&format!("http://{closed}"), None, SocketMark::default()).unwrap();
    let retry = RetryPolicy {
        backoff: Duration::from_millis(1),
        max_duration: Duration::from_millis(20),
    };
    let error = fetch(&control_plane, &request(), retry).await.unwrap_err();
    assert!(matches!(error, BootstrapError::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains(&closed.to_string()), "{error}");
}

#[tokio::test]
async fn wrong_servers_are_named_in_words_of_the_setting() {
    let certificate = TestCertificate::issued("127.0.0.1");
    let tls = FakeControlPlane::start(Some(&certificate), vec![]).await;
    let not_found = (404, Bytes::from_static(b"404: Page Not Found"));
    let api = FakeControlPlane::start(None, vec![not_found.clone(), not_found]).await;
    for (address, found) in [
        (
            tls.url("http", "127.0.0.1"),
            "if it speaks TLS, the address must start with https://",
        ),
        (api.url("http", "127.0.0.1"), "is no data plane server"),
        (api.url("https", "127.0.0.1"), "speaks no TLS, which https:// expects"),
    ] {
        let control_plane = ControlPlane::new(&address, Some(Trust::Anything), SocketMark::default()).unwrap();
        let Err(Attempt::Retry(text)) = attempt(&control_plane, &request()).await else {
            panic!("{address} answered");
        };
        assert!(
            text.contains(found) && text.contains("--cp-address (KUMA_CONTROL_PLANE_URL) must name"),
            "{text}"
        );
        for raw in ["InvalidContentType", "invalid HTTP version", "protocol error"] {
            assert!(!text.contains(raw), "{text}");
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_and_one_with_another_ca_are_named() {
    let plain = FakeControlPlane::start(None, vec![(200, bootstrap_answer(YAML))]).await;
    let control_plane = ControlPlane::new(
        &plain.url("https", "127.0.0.1"),
        Some(Trust::Anything),
        SocketMark::default(),
    );
    let text = control_plane
        .unwrap()
        .connect(Protocol::Http1)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(text.contains("speaks no TLS, which https:// expects"), "{text}");

    let certificate = TestCertificate::issued("localhost");
    let server = FakeControlPlane::start(Some(&certificate), vec![]).await;
    let other = TestCertificate::issued("localhost").ca_pem;
    let error = fetch_from(&server.url("https", "localhost"), Some(Trust::Ca(other)))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("every control plane has a ca.pem of its own"), "{error}");
}

#[test]
fn the_control_plane_hears_which_addresses_its_name_has() {
    let said = |addresses: &[&str]| {
        let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let request = serde_json::to_value(request().with_control_plane_at(&addresses)).unwrap();
        request
            .get("controlPlaneAddresses")
            .map(|text| text.as_str().unwrap().to_owned())
    };
    assert_eq!(said(&["10.0.0.1:5678", "10.0.0.2:5678"]).unwrap(), "ipv4");
    assert_eq!(said(&["[fd00::1]:5678"]).unwrap(), "ipv6");
    assert_eq!(said(&["10.0.0.1:5678", "[fd00::1]:5678"]), None);
}
