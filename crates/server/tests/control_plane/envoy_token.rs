//! A real Envoy shows its token to the control plane and to nobody else, and takes a renewed one without a restart.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Request, StatusCode, header};
use meshspan_identity::secret_names;
use meshspan_identity::token::Lifespan;
use meshspan_model::Resource;
use meshspan_model::kinds::dataplane_insight::DataplaneInsight;
use meshspan_model::kinds::secret::Secret;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::bootstrap::{bootstrap_of, envoy};
use crate::support::documents::explicit;
use crate::support::{ControlPlane, http::send};
use crate::tokens::{claims, strict, token};

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A bootstrap for redis-1, as its agent asks for it.
async fn bootstrap(cp: &ControlPlane, admin_port: u16, token: &str, more: Value) -> Value {
    let mut resource = explicit("default", "redis-1", "127.0.0.9", &[]);
    resource["networking"]["inbound"][0]["port"] = json!(free_port());
    resource["networking"]["admin"] = json!({"port": admin_port});
    let mut body = json!({
        "mesh": "default", "name": "redis-1", "dataplaneToken": token, "dataplaneResource": resource.to_string(),
        "version": {"kumaDp": {"version": "2.9.13"}, "envoy": {"version": "1.40.0"}},
    });
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let port = cp.addresses.data_plane.unwrap().port();
    let request = Request::post("/bootstrap")
        .header(header::HOST, format!("127.0.0.1:{port}"))
        .header(header::ACCEPT, "application/json");
    let (parts, text) = send(cp.connect("http/1.1").await, request.body(body.to_string()).unwrap()).await;
    assert_eq!(parts.status, StatusCode::OK, "{text}");
    bootstrap_of(&text)
}

fn start(folder: &Path, bootstrap: &Value) -> Child {
    let file = folder.join("bootstrap.json");
    std::fs::write(&file, bootstrap.to_string()).unwrap();
    Command::new(envoy())
        .args([
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "error",
            "-c",
        ])
        .arg(&file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn config_dump(admin_port: u16) -> String {
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, admin_port)));
    let request = Request::get("/config_dump?include_eds")
        .header(header::HOST, "localhost")
        .body(String::new());
    let (parts, text) = send(stream.await.unwrap(), request.unwrap()).await;
    assert_eq!(parts.status, StatusCode::OK, "{text}");
    text
}

/// Waits until the proxy is connected for at least the nth time.
async fn connected(cp: &ControlPlane, times: usize) {
    cp.until_spec(
        &format!("{times} connections"),
        "default",
        "redis-1",
        |insight: &DataplaneInsight| {
            let is_open = insight
                .subscriptions
                .last()
                .is_some_and(|last| last.disconnect_time.is_none());
            insight.subscriptions.len() >= times && is_open
        },
    )
    .await;
}

fn put_secret(path: &Path, token: &str) {
    let secret = json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "proxy_token",
        "generic_secret": {"secret": {"inline_string": token}},
    }]});
    let new = path.with_extension("new");
    std::fs::write(&new, secret.to_string()).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn a_renewed_token_is_taken_without_a_restart_and_none_is_in_the_dump() {
    let cp = strict().await;
    let folder = tempfile::tempdir().unwrap();
    let lifespan = || Lifespan::new(OffsetDateTime::now_utc(), Duration::hours(1));
    let (first, second) = (lifespan(), lifespan());
    let of = |lifespan: &Lifespan| token(&cp, "default", &claims("redis-1", "default", &[]), lifespan);
    let (path, admin_port) = (folder.path().join("token.json"), free_port());
    put_secret(&path, &of(&first));
    let location = json!({"tokenSecret": {"name": "proxy_token", "path": path}});
    let bootstrap = bootstrap(&cp, admin_port, &of(&first), location).await;
    assert!(!bootstrap.to_string().contains(&of(&first)));
    let _envoy = start(folder.path(), &bootstrap);
    connected(&cp, 1).await;
    let dump = config_dump(admin_port).await;
    assert!(dump.contains("credential_injector") && !dump.contains(&of(&first)));

    // First the agent renews the file, then the old token ends.
    put_secret(&path, &of(&second));
    let list = Secret {
        data: BASE64_STANDARD.encode(first.id.to_string()),
    };
    let name = secret_names::dataplane_token_revocations("default");
    cp.put(Resource::of("default", name, &list)).await;
    connected(&cp, 2).await;
    assert!(!config_dump(admin_port).await.contains(&of(&second)));
}

#[tokio::test]
async fn an_agent_that_keeps_no_secret_has_its_token_in_none_either() {
    let cp = strict().await;
    let folder = tempfile::tempdir().unwrap();
    let lifespan = Lifespan::new(OffsetDateTime::now_utc(), Duration::hours(1));
    let token = token(&cp, "default", &claims("redis-1", "default", &[]), &lifespan);
    let admin_port = free_port();
    let path = json!({"dataplaneTokenPath": "/var/run/token"});
    let _envoy = start(folder.path(), &bootstrap(&cp, admin_port, &token, path).await);
    connected(&cp, 1).await;
    let dump = config_dump(admin_port).await;
    assert!(dump.contains("redacted") && !dump.contains(&token));
}
