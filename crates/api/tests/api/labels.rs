//! Labels and status over the life of a resource.

use meshspan_model::{Kind, ResourceKey};
use meshspan_store::{Store, Write};
use serde_json::json;

use crate::harness::{Api, document, federated, global, ignore_policy_warnings, zone};

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
    document["labels"] = json!({"kuma.io/display-name": "a", "k8s.kuma.io/namespace": "ns"});
    api.put(path, &document).await.expect(201);
    document["labels"] = json!({});
    api.put(path, &document).await.expect(200);
    let labels = api.get(path).await.json()["labels"].clone();
    assert_eq!(
        (&labels["kuma.io/display-name"], &labels["k8s.kuma.io/namespace"]),
        (&json!("a"), &json!("ns"))
    );
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
async fn nobody_takes_the_name_of_another() {
    let api = Api::with_mesh(global()).await;
    let mut timeout = document(Kind::MeshTimeout).unwrap();
    timeout["name"] = "evil".into();
    let path = "/meshes/default/meshtimeouts/evil";
    for (key, value) in [
        ("kuma.io/display-name", "victim"),
        ("kuma.io/zone", "east"),
        ("kuma.io/mesh", "other"),
        ("kuma.io/env", "kubernetes"),
        ("kuma.io/managed-by", "meshservice-generator"),
        ("kuma.io/effect", "Shadow"),
    ] {
        timeout["labels"] = json!({ key: value });
        let fields = api.put(path, &timeout).await.expect(400).fields();
        assert_eq!(fields, [format!("labels[\"{key}\"]")]);
    }
    let mut service = document(Kind::MeshMultiZoneService).unwrap();
    for (name, status) in [("redis", 201), ("redis.shop", 400), ("redis-2", 201)] {
        service["name"] = name.into();
        service["labels"] = json!({"k8s.kuma.io/namespace": "shop"});
        if name == "redis.shop" {
            service["labels"]["kuma.io/display-name"] = "redis".into();
        }
        let answer = api
            .put(&format!("/meshes/default/meshmultizoneservices/{name}"), &service)
            .await
            .expect(status);
        if status == 400 {
            assert_eq!(answer.fields(), ["labels[\"k8s.kuma.io/namespace\"]"]);
        }
    }
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
async fn names_of_every_length_can_be_written_back() {
    for mode in [zone(), federated(), global()] {
        let api = Api::with_mesh(mode.clone()).await;
        for kind in Kind::ALL.iter().copied().filter(|kind| kind.info().in_api) {
            let Some(mut document) = document(kind) else { continue };
            for length in [1, 63, 64, 247, 253] {
                let name = "n".repeat(length);
                let path = format!("{}/{name}", crate::harness::list_path(kind));
                document["name"] = name.into();
                document["labels"] = json!({"kuma.io/origin": mode.role().origin()});
                let created = api.put(&path, &document).await;
                if created.status != 201 {
                    // Some names are too long, and some kinds are written elsewhere; none is taken once and then refused.
                    assert!(
                        [400, 405].contains(&created.status.as_u16()),
                        "{kind}: {}",
                        created.text
                    );
                    assert!(length > 63 || created.status == 405, "{kind}: {}", created.text);
                    continue;
                }
                let read = api.get(&path).await.json();
                api.put(&path, &read).await.expect(200);
                assert_eq!(api.get(&path).await.json(), read, "{kind} {length}");
            }
        }
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
