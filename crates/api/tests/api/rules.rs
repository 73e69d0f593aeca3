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
