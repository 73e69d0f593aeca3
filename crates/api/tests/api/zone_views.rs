//! What the global shows of MeshMultiZoneServices: every zone's view.

use meshspan_model::{Kind, Resource, labels};
use serde_json::{Value, json};

use crate::harness::{Api, document, global};

fn insight(zone: &str, vip: &str, reachable: &str) -> Resource {
    let spec = json!({"zone": zone, "status": {
        "vips": [{"ip": vip}],
        "addresses": [{"hostname": "redis.mzsvc.mesh.local", "origin": "HostnameGenerator", "hostnameGeneratorRef": {"coreName": "g"}}],
        "meshServices": [{"name": "redis", "namespace": "", "zone": "west", "mesh": "default"}],
        "conditions": [{"type": "ZonesReachable", "status": reachable, "reason": "NoZoneIngress", "message": "run one"}],
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
    assert_eq!(shown["conditions"][0]["message"], "zone east: run one");
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
