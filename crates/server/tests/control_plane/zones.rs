//! A global and a zone: who may be the zone, with the tokens that the global makes.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use meshspan_identity::secret_names;
use meshspan_model::kinds::secret::GlobalSecret;
use meshspan_model::kinds::zone_insight::ZoneInsight;
use meshspan_model::{Kind, Resource};
use meshspan_server::settings::{Mode, Settings};
use meshspan_store::{MemoryStore, Snapshot};
use serde_json::json;
use tempfile::TempDir;

use crate::support::ControlPlane;

async fn global() -> ControlPlane {
    ControlPlane::start_with(|settings| {
        settings.mode = Mode::Global;
        settings.multizone.global.kds.grpc_port = 0;
    })
    .await
}

/// The settings of zone `east` under a global, with its token in a file.
fn under(global: &ControlPlane, token: &Path) -> impl FnOnce(&mut Settings) {
    let port = global.addresses.sync.unwrap().port();
    let ca = global.folder.path().join("ca.pem").display().to_string();
    let token = token.display().to_string();
    move |settings| {
        settings.multizone.zone.global_address = format!("grpcs://localhost:{port}");
        settings.multizone.zone.kds.root_ca_file = ca;
        settings.multizone.zone.kds.auth.cp_token_path = token;
    }
}

/// Makes a token through the API, as `generate zone-token` does, and gives its id.
async fn renew(global: &ControlPlane, file: &Path) -> String {
    let request = json!({"zone": "east", "scope": ["cp"]});
    let (status, token) = global.rest(Method::POST, "/tokens/zone", Some(&request)).await;
    assert_eq!(status, 200, "{token}");
    std::fs::write(file, &token).unwrap();
    let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1).unwrap())
        .unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    claims["jti"].as_str().unwrap().to_owned()
}

async fn online(global: &ControlPlane, expected: bool) {
    let is_so = |snapshot: &Snapshot| {
        let insight = snapshot.list(Kind::ZoneInsight, None).next();
        let online = insight.is_some_and(|insight| insight.resource.parse::<ZoneInsight>().unwrap().is_online());
        (online == expected).then_some(())
    };
    global.until(&format!("zone online: {expected}"), is_so).await;
}

#[tokio::test]
async fn a_zone_is_connected_for_as_long_as_its_token_holds() {
    let global = global().await;
    let folder = Arc::new(TempDir::new().unwrap());
    let file = folder.path().join("token");
    let id = renew(&global, &file).await;
    let zone = ControlPlane::start_on(Arc::new(MemoryStore::new()), folder.clone(), under(&global, &file)).await;
    online(&global, true).await;
    let has_mesh = |snapshot: &Snapshot| snapshot.list(Kind::Mesh, None).next().map(drop);
    zone.until("the mesh in the zone", has_mesh).await;

    let revoked = GlobalSecret {
        data: BASE64_STANDARD.encode(id),
    };
    global
        .put(Resource::of("", secret_names::ZONE_TOKEN_REVOCATIONS, &revoked))
        .await;
    online(&global, false).await;
    // The file is read again at each connection.
    renew(&global, &file).await;
    online(&global, true).await;
    global.delete(Kind::GlobalSecret, "", "zone-token-signing-key-1").await;
    online(&global, false).await;
    zone.stop().await;
    global.stop().await;
}
