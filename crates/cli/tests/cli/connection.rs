//! What users see when the control plane cannot be asked, and TLS.

use std::fs;
use std::sync::Arc;

use meshspan_identity::ServerCertificate;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use time::{Duration, OffsetDateTime};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{ControlPlane, run_line};

#[tokio::test]
async fn nobody_there() {
    // Bound and dropped: the port is free for the moment.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let flags = ["--no-config", "--address", &url];
    let error = run_line(&[&flags[..], &["get", "meshes"]].concat(), "").await.error();
    assert!(
        error.starts_with(&format!("cannot reach the control plane at {url}: ")),
        "{error}"
    );
    assert!(
        error.contains("refused") && error.contains("meshspan cp run") && error.contains("--address"),
        "{error}"
    );

    let documents = "type: Zone\nname: a\n---\ntype: Zone\nname: b\n";
    let error = run_line(&[&flags[..], &["apply", "-f", "-"]].concat(), documents)
        .await
        .error();
    assert!(
        error.starts_with("2 of 2 documents were not applied: cannot reach"),
        "{error}"
    );

    let version = run_line(&[&flags[..], &["version"]].concat(), "").await;
    assert!(version.err.contains("cannot reach"));
    let said = version.done();
    assert!(
        said.starts_with("Client: Meshspan ") && said.contains(", compatible with Kuma 2."),
        "{said}"
    );
}

#[tokio::test]
async fn silent_and_strange_servers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let line = [
        "--no-config",
        "--api-timeout",
        "50ms",
        "--address",
        &url,
        "get",
        "meshes",
    ];
    let error = run_line(&line, "").await.error();
    assert!(error.contains("gave no answer within 50ms"), "{error}");

    let cp = ControlPlane::start().await;
    for (body, expected) in [("<html>", "it is not JSON"), ("{}", "it is not a list of resources")] {
        cp.answer("GET /meshes?size=1000", 200, body);
        let error = cp.run(&["get", "meshes"]).await.error();
        assert!(error.contains(expected), "{error}");
    }
    cp.answer(
        "GET /meshes?size=1000",
        401,
        json!({ "title": "Invalid authentication data", "detail": "Unauthenticated" }),
    );
    let error = cp.run(&["--token", "abc", "get", "meshes"]).await.error();
    assert!(
        error.starts_with("Invalid authentication data (Unauthenticated)\n") && error.contains("--token"),
        "{error}"
    );
    assert_eq!(
        cp.requests().last().unwrap().authorization.as_deref(),
        Some("Bearer abc")
    );

    for address in ["localhost:5681", "ftp://x", "http://"] {
        let error = run_line(&["--no-config", "--address", address, "get", "meshes"], "")
            .await
            .error();
        assert!(
            error.contains("cannot be used") || error.contains("cannot reach"),
            "{address}: {error}"
        );
    }
}

#[tokio::test]
async fn the_server_certificate_is_verified() {
    let now = OffsetDateTime::now_utc();
    let made = ServerCertificate::generate(&["127.0.0.1".to_owned()], now, Duration::hours(1)).unwrap();
    let chain = CertificateDer::pem_slice_iter(made.cert_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let cp = ControlPlane::start_tls(TlsAcceptor::from(Arc::new(config))).await;
    cp.list("/meshes", json!([]));

    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, &made.ca_pem).unwrap();
    cp.run(&["--ca-cert-file", ca.to_str().unwrap(), "get", "meshes"])
        .await
        .done();
    cp.run(&["--skip-verify", "get", "meshes"]).await.done();
    let error = cp.run(&["get", "meshes"]).await.error();
    assert!(
        error.contains("cannot reach") && error.contains("--ca-cert-file"),
        "{error}"
    );
    fs::write(&ca, "no certificate").unwrap();
    let error = cp
        .run(&["--ca-cert-file", ca.to_str().unwrap(), "get", "meshes"])
        .await
        .error();
    assert!(error.contains("it holds no PEM block CERTIFICATE"), "{error}");
}

#[tokio::test]
async fn version_of_both_sides() {
    let cp = ControlPlane::start().await;
    let index = json!({ "product": "Kuma", "version": "2.9.13", "hostname": "cp-0", "instanceId": "cp-0-3f1a", "clusterId": "c1" });
    cp.answer("GET /", 200, index);
    let out = cp.run(&["version", "-a"]).await.done();
    let expected = format!(
        "Server: Kuma 2.9.13\n  Address: {}\n  Hostname: cp-0\n  Instance: cp-0-3f1a\n  Cluster: c1\n",
        cp.url
    );
    assert!(out.ends_with(&expected), "{out}");
}

#[tokio::test]
async fn a_server_of_the_other_kind_is_named() {
    let cp = ControlPlane::start().await;
    let https = cp.url.replace("http://", "https://");
    let error = run_line(&["--no-config", "--address", &https, "get", "meshes"], "")
        .await
        .error();
    assert!(
        error.contains("speaks no TLS; if it is the plain API, the address must start with http"),
        "{error}"
    );
}
