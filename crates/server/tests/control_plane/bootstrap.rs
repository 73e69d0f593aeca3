//! `POST /bootstrap` (`spec/dataplane.md` §1.1).

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::response::Parts;
use http::{Request, StatusCode, Version, header};
use meshspan_server::settings::ProxyAuth;
use serde_json::{Value, json};

use crate::support::control_plane::crypto;
use crate::support::documents::{dataplane, ingress};
use crate::support::{ControlPlane, http::send};

fn sidecar() -> Value {
    json!({
        "mesh": "default", "name": "redis-1", "proxyType": "dataplane",
        "dataplaneResource": dataplane("default", "redis-1", "redis", "10.0.0.1").to_string(),
        "version": {"kumaDp": {"version": "2.9.13"}, "envoy": {"version": "1.40.0"}},
        "workdir": "/tmp/meshspan-test",
    })
}

fn request(body: String) -> http::request::Builder {
    assert!(!body.is_empty());
    Request::post("/bootstrap")
        .header(header::HOST, "localhost:5678")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
}

async fn ask_raw(cp: &ControlPlane, body: String) -> (Parts, String) {
    let request = request(body.clone()).body(body).unwrap();
    send(cp.connect("http/1.1").await, request).await
}

async fn ask(cp: &ControlPlane, body: &Value) -> (StatusCode, String) {
    let (parts, text) = ask_raw(cp, body.to_string()).await;
    (parts.status, text)
}

pub fn bootstrap_of(answer: &str) -> Value {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let encoded = answer["bootstrap"].as_str().unwrap();
    serde_json::from_slice(&BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
}

pub fn envoy() -> PathBuf {
    if let Some(path) = std::env::var_os("MESHSPAN_ENVOY") {
        return path.into();
    }
    let in_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let managed = std::env::var_os("HOME")
        .and_then(|home| std::fs::read_dir(PathBuf::from(home).join(".cache/meshspan/envoy")).ok())
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path()));
    in_path
        .chain(managed)
        .map(|folder| folder.join("envoy"))
        .find(|file| file.is_file())
        .expect("no Envoy binary: run `meshspan envoy install`, put `envoy` into PATH, or name it in MESHSPAN_ENVOY")
}

/// Lets Envoy itself judge.
fn validate(bootstrap: &Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bootstrap.json");
    std::fs::write(&file, bootstrap.to_string()).unwrap();
    let output = Command::new(envoy())
        .args(["--mode", "validate", "--log-level", "error", "-c"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        serde_json::to_string_pretty(bootstrap).unwrap()
    );
}

#[tokio::test]
async fn a_sidecar_gets_a_bootstrap_that_envoy_accepts() {
    let cp = ControlPlane::start().await;
    let mut body = sidecar();
    body["socketMark"] = json!(4660);
    let (status, text) = ask(&cp, &body).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let configuration = &answer["kumaSidecarConfiguration"];
    assert_eq!(configuration["networking"]["address"], "10.0.0.1");
    assert_eq!(configuration["metrics"]["aggregate"], json!([]));
    let bootstrap = bootstrap_of(&text);
    assert_eq!(bootstrap["node"]["id"], "default.redis-1");
    assert_eq!(bootstrap["node"]["cluster"], "redis");
    assert_eq!(
        bootstrap["node"]["metadata"]["dataplane.resource"],
        body["dataplaneResource"]
    );
    assert_eq!(bootstrap["node"]["metadata"]["socketMark"], "4660");
    assert!(
        bootstrap.to_string().contains("5678"),
        "Envoy calls the port that the agent called"
    );
    validate(&bootstrap);
}

#[tokio::test]
async fn a_zone_ingress_gets_one_too() {
    let cp = ControlPlane::start().await;
    let body = json!({
        "mesh": "", "name": "ingress-1", "proxyType": "ingress",
        "dataplaneResource": ingress("ingress-1").to_string(),
        "workdir": "/tmp/meshspan-test",
    });
    let (status, text) = ask(&cp, &body).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let bootstrap = bootstrap_of(&text);
    assert_eq!(bootstrap["node"]["id"], ".ingress-1");
    validate(&bootstrap);
}

#[tokio::test]
async fn a_stored_dataplane_needs_no_resource() {
    let cp = ControlPlane::start().await;
    let mut body = sidecar();
    body.as_object_mut().unwrap().remove("dataplaneResource");
    let (parts, text) = ask_raw(&cp, body.to_string()).await;
    assert_eq!(
        (parts.status, text.as_str()),
        (StatusCode::NOT_FOUND, ""),
        "agents retry an empty 404"
    );
    cp.apply(&dataplane("default", "redis-1", "redis", "10.0.0.7")).await;
    let (status, text) = ask(&cp, &body).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["kumaSidecarConfiguration"]["networking"]["address"], "10.0.0.7");
}

#[tokio::test]
async fn who_does_not_ask_for_json_gets_the_bare_bootstrap() {
    let cp = ControlPlane::start().await;
    let body = sidecar().to_string();
    let mut request = request(body.clone()).body(body).unwrap();
    request.headers_mut().remove(header::ACCEPT);
    let (parts, text) = send(cp.connect("http/1.1").await, request).await;
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(parts.headers[header::CONTENT_TYPE], "text/x-yaml");
    let yaml: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(yaml["node"]["id"], "default.redis-1");
}

#[tokio::test]
async fn a_client_may_speak_http2() {
    let cp = ControlPlane::start().await;
    let request = Request::post("https://localhost:5678/bootstrap")
        .version(Version::HTTP_2)
        .header(header::ACCEPT, "application/json")
        .body(sidecar().to_string())
        .unwrap();
    let (parts, text) = send(cp.connect("h2").await, request).await;
    assert_eq!(parts.status, StatusCode::OK, "{text}");
    assert!(bootstrap_of(&text).to_string().contains("5678"));
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let cp = ControlPlane::start().await;
    let foreign = dataplane("default", "redis-2", "redis", "10.0.0.1").to_string();
    for (field, value, status, said) in [
        (
            "proxyType",
            json!("egress"),
            StatusCode::UNPROCESSABLE_ENTITY,
            "ZoneEgress",
        ),
        (
            "proxyType",
            json!("nonsense"),
            StatusCode::UNPROCESSABLE_ENTITY,
            "dataplane, ingress or egress",
        ),
        (
            "mesh",
            json!("nowhere"),
            StatusCode::UNPROCESSABLE_ENTITY,
            "\"nowhere\" does not exist",
        ),
        ("name", json!(""), StatusCode::UNPROCESSABLE_ENTITY, "name"),
        (
            "dataplaneResource",
            json!("{"),
            StatusCode::UNPROCESSABLE_ENTITY,
            "dataplaneResource",
        ),
        (
            "dataplaneResource",
            json!(foreign),
            StatusCode::UNPROCESSABLE_ENTITY,
            "redis-2",
        ),
        (
            "socketMark",
            json!("no number"),
            StatusCode::BAD_REQUEST,
            "invalid request",
        ),
    ] {
        let mut body = sidecar();
        body[field] = value;
        let (found, text) = ask(&cp, &body).await;
        assert_eq!(found, status, "{field}: {text}");
        assert!(text.contains(said), "{field}: {text}");
    }
    let (parts, text) = ask_raw(&cp, "{".into()).await;
    assert_eq!(parts.status, StatusCode::BAD_REQUEST, "{text}");
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let cp = ControlPlane::start().await;
    let mut body = sidecar();
    body["dynamicMetadata"] = json!({"large": "x".repeat(2 << 20)});
    let (status, _) = ask(&cp, &body).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_name_that_is_not_in_the_certificate_is_refused_before_envoy_fails_on_it() {
    let cp = ControlPlane::start().await;
    for (host, status) in [
        ("elsewhere.example:5678", StatusCode::BAD_REQUEST),
        ("192.0.2.77:5678", StatusCode::BAD_REQUEST),
        ("127.0.0.1:5678", StatusCode::OK),
        ("[::1]:5678", StatusCode::OK),
    ] {
        let body = sidecar().to_string();
        let mut request = request(body.clone()).body(body).unwrap();
        request.headers_mut().insert(header::HOST, host.parse().unwrap());
        let (parts, text) = send(cp.connect("http/1.1").await, request).await;
        assert_eq!(parts.status, status, "{host}: {text}");
        if status == StatusCode::BAD_REQUEST {
            assert!(text.contains("KUMA_GENERAL_TLS_NAMES"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_sidecar_without_a_good_token_gets_no_bootstrap() {
    crypto();
    let cp = ControlPlane::start_with(|settings| {
        settings.dp_server.authn.dp_proxy.auth_type = ProxyAuth::DpToken;
    })
    .await;
    let (status, text) = ask(&cp, &sidecar()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{text}");
    assert!(text.contains("--dataplane-token-file"), "{text}");
    let mut body = sidecar();
    body["dataplaneToken"] = json!("secret-garbage");
    let (status, text) = ask(&cp, &body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{text}");
    assert!(text.contains("malformed") && !text.contains("secret-garbage"), "{text}");
}
