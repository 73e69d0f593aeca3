//! What the global shows of MeshMultiZoneServices: every zone's view.

use meshspan_model::{Kind, Resource, labels};
use serde_json::{Value, json};

use crate::harness::{Api, document, global};

fn insight(zone: &str, vip: &str, reachable: &str) -> Resource {
    let spec = json!({"zone": zone, "status": {
        "vips": [{"ip": vip}],
        "addresses": [{"hostname": "redis.mzsvc.mesh.local", "origin": "HostnameGenerator", "hostnameGeneratorRef": {"coreName": "g"}}],
        "meshServices": [{"name": "redis", "namespace": "", "zone": "west", "mesh": "default"}],
        "conditions": [{"type": "ZoneIngressesKnown", "status": reachable, "reason": "NoZoneIngress", "message": "run one"}],
    }});
    Resource::new(
        Kind::MeshMultiZoneServiceInsight,
        "default",
        format!("redis-{zone}"),
        spec,
    )
    .with_label(labels::DISPLAY_NAME, "redis")
    .with_label(labels::ZONE, zone)
}

#[tokio::test]
async fn the_global_shows_every_zones_view_and_their_union() {
    let api = Api::with_mesh(global()).await;
    let mut wanted = document(Kind::MeshMultiZoneService).unwrap();
    wanted["name"] = "redis".into();
    let path = "/meshes/default/meshmultizoneservices/redis";
    api.put(path, &wanted).await.expect(201);
    let status = |document: Value| document["status"].clone();
    assert_eq!(
        status(api.get(path).await.expect(200).json()),
        json!({}),
        "no zone has said anything yet"
    );
    api.seed(insight("west", "243.0.0.1", "True")).await;
    api.seed(insight("east", "253.4.0.1", "False")).await;
    let shown = status(api.get(path).await.expect(200).json());
    assert_eq!(shown["vips"], json!([{"ip": "253.4.0.1"}, {"ip": "243.0.0.1"}]));
    assert_eq!(
        shown["addresses"].as_array().unwrap().len(),
        1,
        "one name in both zones"
    );
    assert_eq!(shown["conditions"][0]["status"], "False");
    assert_eq!(shown["conditions"][1]["reason"], "DifferentAddresses");
    let message = shown["conditions"][1]["message"].as_str().unwrap();
    assert!(message.contains("253.4.0.1 in east, 243.0.0.1 in west"), "{message}");
    assert_eq!(shown["conditions"][0]["message"], "as zone east sees it: run one");
    let zones: Vec<_> = shown["zones"]
        .as_array()
        .unwrap()
        .iter()
        .map(|view| (&view["zone"], &view["vips"][0]["ip"]))
        .collect();
    assert_eq!(
        zones,
        [
            (&json!("east"), &json!("253.4.0.1")),
            (&json!("west"), &json!("243.0.0.1"))
        ]
    );
    let listed = api
        .get("/meshes/default/meshmultizoneservices")
        .await
        .expect(200)
        .json();
    assert_eq!(status(listed["items"][0].clone()), shown);
}

/// A zone that connected, and one that did and is gone.
fn connection(zone: &str, ended: bool) -> Resource {
    let mut subscription = json!({"id": "1", "connectTime": "2025-02-03T09:00:00Z"});
    if ended {
        subscription["disconnectTime"] = "2025-02-03T10:00:00.008220248Z".into();
        subscription["disconnectReason"] = "its token expired".into();
    }
    Resource::new(Kind::ZoneInsight, "", zone, json!({"subscriptions": [subscription]}))
}

#[tokio::test]
async fn what_zones_say_alike_is_said_once_and_what_a_lost_zone_said_is_old() {
    let api = Api::with_mesh(global()).await;
    let mut wanted = document(Kind::MeshMultiZoneService).unwrap();
    wanted["name"] = "redis".into();
    let path = "/meshes/default/meshmultizoneservices/redis";
    api.put(path, &wanted).await.expect(201);
    for zone in ["east", "west"] {
        api.seed(insight(zone, "243.0.0.1", "False")).await;
        api.seed(connection(zone, zone == "west")).await;
    }
    let service = json!({"state": "Available", "ports": [{"port": 6379}]});
    let service = Resource::new(Kind::MeshService, "default", "redis-x", service).with_label(labels::ZONE, "west");
    api.seed(service).await;
    let conditions = api.get(path).await.expect(200).json()["status"]["conditions"].clone();
    assert_eq!(conditions[0]["message"], "run one");
    let old = "the control plane of zone west is not connected since 2025-02-03T10:00:00Z (its token expired), see `meshspan inspect zone \
         west`: what is said of it is as of then";
    assert_eq!(
        (&conditions[1]["reason"], &conditions[1]["message"]),
        (&json!("ZoneOffline"), &json!(old))
    );
    let status = |answer: Value| answer["status"]["conditions"].clone();
    let single = "/meshes/default/meshservices/redis-x";
    assert_eq!(status(api.get(single).await.expect(200).json())[0]["message"], old);
    api.seed(connection("west", false)).await;
    assert_eq!(status(api.get(single).await.expect(200).json()), Value::Null);
}
