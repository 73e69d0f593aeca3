//! Rules of particular kinds: zones and dataplanes.

use meshspan_model::{Kind, Resource};
use serde_json::json;

use crate::harness::{Api, dataplane, global, zone};

#[tokio::test]
async fn a_connected_zone_is_not_deleted() {
    let api = Api::new(global());
    api.put("/zones/east", &json!({"type": "Zone", "name": "east"}))
        .await
        .expect(201);
    let insight = |subscription| Resource::new(Kind::ZoneInsight, "", "east", json!({"subscriptions": [subscription]}));
    api.seed(insight(json!({"id": "1", "connectTime": "2026-03-01T10:00:00Z"})))
        .await;
    let answer = api.delete("/zones/east").await.expect(400);
    assert_eq!(answer.fields(), ["zone"]);
    let gone = json!({"id": "1", "connectTime": "2026-03-01T10:00:00Z", "disconnectTime": "2026-03-01T11:00:00Z"});
    api.seed(insight(gone)).await;
    api.delete("/zones/east").await.expect(200);
}

#[tokio::test]
async fn dataplanes_get_the_tag_of_their_zone() {
    let api = Api::with_mesh(zone()).await;
    let mut document = dataplane("web", "web");
    document["networking"]["inbound"][0]["tags"]["kuma.io/zone"] = "moon".into();
    api.put("/meshes/default/dataplanes/web", &document).await.expect(201);
    let body = api.get("/meshes/default/dataplanes/web").await.json();
    assert_eq!(body["networking"]["inbound"][0]["tags"]["kuma.io/zone"], "east");
    assert_eq!(body["labels"]["kuma.io/zone"], "east");
}

#[tokio::test]
async fn probed_inbounds_start_not_ready_and_keep_their_state() {
    let api = Api::with_mesh(zone()).await;
    let path = "/meshes/default/dataplanes/web";
    let mut document = dataplane("web", "web");
    document["networking"]["inbound"][0]["serviceProbe"] = json!({"tcp": {}});
    api.put(path, &document).await.expect(201);
    assert_eq!(
        api.get(path).await.json()["networking"]["inbound"][0]["state"],
        "NotReady"
    );

    let mut resource = Resource::clone(&api.stored(Kind::Dataplane, "default", "web").unwrap());
    resource.spec["networking"]["inbound"][0]["state"] = "Ready".into();
    api.seed(resource).await;
    api.put(path, &document).await.expect(200);
    let body = api.get(path).await.json();
    assert_eq!(
        body["networking"]["inbound"][0].get("state"),
        None,
        "ready, as the probe says"
    );
}

#[tokio::test]
async fn meshes_choose_their_proxies() {
    let api = Api::new(zone());
    let constraints = json!({"dataplaneProxy": {
        "requirements": [{"tags": {"team": "*"}}, {"tags": {"kuma.io/service": "db"}}],
        "restrictions": [{"tags": {"team": "red"}}],
    }});
    api.seed(Resource::new(
        Kind::Mesh,
        "",
        "default",
        json!({"constraints": constraints}),
    ))
    .await;
    for (service, team, good) in [
        ("web", Some("blue"), true),
        ("web", Some("red"), false),
        ("web", None, false),
        ("db", None, true),
    ] {
        let mut document = dataplane("a", service);
        if let Some(team) = team {
            document["networking"]["inbound"][0]["tags"]["team"] = team.into();
        }
        let answer = api.put("/meshes/default/dataplanes/a", &document).await;
        assert_eq!(answer.status.is_success(), good, "{service} {team:?}: {}", answer.text);
        if !good {
            assert_eq!(answer.fields(), ["networking.inbound[0].tags"]);
        }
    }
}

#[tokio::test]
async fn what_a_zone_computed_of_a_service_survives_an_update() {
    let api = Api::with_mesh(zone()).await;
    let path = "/meshes/default/meshservices/a";
    let mut document = crate::harness::document(Kind::MeshService).unwrap();
    api.put(path, &document).await.expect(201);
    assert_eq!(api.get(path).await.json()["spec"]["state"], "Unavailable");
    let mut resource = Resource::clone(&api.stored(Kind::MeshService, "default", "a").unwrap());
    let identities = json!([{"type": "ServiceTag", "value": "web"}]);
    resource.spec["state"] = "Available".into();
    resource.spec["identities"] = identities.clone();
    api.seed(resource).await;
    document["spec"]["ports"][0]["port"] = 9090.into();
    api.put(path, &document).await.expect(200);
    let spec = api.get(path).await.json()["spec"].clone();
    assert_eq!(
        (&spec["state"], &spec["identities"]),
        (&json!("Available"), &identities)
    );
    assert_eq!(spec["ports"][0]["port"], 9090);
}

#[tokio::test]
async fn listeners_that_stand_in_each_others_way_are_refused() {
    let api = Api::with_mesh(zone()).await;
    let mut document = dataplane("web", "web");
    let inbound = document["networking"]["inbound"][0].clone();
    document["networking"]["inbound"] = json!([inbound, inbound]);
    let answer = api.put("/meshes/default/dataplanes/web", &document).await.expect(400);
    assert_eq!(answer.fields(), ["networking.inbound[1].port"]);
}

#[tokio::test]
async fn ports_that_lead_to_no_inbound_are_said() {
    let api = Api::with_mesh(zone()).await;
    let mut proxy = dataplane("web-1", "web");
    api.put("/meshes/default/dataplanes/web-1", &proxy).await.expect(201);
    let service = json!({
        "type": "MeshService", "mesh": "default", "name": "web",
        "spec": {
            "selector": {"dataplaneTags": {"kuma.io/service": "web"}},
            "ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8080}],
        },
    });
    let path = "/meshes/default/meshservices/web";
    let answer = api.put(path, &service).await.expect(201).json();
    let warnings = answer["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let said = warnings[0].as_str().unwrap();
    assert!(
        said.starts_with("spec.ports[0].targetPort: ") && said.contains("set name: http"),
        "{said}"
    );
    proxy["networking"]["inbound"][0]["name"] = "http".into();
    api.put("/meshes/default/dataplanes/web-1", &proxy).await.expect(200);
    assert_eq!(api.put(path, &service).await.expect(200).json(), json!({}));
}

#[tokio::test]
async fn a_dry_run_says_what_a_put_would_and_writes_nothing() {
    let api = Api::with_mesh(zone()).await;
    let path = "/meshes/default/dataplanes/web";
    let validate = format!("{path}/_validate");
    let good = dataplane("web", "web");
    let answer = api.post(&validate, &good).await.expect(200).json();
    assert_eq!(answer, json!({"created": true, "warnings": []}));
    api.get(path).await.expect(404);
    let mut bad = good.clone();
    bad["labels"] = json!({"kuma.io/zone": "west"});
    let fields = api.post(&validate, &bad).await.expect(400).fields();
    assert_eq!(fields, api.put(path, &bad).await.expect(400).fields());
    api.put(path, &good).await.expect(201);
    assert_eq!(api.post(&validate, &good).await.expect(200).json()["created"], false);

    let elsewhere = "/meshes/later/dataplanes/web/_validate";
    let mut later = good;
    later["mesh"] = "later".into();
    api.post(elsewhere, &later).await.expect(404);
    api.post(&format!("{elsewhere}?meshFollows=true"), &later)
        .await
        .expect(200);
    api.post("/zone-insights/east/_validate", &json!({})).await.expect(405);
}

#[tokio::test]
async fn a_key_that_stands_there_twice_is_refused() {
    let api = Api::new(global());
    let body = r#"{"type": "Zone", "name": "east", "enabled": true, "enabled": false}"#;
    let request = api
        .admin(http::Method::PUT, "/zones/east")
        .header("content-type", "application/json")
        .body(axum::body::Body::from(body))
        .unwrap();
    let answer = api.send(request).await.expect(400);
    assert!(
        answer.text.contains("key \\\"enabled\\\" stands there more than once"),
        "{}",
        answer.text
    );
}
