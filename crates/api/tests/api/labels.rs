//! Labels and status over the life of a resource.

use meshspan_model::{Kind, ResourceKey};
use meshspan_store::{Store, Write};
use serde_json::json;

use crate::harness::{Api, document, global, ignore_policy_warnings, zone};

#[tokio::test]
async fn labels_are_computed_on_create_and_update() {
    let api = Api::with_mesh(zone()).await;
    let path = "/meshes/default/meshservices/a";
    let mut document = document(Kind::MeshService).unwrap();
    document["labels"] = json!({"team": "core"});
    let expected = json!({
        "kuma.io/display-name": "a", "kuma.io/env": "universal", "kuma.io/mesh": "default",
        "kuma.io/origin": "zone", "kuma.io/zone": "east", "team": "core",
    });
    for status in [201, 200] {
        api.put(path, &document).await.expect(status);
        assert_eq!(api.get(path).await.json()["labels"], expected);
    }
    document["labels"] = json!({});
    api.put(path, &document).await.expect(200);
    assert_eq!(
        api.get(path).await.json()["labels"].get("team"),
        None,
        "a user's label goes with the file"
    );

    let api = Api::with_mesh(global()).await;
    let document = crate::harness::document(Kind::MeshMultiZoneService).unwrap();
    api.put("/meshes/default/meshmultizoneservices/a", &document)
        .await
        .expect(201);
    let labels = api.get("/meshes/default/meshmultizoneservices/a").await.json()["labels"].clone();
    assert_eq!(
        labels,
        json!({"kuma.io/display-name": "a", "kuma.io/mesh": "default", "kuma.io/origin": "global"})
    );
}

#[tokio::test]
async fn what_identifies_a_resource_stays() {
    let api = Api::with_mesh(zone()).await;
    let path = "/meshes/default/meshservices/a.ns";
    let mut document = document(Kind::MeshService).unwrap();
    document["name"] = "a.ns".into();
    document["labels"] = json!({"kuma.io/display-name": "a"});
    api.put(path, &document).await.expect(201);
    document["labels"] = json!({});
    api.put(path, &document).await.expect(200);
    assert_eq!(api.get(path).await.json()["labels"]["kuma.io/display-name"], "a");
    document["labels"] = json!({"kuma.io/zone": "west"});
    assert!(
        api.put(path, &document)
            .await
            .expect(400)
            .fields()
            .contains(&"labels[\"kuma.io/zone\"]".to_owned())
    );
}

#[tokio::test]
async fn status_belongs_to_the_control_plane() {
    let api = Api::with_mesh(zone()).await;
    let path = "/meshes/default/meshmultizoneservices/a";
    let mut document = document(Kind::MeshMultiZoneService).unwrap();
    document["status"] = json!({"vips": [{"ip": "6.6.6.6"}]});
    api.put(path, &document).await.expect(201);
    assert_eq!(api.get(path).await.json()["status"], json!({}));
    let key = ResourceKey::new(Kind::MeshMultiZoneService, "default", "a");
    let status = json!({"vips": [{"ip": "243.0.0.1"}]});
    api.store
        .apply(vec![Write::put_status(key, status.clone())])
        .await
        .unwrap();
    document["spec"]["ports"][0]["port"] = 9999.into();
    api.put(path, &document).await.expect(200);
    let body = api.get(path).await.json();
    assert_eq!(
        (&body["status"], &body["spec"]["ports"][0]["port"]),
        (&status, &json!(9999))
    );
}

#[tokio::test]
async fn what_is_read_can_be_written_back() {
    let api = Api::with_mesh(zone()).await;
    for kind in Kind::ALL.iter().copied().filter(|kind| kind.info().in_api) {
        let Some(document) = document(kind) else { continue };
        let path = format!("{}/a", crate::harness::list_path(kind));
        api.put(&path, &document).await.expect(201);
        let read = api.get(&path).await.json();
        let answer = api.put(&path, &read).await.expect(200);
        assert!(!answer.text.contains("unknown field"), "{kind}: {}", answer.text);
        let answer = ignore_policy_warnings(kind, answer.json());
        assert_eq!(answer, json!({}), "no warnings about our own fields: {kind}");
        assert_eq!(api.get(&path).await.json(), read, "{kind}");
    }
}

#[tokio::test]
async fn the_kubernetes_form() {
    let api = Api::with_mesh(zone()).await;
    for kind in Kind::ALL.iter().copied().filter(|kind| kind.info().in_api) {
        let Some(document) = document(kind) else { continue };
        let path = format!("{}/a", crate::harness::list_path(kind));
        api.put(&path, &document).await.expect(201);
        for format in ["kubernetes", "k8s"] {
            let object = api.get(&format!("{path}?format={format}")).await.expect(200).json();
            let expected = match kind {
                Kind::Secret | Kind::GlobalSecret => ("v1", "Secret"),
                kind => ("kuma.io/v1alpha1", kind.name()),
            };
            assert_eq!(
                (object["apiVersion"].as_str(), object["kind"].as_str()),
                (Some(expected.0), Some(expected.1))
            );
            assert_eq!(object["metadata"]["name"], "a");
        }
        let universal = api.get(&format!("{path}?format=universal")).await.json();
        assert_eq!(universal, api.get(&path).await.json());
        assert_eq!(
            api.get(&format!("{path}?format=xml")).await.expect(400).fields(),
            ["format"]
        );
    }
    let object = api
        .get("/meshes/default/secrets/a?format=k8s&namespace=other")
        .await
        .json();
    assert_eq!(
        (&object["type"], &object["metadata"]["namespace"]),
        (&json!("system.kuma.io/secret"), &json!("other"))
    );
    let object = api.get("/global-secrets/a?format=k8s").await.json();
    assert_eq!(object["type"], "system.kuma.io/global-secret");
    assert_eq!(object["metadata"]["namespace"], "kuma-system");
}
