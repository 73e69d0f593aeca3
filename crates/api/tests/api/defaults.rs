//! What a control plane creates at start.

use meshspan_api::default_resources::ensure_defaults;
use meshspan_api::{Mode, Settings};
use meshspan_model::policy::PolicyKind;
use meshspan_model::{Kind, Resource};
use meshspan_store::{MemoryStore, Store, Write};
use serde_json::json;

use crate::harness::{Api, NOW, federated, global, zone};

fn keys(store: &MemoryStore) -> Vec<String> {
    store
        .list_all()
        .iter()
        .map(|stored| stored.resource.key().to_string())
        .collect()
}

async fn started(mode: Mode) -> Api {
    let api = Api::new(mode);
    let (store, settings) = (api.store.clone(), api.settings.clone());
    // As a task of its own, as a control plane starts it.
    tokio::spawn(async move { ensure_defaults(&*store, &settings, NOW).await })
        .await
        .unwrap()
        .unwrap();
    api
}

#[tokio::test]
async fn of_a_global() {
    let api = started(global()).await;
    assert_eq!(
        keys(&api.store),
        [
            "Mesh default",
            "HostnameGenerator synced-headless-kube-mesh-service",
            "HostnameGenerator synced-kube-mesh-service",
            "HostnameGenerator synced-mesh-external-service",
            "HostnameGenerator synced-mesh-multi-zone-service",
            "HostnameGenerator synced-universal-mesh-service",
            "MeshTimeout default/mesh-gateways-timeout-all-default",
            "MeshTimeout default/mesh-timeout-all-default",
            "MeshCircuitBreaker default/mesh-circuit-breaker-all-default",
            "MeshRetry default/mesh-retry-all-default",
            "Secret default/dataplane-token-signing-key-default-1",
            "GlobalSecret admin-user-token",
            "GlobalSecret user-token-signing-key-1",
            "GlobalSecret zone-token-signing-key-1",
            "Config kuma-cluster-id",
        ]
    );
    let mesh = api.get("/meshes/default").await.json();
    assert_eq!(mesh["meshServices"]["mode"], "Exclusive");
    let id = api.get("/").await.json()["clusterId"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 36);
    let generator = api
        .get("/hostnamegenerators/synced-mesh-multi-zone-service")
        .await
        .json();
    assert_eq!(generator["spec"]["template"], "{{ .DisplayName }}.mzsvc.mesh.local");
    assert_eq!(generator["labels"]["kuma.io/origin"], "global");
}

#[tokio::test]
async fn of_a_zone() {
    let api = started(zone()).await;
    assert_eq!(
        keys(&api.store),
        [
            "Mesh default",
            "Zone east",
            "HostnameGenerator local-mesh-external-service",
            "HostnameGenerator local-universal-mesh-service",
            "MeshTimeout default/mesh-gateways-timeout-all-default",
            "MeshTimeout default/mesh-timeout-all-default",
            "MeshCircuitBreaker default/mesh-circuit-breaker-all-default",
            "MeshRetry default/mesh-retry-all-default",
            "Secret default/dataplane-token-signing-key-default-1",
            "GlobalSecret admin-user-token",
            "GlobalSecret user-token-signing-key-1",
            "GlobalSecret zone-token-signing-key-1",
            "Config kuma-cluster-id",
        ]
    );
    let generator = api.get("/hostnamegenerators/local-universal-mesh-service").await.json();
    assert_eq!(generator["spec"]["template"], "{{ .DisplayName }}.svc.mesh.local");
    assert_eq!(generator["labels"]["kuma.io/origin"], "zone");
    assert_eq!(generator["labels"]["kuma.io/zone"], "east");
}

#[tokio::test]
async fn of_a_federated_zone() {
    let api = started(federated()).await;
    assert_eq!(
        keys(&api.store),
        [
            "Zone east",
            "HostnameGenerator local-mesh-external-service",
            "HostnameGenerator local-universal-mesh-service",
            "GlobalSecret admin-user-token",
            "GlobalSecret user-token-signing-key-1",
        ]
    );
}

#[tokio::test]
async fn a_second_start_changes_nothing_and_restores_what_is_missing() {
    let api = started(global()).await;
    let mut mesh = api.get("/meshes/default").await.json();
    mesh["meshServices"]["mode"] = "Disabled".into();
    api.put("/meshes/default", &mesh).await.expect(200);
    let before = api.store.list_all();
    ensure_defaults(&*api.store, &api.settings, NOW).await.unwrap();
    assert_eq!(api.store.list_all(), before, "an edited default survives");

    let all = keys(&api.store);
    for key in before.iter().map(|stored| stored.resource.key()) {
        if PolicyKind::of(key.kind).is_some() {
            continue;
        }
        api.store.apply(vec![Write::Remove { key: key.clone() }]).await.unwrap();
        ensure_defaults(&*api.store, &api.settings, NOW).await.unwrap();
        assert_eq!(keys(&api.store), all, "{key} returns");
    }
}

#[tokio::test]
async fn deleted_policies_stay_deleted() {
    let api = started(zone()).await;
    let path = "/meshes/default/meshretries/mesh-retry-all-default";
    let retry = api.get(path).await.expect(200).json();
    assert_eq!(
        retry["spec"]["to"][0]["default"]["http"]["hostSelection"][0]["updateFrequency"],
        1
    );
    assert_eq!(retry["labels"]["kuma.io/policy-role"], "system");
    assert_eq!(retry["labels"]["kuma.io/origin"], "zone");
    api.delete(path).await.expect(200);
    ensure_defaults(&*api.store, &api.settings, NOW).await.unwrap();
    api.get(path).await.expect(404);
    let mesh = api.get("/meshes/default").await.json();
    api.put("/meshes/default", &mesh).await.expect(200);
    api.get(path).await.expect(404);
}

#[tokio::test]
async fn first_policies_of_a_mesh_go_with_it_and_can_be_declined() {
    let api = Api::new(global());
    let names = || -> Vec<String> {
        let stored = api.store.list_all();
        let policies = stored
            .iter()
            .filter(|stored| PolicyKind::of(stored.resource.kind).is_some());
        policies.map(|stored| stored.resource.name.clone()).collect()
    };
    api.put("/meshes/shop", &json!({"type": "Mesh", "name": "shop"}))
        .await
        .expect(201);
    assert_eq!(
        names(),
        [
            "mesh-gateways-timeout-all-shop",
            "mesh-timeout-all-shop",
            "mesh-circuit-breaker-all-shop",
            "mesh-retry-all-shop"
        ]
    );
    api.delete("/meshes/shop").await.expect(200);
    assert!(names().is_empty());
    for (declined, left) in [(json!(["*"]), 0), (json!(["MeshTimeout", "MeshRetry"]), 1)] {
        let mesh = json!({"type": "Mesh", "name": "shop", "skipCreatingInitialPolicies": declined});
        api.put("/meshes/shop", &mesh).await.expect(201);
        assert_eq!(names().len(), left, "{declined}");
        api.delete("/meshes/shop").await.expect(200);
    }
}

#[tokio::test]
async fn a_zone_forgets_its_old_name() {
    let api = Api::new(zone());
    api.seed(Resource::new(Kind::Zone, "", "old", json!({}))).await;
    ensure_defaults(&*api.store, &api.settings, NOW).await.unwrap();
    assert!(api.stored(Kind::Zone, "", "old").is_none());
    assert!(api.stored(Kind::Zone, "", "east").is_some());
}

#[tokio::test]
async fn what_is_switched_off_is_not_created() {
    let mut settings = Settings::new(zone());
    settings.defaults.skip_mesh_creation = true;
    settings.defaults.skip_hostname_generators = true;
    settings.defaults.bootstrap_admin_token = false;
    let api = Api::with(settings);
    ensure_defaults(&*api.store, &api.settings, NOW).await.unwrap();
    assert_eq!(
        keys(&api.store),
        [
            "Zone east",
            "GlobalSecret user-token-signing-key-1",
            "GlobalSecret zone-token-signing-key-1",
            "Config kuma-cluster-id",
        ]
    );
}

#[tokio::test]
async fn one_failure_does_not_hold_up_the_rest() {
    let api = Api::new(zone());
    // A key that cannot be read: the administrator's token cannot be signed with it.
    api.seed(Resource::new(
        Kind::GlobalSecret,
        "",
        "user-token-signing-key-1",
        json!({"data": "YWJj"}),
    ))
    .await;
    let failures = ensure_defaults(&*api.store, &api.settings, NOW).await.unwrap_err();
    assert_eq!(failures.0.len(), 1, "{failures}");
    assert!(failures.to_string().contains("user-token-signing-key-1"), "{failures}");
    assert!(api.stored(Kind::Mesh, "", "default").is_some());
    assert!(
        api.stored(Kind::HostnameGenerator, "", "local-universal-mesh-service")
            .is_some()
    );
}
