//! What the control plane says about itself.

use axum::body::Body;
use http::Method;
use meshspan_api::Settings;
use meshspan_model::Kind;
use meshspan_model::policy::PolicyKind;
use serde_json::json;

use crate::harness::{Api, document, federated, global, zone};

#[tokio::test]
async fn the_index() {
    let mut settings = Settings::new(zone());
    settings.version = "2.9.13".to_owned();
    settings.instance_id = "cp-1".to_owned();
    settings.hostname = "host".to_owned();
    settings.gui = "/gui".to_owned();
    let api = Api::with(settings);
    let expected = json!({
        "mode": "zone", "zone": "east", "meshspan": env!("CARGO_PKG_VERSION"),
        "hostname": "host", "product": "Kuma", "version": "2.9.13", "instanceId": "cp-1", "clusterId": "", "gui": "/gui",
    });
    let index = api.get("/").await.expect(200);
    assert_eq!(index.json(), expected);
    let own = concat!("Meshspan/", env!("CARGO_PKG_VERSION"), " (compatible with Kuma 2.9.13)");
    assert_eq!(index.headers["server"], own);
    assert_eq!(api.get("/nothing").await.expect(404).headers["server"], own);
}

#[tokio::test]
async fn types_of_resources() {
    let api = Api::new(federated());
    let body = api.get("/_resources").await.expect(200).json();
    let resources = body["resources"].as_array().unwrap();
    let names: Vec<_> = resources
        .iter()
        .map(|resource| resource["name"].as_str().unwrap())
        .collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(names, sorted);
    assert_eq!(names.len(), Kind::ALL.iter().filter(|kind| kind.info().in_api).count());
    let find = |name: &str| resources.iter().find(|resource| resource["name"] == name).unwrap();
    assert_eq!(
        find("MeshMultiZoneService"),
        &json!({
            "name": "MeshMultiZoneService", "path": "meshmultizoneservices", "scope": "Mesh", "readOnly": true,
            "singularDisplayName": "Mesh Multi Zone Service", "pluralDisplayName": "Mesh Multi Zone Services",
            "includeInFederation": true, "shortName": "mzsvc",
        })
    );
    assert_eq!(find("MeshTrafficPermission")["readOnly"], false);
    assert_eq!(find("MeshTrafficPermission")["policy"]["hasFromTargetRef"], true);
    assert_eq!(find("Mesh")["scope"], "Global");
    let policies = Api::new(global()).get("/policies").await.expect(200).json();
    let policies = policies["policies"].as_array().unwrap();
    assert_eq!(policies.len(), PolicyKind::ALL.len());
    let retry = policies.iter().find(|policy| policy["path"] == "meshretries").unwrap();
    assert_eq!(
        (&retry["isInbound"], &retry["isOutbound"]),
        (&json!(false), &json!(true))
    );
}

#[tokio::test]
async fn lookup_by_kri() {
    let api = Api::with_mesh(zone()).await;
    api.put("/meshes/default/meshservices/a", &document(Kind::MeshService).unwrap())
        .await
        .expect(201);
    let resource = api.get("/meshes/default/meshservices/a").await.json();
    let kri = resource["kri"].as_str().unwrap();
    assert_eq!(kri, "kri_msvc_default_east__a_");
    assert_eq!(api.get(&format!("/_kri/{kri}")).await.expect(200).json(), resource);
    assert_eq!(
        api.get(&format!("/_kri/{kri}8080")).await.expect(200).json(),
        resource,
        "a section of it"
    );
    assert_eq!(
        api.get(&format!("/_kri/{kri}?format=k8s")).await.expect(200).json()["kind"],
        "MeshService"
    );
    api.get("/_kri/kri_msvc_default_west__a_").await.expect(404);
    api.get("/_kri/kri_m____default_").await.expect(200);
    for bad in ["nonsense", "kri_msvc", "kri_nope_a_b_c_d_"] {
        let body = api.get(&format!("/_kri/{bad}")).await.expect(400).json();
        assert_eq!(body["title"], "Bad Request", "{bad}");
    }
}

#[tokio::test]
async fn the_store_is_copied_for_administrators_only() {
    let api = Api::new(global());
    let stranger = api.anonymous(Method::GET, "/_backup").body(Body::empty()).unwrap();
    let refused = api.send(stranger).await.expect(403);
    assert!(refused.text.contains("cannot copy the store"), "{}", refused.text);
    // A store in memory has nothing to copy, and says so.
    let refused = api.get("/_backup").await.expect(409).json();
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("KUMA_STORE_TYPE=memory"), "{detail}");
}
