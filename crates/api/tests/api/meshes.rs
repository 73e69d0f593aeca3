//! Meshes come with their secrets and go with their contents.

use meshspan_api::provisioning;
use meshspan_model::kinds::mesh::Mesh;
use meshspan_model::policy::PolicyKind;
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::{Store, Write};
use serde_json::{Value, json};

use crate::harness::{Api, NOW, dataplane, document, global, zone};

fn mesh(name: &str, mtls: Value) -> Value {
    json!({"type": "Mesh", "name": name, "mtls": mtls})
}

fn builtin(backend: &str) -> Value {
    json!({"enabledBackend": backend, "backends": [{"name": backend, "type": "builtin"}]})
}

fn secret_names(api: &Api, mesh: &str) -> Vec<String> {
    api.store
        .list(Kind::Secret, Some(mesh))
        .iter()
        .map(|stored| stored.resource.name.clone())
        .collect()
}

#[tokio::test]
async fn a_mesh_has_its_secrets_from_the_first_moment() {
    let api = Api::new(global());
    let mut changes = api.store.subscribe();
    api.put("/meshes/shop", &mesh("shop", builtin("ca-1")))
        .await
        .expect(201);
    let expected = [
        "dataplane-token-signing-key-shop-1",
        "shop.ca-builtin-cert-ca-1",
        "shop.ca-builtin-key-ca-1",
    ];
    assert_eq!(secret_names(&api, "shop"), expected);
    let created = changes.next().await.unwrap().changes.clone();
    let policies = created
        .iter()
        .filter(|change| PolicyKind::of(change.key.kind).is_some());
    assert_eq!((created.len(), policies.count()), (8, 4), "one transaction");

    let cert = api.stored(Kind::Secret, "shop", "shop.ca-builtin-cert-ca-1").unwrap();
    api.put("/meshes/shop", &mesh("shop", builtin("ca-1")))
        .await
        .expect(200);
    let after = api.stored(Kind::Secret, "shop", "shop.ca-builtin-cert-ca-1").unwrap();
    assert_eq!(cert.spec, after.spec, "an update keeps the CA");
}

#[tokio::test]
async fn mtls_enabled_later_gets_a_ca() {
    let api = Api::new(zone());
    api.put("/meshes/shop", &mesh("shop", Value::Null)).await.expect(201);
    assert_eq!(secret_names(&api, "shop"), ["dataplane-token-signing-key-shop-1"]);
    api.put("/meshes/shop", &mesh("shop", builtin("ca-1")))
        .await
        .expect(200);
    assert_eq!(secret_names(&api, "shop").len(), 3);
}

#[tokio::test]
async fn the_first_signing_key_does_not_return_after_a_rotation() {
    let api = Api::new(global());
    api.put("/meshes/shop", &mesh("shop", Value::Null)).await.expect(201);
    let mut key = api
        .get("/meshes/shop/secrets/dataplane-token-signing-key-shop-1")
        .await
        .json();
    key["name"] = "dataplane-token-signing-key-shop-2".into();
    api.put("/meshes/shop/secrets/dataplane-token-signing-key-shop-2", &key)
        .await
        .expect(201);
    api.delete("/meshes/shop/secrets/dataplane-token-signing-key-shop-1")
        .await
        .expect(200);
    provisioning::ensure_mesh_secrets(&*api.store, "shop", &Mesh::default(), NOW)
        .await
        .unwrap();
    assert_eq!(secret_names(&api, "shop"), ["dataplane-token-signing-key-shop-2"]);
    // Not by the API, which keeps the last one.
    let key = ResourceKey::new(Kind::Secret, "shop", "dataplane-token-signing-key-shop-2");
    api.store.apply(vec![Write::delete(key)]).await.unwrap();
    provisioning::ensure_mesh_secrets(&*api.store, "shop", &Mesh::default(), NOW)
        .await
        .unwrap();
    assert_eq!(secret_names(&api, "shop"), ["dataplane-token-signing-key-shop-1"]);
}

#[tokio::test]
async fn a_mesh_goes_with_everything_in_it() {
    let api = Api::new(zone());
    api.put("/meshes/default", &mesh("default", Value::Null))
        .await
        .expect(201);
    for kind in [
        Kind::MeshService,
        Kind::MeshMultiZoneService,
        Kind::MeshTrafficPermission,
        Kind::Secret,
    ] {
        let path = format!("{}/a", crate::harness::list_path(kind));
        api.put(&path, &document(kind).unwrap()).await.expect(201);
    }
    api.put("/meshes/default/dataplanes/web", &dataplane("web", "web"))
        .await
        .expect(201);
    let answer = api.delete("/meshes/default").await.expect(400);
    assert_eq!(answer.fields(), ["mesh"]);
    assert_eq!(answer.json()["title"], "Could not delete a resource");
    api.delete("/meshes/default/dataplanes/web").await.expect(200);
    api.delete("/meshes/default").await.expect(200);
    assert_eq!(api.store.list_all(), []);
}

#[tokio::test]
async fn unsafe_delete_asks_nothing() {
    let mut settings = meshspan_api::Settings::new(zone());
    settings.unsafe_delete = true;
    let api = Api::with(settings);
    api.put("/meshes/default", &mesh("default", Value::Null))
        .await
        .expect(201);
    api.put("/meshes/default/dataplanes/web", &dataplane("web", "web"))
        .await
        .expect(201);
    api.delete("/meshes/default").await.expect(200);
    assert_eq!(api.store.list_all(), []);
}

#[tokio::test]
async fn the_backend_does_not_change_under_way() {
    let api = Api::new(global());
    api.put("/meshes/shop", &mesh("shop", builtin("ca-1")))
        .await
        .expect(201);
    let answer = api
        .put("/meshes/shop", &mesh("shop", builtin("ca-2")))
        .await
        .expect(400);
    assert_eq!(answer.fields(), ["mtls.enabledBackend"]);
    api.put("/meshes/shop", &mesh("shop", Value::Null)).await.expect(200);
    api.put("/meshes/shop", &mesh("shop", builtin("ca-2")))
        .await
        .expect(200);
    assert!(secret_names(&api, "shop").contains(&"shop.ca-builtin-cert-ca-2".to_owned()));
}

#[tokio::test]
async fn bad_backends_are_named() {
    let api = Api::new(global());
    api.seed(Resource::new(Kind::Mesh, "", "shop", json!({}))).await;
    let provided = |cert: Value, key: Value| json!({"backends": [{"name": "ca-1", "type": "provided", "conf": {"cert": cert, "key": key}}]});
    let text = |text: &str| json!({ "inlineString": text });
    for (mtls, field) in [
        (json!({"enabledBackend": "ca-1"}), "mtls.enabledBackend"),
        (
            json!({"backends": [{"name": "ca-1", "type": "magic"}]}),
            "mtls.backends[0].type",
        ),
        (
            json!({"backends": [{"name": "ca-1", "type": "builtin", "conf": {"caCert": {"RSAbits": 2049}}}]}),
            "mtls.backends[0].conf.caCert.RSAbits",
        ),
        (
            provided(text("nonsense"), text("nonsense")),
            "mtls.backends[0].conf.cert",
        ),
        (
            provided(json!({"secret": "none"}), text("x")),
            "mtls.backends[0].conf.cert.secret",
        ),
        (
            provided(json!({"inline": "%"}), text("x")),
            "mtls.backends[0].conf.cert.inline",
        ),
        (provided(json!({}), text("x")), "mtls.backends[0].conf.cert"),
    ] {
        let answer = api.put("/meshes/shop", &mesh("shop", mtls)).await.expect(400);
        assert!(
            answer.fields().iter().any(|found| found == field),
            "{field}: {}",
            answer.text
        );
    }
    assert!(api.stored(Kind::Mesh, "", "shop").unwrap().spec.get("mtls").is_none());
}

#[tokio::test]
async fn a_provided_ca_and_its_secrets() {
    let api = Api::new(global());
    api.put("/meshes/shop", &mesh("shop", builtin("ca-1")))
        .await
        .expect(201);
    api.put("/meshes/shop", &mesh("shop", Value::Null)).await.expect(200);
    let backend =
        |conf: Value| json!({"enabledBackend": "own", "backends": [{"name": "own", "type": "provided", "conf": conf}]});
    let conf = json!({
        "cert": {"secret": "shop.ca-builtin-cert-ca-1"}, "key": {"secret": "shop.ca-builtin-key-ca-1"},
    });
    api.put("/meshes/shop", &mesh("shop", backend(conf))).await.expect(200);
    for secret in ["shop.ca-builtin-cert-ca-1", "shop.ca-builtin-key-ca-1"] {
        assert_eq!(
            api.delete(&format!("/meshes/shop/secrets/{secret}"))
                .await
                .expect(400)
                .fields(),
            ["name"]
        );
    }
    api.put("/meshes/shop", &mesh("shop", Value::Null)).await.expect(200);
    api.delete("/meshes/shop/secrets/shop.ca-builtin-cert-ca-1")
        .await
        .expect(200);
}

#[tokio::test]
async fn secrets_of_a_builtin_backend_stay() {
    let api = Api::new(global());
    api.put("/meshes/shop", &mesh("shop", builtin("ca-1")))
        .await
        .expect(201);
    for secret in ["shop.ca-builtin-cert-ca-1", "shop.ca-builtin-key-ca-1"] {
        assert_eq!(
            api.delete(&format!("/meshes/shop/secrets/{secret}"))
                .await
                .expect(400)
                .fields(),
            ["name"]
        );
    }
}
