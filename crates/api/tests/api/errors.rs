//! Bad requests: which status, which field, which shape.

use axum::body::Body;
use http::{Method, header};
use meshspan_model::{Kind, Resource};
use serde_json::json;

use crate::harness::{Api, dataplane, document, federated, global, zone};

#[tokio::test]
async fn the_error_object() {
    let api = Api::with_mesh(zone()).await;
    let mut bad = dataplane("a", "web");
    bad["networking"]["address"] = "".into();
    let answer = api.put("/meshes/default/dataplanes/a", &bad).await.expect(400);
    assert_eq!(answer.fields(), ["networking.address"]);
    let body = answer.json();
    assert_eq!(body["type"], "/std-errors");
    assert_eq!(body["status"], 400);
    assert_eq!(body["title"], "Could not process a resource");
    assert_eq!(body["detail"], "Resource is not valid");
    assert_eq!(body["invalid_parameters"][0]["source"], "body");
    assert!(
        answer.text.starts_with("{\n \"type\""),
        "indented by one space: {}",
        answer.text
    );
    assert!(api.stored(Kind::Dataplane, "default", "a").is_none());

    let body = api.get("/meshes/default/dataplanes/a").await.expect(404).json();
    assert_eq!(
        (&body["title"], &body["detail"]),
        (&"Could not retrieve a resource".into(), &"Not found".into())
    );
    let body = api.delete("/meshes/default/dataplanes/a").await.expect(404).json();
    assert_eq!(
        (&body["title"], &body["detail"]),
        (&"Could not delete a resource".into(), &"Not found".into())
    );
}

#[tokio::test]
async fn headers_must_fit_the_url() {
    let api = Api::with_mesh(global()).await;
    let path = "/meshes/default/meshmultizoneservices/a";
    for (change, field) in [
        (json!({"name": "b"}), "name"),
        (json!({"mesh": "other"}), "mesh"),
        (json!({"type": "MeshService"}), "type"),
        (json!({"type": "Nope"}), "type"),
        (json!({"type": null}), "type"),
        (
            json!({"labels": {"kuma.io/origin": "moon"}}),
            "labels[\"kuma.io/origin\"]",
        ),
        (
            json!({"labels": {"kuma.io/origin": "zone"}}),
            "labels[\"kuma.io/origin\"]",
        ),
        (json!({"labels": {"a b": "c"}}), "labels[\"a b\"]"),
        (json!({"spec": null}), "spec"),
        (
            json!({"spec": {"selector": {"meshService": {"matchLabels": {"a": "b"}}}}}),
            "spec.ports",
        ),
        (
            json!({"spec": {"ports": [{"port": 1}]}}),
            "spec.selector.meshService.matchLabels",
        ),
    ] {
        let mut document = document(Kind::MeshMultiZoneService).unwrap();
        for (key, value) in change.as_object().unwrap() {
            document[key] = value.clone();
        }
        let answer = api.put(path, &document).await.expect(400);
        assert!(
            answer.fields().iter().any(|found| found == field),
            "{field}: {}",
            answer.text
        );
    }
    assert!(api.stored(Kind::MeshMultiZoneService, "default", "a").is_none());
}

#[tokio::test]
async fn all_violations_at_once() {
    let api = Api::with_mesh(global()).await;
    let mut document = document(Kind::MeshMultiZoneService).unwrap();
    document["name"] = "b".into();
    document["labels"] = json!({"a b": "c"});
    let fields = api
        .put("/meshes/default/meshmultizoneservices/a", &document)
        .await
        .expect(400)
        .fields();
    assert_eq!(fields, ["name", "labels[\"a b\"]"]);
}

#[tokio::test]
async fn names() {
    let api = Api::with_mesh(zone()).await;
    for (kind, name, good) in [
        (Kind::MeshService, "1web", false),
        (Kind::MeshService, "web.ns", false),
        (Kind::MeshService, "web", true),
        (Kind::Zone, "a.b", false),
        (Kind::Dataplane, "web-1.ns", true),
        (Kind::Dataplane, "web_1", false),
        (Kind::MeshTrafficPermission, "1.a", true),
    ] {
        let mut document = document(kind).unwrap();
        document["name"] = name.into();
        let answer = api
            .put(&format!("{}/{name}", crate::harness::list_path(kind)), &document)
            .await;
        assert_eq!(
            answer.status,
            if good { 201 } else { 400 },
            "{kind} {name}: {}",
            answer.text
        );
        if !good {
            assert_eq!(answer.fields(), ["name"], "{kind} {name}");
        }
    }
    // What was made from a Kubernetes document has its namespace in the name.
    let mut document = document(Kind::MeshService).unwrap();
    document["name"] = "web.ns".into();
    document["labels"] = json!({"kuma.io/display-name": "web", "k8s.kuma.io/namespace": "ns"});
    api.put("/meshes/default/meshservices/web.ns", &document)
        .await
        .expect(201);
}

#[tokio::test]
async fn legacy_names_are_tolerated_on_update() {
    let api = Api::with_mesh(zone()).await;
    let mut document = document(Kind::MeshService).unwrap();
    document["name"] = "1_web".into();
    api.seed(Resource::new(
        Kind::MeshService,
        "default",
        "1_web",
        document["spec"].clone(),
    ))
    .await;
    let body = api
        .put("/meshes/default/meshservices/1_web", &document)
        .await
        .expect(200)
        .json();
    assert!(body["warnings"][0].as_str().unwrap().contains("1_web"), "{body}");
}

#[tokio::test]
async fn unknown_fields_are_warnings() {
    let api = Api::with_mesh(zone()).await;
    let mut document = dataplane("a", "web");
    document["networking"]["colour"] = "red".into();
    let body = api
        .put("/meshes/default/dataplanes/a", &document)
        .await
        .expect(201)
        .json();
    assert!(
        body["warnings"][0].as_str().unwrap().contains("networking.colour"),
        "{body}"
    );
}

#[tokio::test]
async fn federated_zones_demand_the_origin() {
    let api = Api::with_mesh(federated()).await;
    let path = "/meshes/default/meshservices/a";
    let mut document = document(Kind::MeshService).unwrap();
    assert_eq!(
        api.put(path, &document).await.expect(400).fields(),
        ["labels[\"kuma.io/origin\"]"]
    );
    document["labels"] = json!({"kuma.io/origin": "zone", "kuma.io/zone": "west"});
    assert_eq!(
        api.put(path, &document).await.expect(400).fields(),
        ["labels[\"kuma.io/zone\"]"]
    );
    document["labels"] = json!({"kuma.io/origin": "zone"});
    api.put(path, &document).await.expect(201);
    // The longest name for which the zone still fits in front.
    document["type"] = "HostnameGenerator".into();
    let generator = crate::harness::document(Kind::HostnameGenerator).unwrap();
    for (length, status) in [(247, 201), (248, 400)] {
        let name = "a".repeat(length);
        let mut generator = generator.clone();
        generator["name"] = name.as_str().into();
        generator["labels"] = json!({"kuma.io/origin": "zone"});
        api.put(&format!("/hostnamegenerators/{name}"), &generator)
            .await
            .expect(status);
    }

    let mut settings = meshspan_api::Settings::new(federated());
    settings.disable_origin_label_validation = true;
    let api = Api::with(settings);
    api.seed(Resource::new(Kind::Mesh, "", "default", json!({}))).await;
    let document = crate::harness::document(Kind::MeshService).unwrap();
    api.put(path, &document).await.expect(201);
}

#[tokio::test]
async fn unreadable_bodies() {
    let api = Api::with_mesh(zone()).await;
    let path = "/meshes/default/dataplanes/a";
    for text in ["", "{", "type: Dataplane", "\"text\"", "[1]", "null"] {
        let request = api
            .admin(Method::PUT, path)
            .header(header::CONTENT_TYPE, "application/json");
        api.send(request.body(Body::from(text)).unwrap())
            .await
            .expect(400)
            .json();
    }
    let deep = "[".repeat(100_000);
    let request = api
        .admin(Method::PUT, path)
        .header(header::CONTENT_TYPE, "application/json");
    api.send(request.body(Body::from(deep)).unwrap()).await.expect(400);
    let large = format!("\"{}\"", "a".repeat(5 << 20));
    let request = api
        .admin(Method::PUT, path)
        .header(header::CONTENT_TYPE, "application/json");
    api.send(request.body(Body::from(large)).unwrap()).await.expect(413);
}

#[tokio::test]
async fn media_types() {
    let api = Api::with_mesh(zone()).await;
    let path = "/meshes/default/dataplanes/a";
    let body = dataplane("a", "web").to_string();
    for (content_type, status) in [
        (None, 415),
        (Some("text/yaml"), 415),
        (Some("application/json"), 201),
        (Some("Application/JSON; charset=utf-8"), 200),
    ] {
        let mut request = api.admin(Method::PUT, path);
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let answer = api
            .send(request.body(Body::from(body.clone())).unwrap())
            .await
            .expect(status);
        if status == 415 {
            assert_eq!(answer.text, "415: Unsupported Media Type");
        }
    }
    for (accept, status) in [
        ("text/html", 406),
        ("text/html,application/xhtml+xml,*/*;q=0.8", 200),
        ("application/json", 200),
        ("application/*", 200),
        ("", 200),
    ] {
        let request = api
            .admin(Method::GET, path)
            .header(header::ACCEPT, accept)
            .body(Body::empty());
        let answer = api.send(request.unwrap()).await.expect(status);
        if status == 406 {
            assert_eq!(answer.text, "406: Not Acceptable");
        }
    }
}

#[tokio::test]
async fn resources_of_others_are_not_touched() {
    let document = document(Kind::MeshTrafficPermission).unwrap();
    for (mode, origin) in [(global(), "zone"), (federated(), "global")] {
        let api = Api::with_mesh(mode.clone()).await;
        let resource = Resource::new(Kind::MeshTrafficPermission, "default", "a", document["spec"].clone());
        api.seed(resource.with_label("kuma.io/origin", origin)).await;
        let mut document = document.clone();
        document["labels"] = json!({"kuma.io/origin": if mode.is_federated() { "zone" } else { "global" }});
        let path = "/meshes/default/meshtrafficpermissions/a";
        assert_eq!(
            api.put(path, &document).await.expect(400).fields(),
            ["labels[\"kuma.io/origin\"]"]
        );
        assert_eq!(
            api.delete(path).await.expect(400).fields(),
            ["labels[\"kuma.io/origin\"]"]
        );
        assert!(api.stored(Kind::MeshTrafficPermission, "default", "a").is_some());
    }
}

#[tokio::test]
async fn what_becomes_too_large_with_its_defaults_for_other_zones_is_refused() {
    let api = Api::with_mesh(zone()).await;
    let services = vec![json!({}); 250_000];
    let body =
        json!({"type": "ZoneIngress", "name": "large", "networking": {"port": 10001}, "availableServices": services});
    assert!(body.to_string().len() < 1 << 20);
    let refused = api.put("/zone-ingresses/large", &body).await.expect(400);
    assert_eq!(refused.fields(), ["spec"], "{}", refused.text);
}
