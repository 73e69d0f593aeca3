//! What keeps a control plane from starting is said with the remedy.

use std::fs;
use std::sync::Arc;

use meshspan_server::Components;
use meshspan_server::settings::Settings;
use meshspan_store::MemoryStore;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::control_plane::{crypto, settings};

async fn failure(change: impl FnOnce(&TempDir, &mut Settings)) -> String {
    crypto();
    let folder = TempDir::new().unwrap();
    let mut settings = settings(folder.path());
    change(&folder, &mut settings);
    let components = Components::new();
    let store = Arc::new(MemoryStore::new());
    let error = meshspan_server::start(settings, store, &components).await;
    components.stop().cancel();
    components.tasks().close();
    components.tasks().wait().await;
    format!("{:#}", error.expect_err("it does not start"))
}

#[track_caller]
fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
}

#[tokio::test]
async fn a_taken_port() {
    let taken = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = failure(|_, settings| settings.api_server.http.port = port).await;
    says(&error, &["the API", &port.to_string(), "KUMA_API_SERVER_HTTP_PORT"]);
    let error = failure(|_, settings| settings.dp_server.port = port).await;
    says(&error, &["data plane server", &port.to_string(), "KUMA_DP_SERVER_PORT"]);
    let error = failure(|_, settings| settings.diagnostics.server_port = port).await;
    says(&error, &["KUMA_DIAGNOSTICS_SERVER_PORT"]);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used() {
    let error = failure(|_, settings| {
        settings.dp_server.tls_cert_file = "/nowhere/cert.pem".into();
        settings.dp_server.tls_key_file = "/nowhere/key.pem".into();
    })
    .await;
    says(&error, &["dpServer.tlsCertFile", "/nowhere/cert.pem"]);

    let error = failure(|_, settings| settings.dp_server.tls_cert_file = "/nowhere/cert.pem".into()).await;
    says(&error, &["dpServer.tlsCertFile", "dpServer.tlsKeyFile", "together"]);
    let error = failure(|_, settings| settings.general.tls_key_file = "/nowhere/key.pem".into()).await;
    says(&error, &["general.tlsCertFile", "general.tlsKeyFile", "together"]);

    let error = failure(|folder, settings| {
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
        fs::write(&cert, "no certificate").unwrap();
        fs::write(&key, "no key").unwrap();
        settings.general.tls_cert_file = cert.to_str().unwrap().into();
        settings.general.tls_key_file = key.to_str().unwrap().into();
    })
    .await;
    says(&error, &["general.tlsCertFile", "cert.pem", "no certificate"]);
}

#[tokio::test]
async fn a_key_of_another_certificate() {
    crypto();
    let folder = TempDir::new().unwrap();
    let now = time::OffsetDateTime::now_utc();
    let make = || {
        meshspan_identity::ServerCertificate::generate(&["localhost".to_owned()], now, time::Duration::days(1)).unwrap()
    };
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    fs::write(&cert, make().cert_pem).unwrap();
    fs::write(&key, make().key_pem).unwrap();
    let error = failure(|_, settings| {
        settings.general.tls_cert_file = cert.to_str().unwrap().into();
        settings.general.tls_key_file = key.to_str().unwrap().into();
    })
    .await;
    says(&error, &["general.tlsCertFile", "general.tlsKeyFile"]);
}

#[tokio::test]
async fn a_work_folder_that_cannot_be_written() {
    // A folder below a file cannot be made by anybody, root included.
    let error = failure(|folder, settings| {
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        settings.general.work_dir = file.join("folder").to_str().unwrap().into();
    })
    .await;
    says(&error, &["KUMA_GENERAL_WORK_DIR", "file/folder"]);
}

#[tokio::test]
async fn the_made_key_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let cp = crate::support::ControlPlane::start().await;
    let mode = |name: &str| {
        let file = cp.folder.path().join(name);
        fs::metadata(file).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("tls-key.pem"), 0o600);
}

#[tokio::test]
async fn a_global_serves_zones_instead_of_proxies() {
    let cp = crate::support::ControlPlane::start_with(|settings| {
        settings.mode = meshspan_server::settings::Mode::Global;
        settings.multizone.global.kds.grpc_port = 0;
        settings.diagnostics.server_port = 0;
    })
    .await;
    assert!(cp.addresses.sync.is_some() && cp.addresses.api.is_some());
    assert!(cp.addresses.data_plane.is_none() && cp.addresses.diagnostics.is_none());
    let (status, body) = cp.rest(http::Method::GET, "/meshes/default", None).await;
    assert_eq!(status, http::StatusCode::OK, "{body}");
    cp.stop().await;
}
