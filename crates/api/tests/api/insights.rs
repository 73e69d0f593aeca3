//! Overviews, statuses and counters.

use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::{Store, Write};
use serde_json::{Value, json};

use crate::harness::{Api, dataplane, global, zone};

async fn with_dataplanes() -> Api {
    let api = Api::with_mesh(zone()).await;
    for (name, service) in [("web-1", "web"), ("web-2", "web"), ("web-3", "web"), ("db-1", "db")] {
        let mut document = dataplane(name, service);
        if name == "web-3" {
            document["networking"]["inbound"][0]["state"] = "NotReady".into();
        }
        api.put(&format!("/meshes/default/dataplanes/{name}"), &document)
            .await
            .expect(201);
    }
    for (name, online) in [("web-1", true), ("web-2", false), ("web-3", true)] {
        let mut subscription = json!({
            "id": "1", "connectTime": "2026-03-01T10:00:00Z",
            "version": {"kumaDp": {"version": "1.0"}, "envoy": {"version": "1.40.0"}},
        });
        if !online {
            subscription["disconnectTime"] = "2026-03-01T11:00:00Z".into();
        }
        let insight = json!({
            "subscriptions": [subscription],
            "mTLS": {"issuedBackend": "ca-1", "supportedBackends": ["ca-1"]},
        });
        api.seed(Resource::new(Kind::DataplaneInsight, "default", name, insight))
            .await;
    }
    api
}

#[tokio::test]
async fn dataplane_overviews() {
    let api = with_dataplanes().await;
    for path in [
        "/meshes/default/dataplanes/_overview",
        "/dataplanes/_overview",
        "/dataplanes+insights",
    ] {
        let body = api.get(path).await.expect(200).json();
        assert_eq!(body["total"], 4, "{path}");
        let db = &body["items"][0];
        assert_eq!(
            (&db["type"], &db["name"]),
            (&json!("DataplaneOverview"), &json!("db-1"))
        );
        assert_eq!(db.get("dataplaneInsight"), None, "left out in lists");
        let web = &body["items"][1];
        assert_eq!(web["dataplaneInsight"]["subscriptions"][0]["id"], "1");
        assert_eq!(web["dataplane"]["networking"]["inbound"][0]["health"]["ready"], true);
        assert_eq!(
            body["items"][3]["dataplane"]["networking"]["inbound"][0]["health"]["ready"],
            false
        );
    }
    let body = api
        .get("/meshes/default/dataplanes/db-1/_overview")
        .await
        .expect(200)
        .json();
    assert_eq!(body["dataplaneInsight"], json!({}), "empty when asked for alone");
    assert_eq!(
        api.get("/meshes/default/dataplanes+insights/db-1")
            .await
            .expect(200)
            .json(),
        body
    );
    api.get("/meshes/default/dataplanes/nope/_overview").await.expect(404);
    api.get("/meshes/nope/dataplanes/_overview").await.expect(404);
}

#[tokio::test]
async fn zone_overviews_and_status() {
    let api = Api::new(global());
    assert_eq!(api.get("/status/zones").await.json(), Value::Null);
    for (name, zone) in [
        ("east", json!({})),
        ("north", json!({"enabled": false})),
        ("west", json!({})),
    ] {
        api.seed(Resource::new(Kind::Zone, "", name, zone)).await;
    }
    for name in ["east", "north"] {
        let insight = json!({"subscriptions": [{"id": "1", "connectTime": "2026-03-01T10:00:00Z"}]});
        api.seed(Resource::new(Kind::ZoneInsight, "", name, insight)).await;
    }
    assert_eq!(
        api.get("/status/zones").await.json(),
        json!([
            {"name": "east", "active": true}, {"name": "north", "active": false}, {"name": "west", "active": false},
        ])
    );
    for path in ["/zones/_overview", "/zones+insights"] {
        let body = api.get(path).await.expect(200).json();
        assert_eq!(body["items"][0]["zone"], json!({"enabled": true}), "{path}");
        assert_eq!(body["items"][1]["zone"], json!({"enabled": false}), "{path}");
        assert_eq!(body["items"][0]["zoneInsight"]["subscriptions"][0]["id"], "1");
    }
    assert_eq!(api.get("/zones/west/_overview").await.json()["zoneInsight"], json!({}));
    let insight = api.get("/global-insight").await.json();
    assert_eq!(insight["zones"]["controlPlanes"], json!({"online": 2, "total": 3}));
    api.get("/zone-ingresses/_overview").await.expect(200);
    api.get("/zoneingresses/_overview").await.expect(200);
}

#[tokio::test]
async fn mesh_insights() {
    let api = with_dataplanes().await;
    let body = api.get("/mesh-insights/default").await.expect(200).json();
    assert_eq!(api.get("/mesh-insights").await.json()["items"][0], body);
    assert_eq!(
        body["dataplanes"],
        json!({"total": 4, "online": 1, "offline": 3, "partiallyDegraded": 0})
    );
    assert_eq!(body["dataplanesByType"]["standard"]["total"], 4);
    for gateway in ["gateway", "gatewayBuiltin", "gatewayDelegated"] {
        assert_eq!(body["dataplanesByType"][gateway]["total"], 0);
    }
    assert_eq!(body["services"], json!({"total": 2, "internal": 2, "external": 0}));
    assert_eq!(body["resources"]["Dataplane"]["total"], 4);
    assert_eq!(body["dpVersions"]["envoy"]["1.40.0"]["total"], 3);
    assert_eq!(body["dpVersions"]["envoy"]["unknown"]["total"], 1);
    assert_eq!(body["mTLS"]["issuedBackends"]["ca-1"]["total"], 3);
    api.get("/mesh-insights/nope").await.expect(404);
    assert_eq!(
        api.put("/mesh-insights/default", &json!({})).await.expect(405).json()["title"],
        "Method not allowed"
    );

    let global = api.get("/global-insight").await.expect(200).json();
    assert_eq!(global["dataplanes"]["standard"]["total"], 4);
    assert_eq!(
        global["services"]["internal"],
        json!({"total": 2, "online": 0, "offline": 1, "partiallyDegraded": 1})
    );
    assert_eq!(global["meshes"]["total"], 1);
    assert_eq!(
        api.get("/global-insights").await.json()["resources"]["Mesh"]["total"],
        1
    );
}

#[tokio::test]
async fn partially_degraded_dataplanes() {
    let api = Api::with_mesh(zone()).await;
    let mut document = dataplane("web", "web");
    document["networking"]["inbound"].as_array_mut().unwrap().push(json!({
        "port": 9090, "state": "NotReady", "tags": {"kuma.io/service": "web-admin"},
    }));
    api.put("/meshes/default/dataplanes/web", &document).await.expect(201);
    let insight = json!({"subscriptions": [{"id": "1", "connectTime": "2026-03-01T10:00:00Z"}]});
    api.seed(Resource::new(Kind::DataplaneInsight, "default", "web", insight))
        .await;
    let body = api.get("/mesh-insights/default").await.json();
    assert_eq!(body["dataplanes"]["partiallyDegraded"], 1);
    let body = api.get("/meshes/default/service-insights").await.json();
    let status: Vec<_> = body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["status"].as_str().unwrap())
        .collect();
    assert_eq!(status, ["online", "offline"]);
}

#[tokio::test]
async fn service_insights() {
    let api = with_dataplanes().await;
    let body = api.get("/meshes/default/service-insights").await.expect(200).json();
    assert_eq!(body["total"], 2);
    let web = &body["items"][1];
    assert_eq!(
        (&web["type"], &web["name"], &web["status"]),
        (&json!("ServiceInsight"), &json!("web"), &json!("partially_degraded"))
    );
    assert_eq!(web["dataplanes"], json!({"total": 3, "online": 1, "offline": 2}));
    assert_eq!(web["issuedBackends"], json!({"ca-1": 3}));
    assert_eq!(web["zones"], json!(["east"]));
    assert_eq!(web.get("serviceType"), None);
    assert_eq!(&api.get("/meshes/default/service-insights/web").await.json(), web);
    assert_eq!(
        api.get("/service-insights?name=db").await.json()["items"][0]["status"],
        "offline"
    );
    let unknown = api
        .get("/meshes/default/service-insights/nope")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&unknown["status"], &unknown["dataplanes"]["total"]),
        (&json!("not_available"), &json!(0))
    );
    assert_eq!(
        api.get("/meshes/default/service-insights?type=internal,external")
            .await
            .json()["total"],
        2
    );
    assert_eq!(
        api.get("/meshes/default/service-insights?type=gateway_builtin")
            .await
            .json()["total"],
        0
    );
    assert_eq!(
        api.get("/meshes/default/service-insights?type=magic")
            .await
            .expect(400)
            .fields(),
        ["type"]
    );
    api.get("/meshes/nope/service-insights").await.expect(404);
}

#[tokio::test]
async fn proxies_of_a_service() {
    let api = with_dataplanes().await;
    for (name, selector, expected) in [
        (
            "tags",
            json!({"dataplaneTags": {"kuma.io/service": "web"}}),
            vec!["web-1", "web-2", "web-3"],
        ),
        (
            "both",
            json!({"dataplaneTags": {"kuma.io/service": "web", "kuma.io/zone": "west"}}),
            vec![],
        ),
        ("name", json!({"dataplaneRef": {"name": "db-1"}}), vec!["db-1"]),
        (
            "label",
            json!({"dataplaneLabels": {"matchLabels": {"kuma.io/display-name": "web-2"}}}),
            vec!["web-2"],
        ),
        ("nothing", json!({}), vec![]),
    ] {
        let document = json!({
            "type": "MeshService", "mesh": "default", "name": name,
            "spec": {"selector": selector, "ports": [{"port": 80}]},
        });
        api.put(&format!("/meshes/default/meshservices/{name}"), &document)
            .await
            .expect(201);
        for path in ["_resources/dataplanes", "_dataplanes"] {
            let body = api
                .get(&format!("/meshes/default/meshservices/{name}/{path}"))
                .await
                .expect(200)
                .json();
            let names: Vec<_> = body["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["name"].as_str().unwrap())
                .collect();
            assert_eq!(names, expected, "{name}");
            assert_eq!(body["total"], expected.len());
            for item in body["items"].as_array().unwrap() {
                assert_eq!(item["labels"]["kuma.io/zone"], "east");
            }
        }
    }
    api.get("/meshes/default/meshservices/nope/_resources/dataplanes")
        .await
        .expect(404);
}

#[tokio::test]
async fn hostnames_of_a_zone_are_those_of_the_status() {
    let api = Api::with_mesh(zone()).await;
    let document = crate::harness::document(Kind::MeshMultiZoneService).unwrap();
    api.put("/meshes/default/meshmultizoneservices/a", &document)
        .await
        .expect(201);
    let path = "/meshes/default/meshmultizoneservices/a/_hostnames";
    assert_eq!(api.get(path).await.json(), json!({"total": 0, "items": []}));
    let key = ResourceKey::new(Kind::MeshMultiZoneService, "default", "a");
    let status = json!({"addresses": [{"hostname": "a.mzsvc.mesh.local", "origin": "HostnameGenerator"}]});
    api.store.apply(vec![Write::put_status(key, status)]).await.unwrap();
    let expected = json!({"total": 1, "items": [{"hostname": "a.mzsvc.mesh.local", "zones": [{"name": "east"}]}]});
    assert_eq!(api.get(path).await.json(), expected);
    api.get("/meshes/default/meshservices/nope/_hostnames")
        .await
        .expect(404);
}

#[tokio::test]
async fn the_global_knows_the_hostnames_of_each_zone() {
    let api = Api::with_mesh(global()).await;
    meshspan_api::default_resources::ensure_defaults(&*api.store, &api.settings, crate::harness::NOW)
        .await
        .unwrap();
    for zone in ["east", "west"] {
        api.seed(Resource::new(Kind::Zone, "", zone, json!({}))).await;
    }
    // As synced from east.
    let local = json!({"selector": {"meshService": {"matchLabels": {"kuma.io/origin": "zone"}}}, "template": "{{ .DisplayName }}.svc.mesh.local"});
    let local = Resource::new(Kind::HostnameGenerator, "", "local-x", local);
    api.seed(
        local
            .with_label("kuma.io/origin", "zone")
            .with_label("kuma.io/zone", "east"),
    )
    .await;
    let service = Resource::new(Kind::MeshService, "default", "redis-x", json!({"selector": {}}))
        .with_label("kuma.io/display-name", "redis")
        .with_label("kuma.io/origin", "zone")
        .with_label("kuma.io/zone", "east")
        .with_label("kuma.io/env", "universal");
    api.seed(service).await;
    assert_eq!(
        api.get("/meshes/default/meshservices/redis-x/_hostnames").await.json(),
        json!({"total": 2, "items": [
            {"hostname": "redis.svc.east.mesh.local", "zones": [{"name": "west"}]},
            {"hostname": "redis.svc.mesh.local", "zones": [{"name": "east"}]},
        ]})
    );
    let mut document = crate::harness::document(Kind::MeshMultiZoneService).unwrap();
    document["name"] = "redis".into();
    api.put("/meshes/default/meshmultizoneservices/redis", &document)
        .await
        .expect(201);
    assert_eq!(
        api.get("/meshes/default/meshmultizoneservices/redis/_hostnames")
            .await
            .json(),
        json!({"total": 1, "items": [
            {"hostname": "redis.mzsvc.mesh.local", "zones": [{"name": "east"}, {"name": "west"}]},
        ]})
    );
}

#[tokio::test]
async fn zone_egresses_have_overviews_and_are_counted() {
    let api = Api::new(global());
    let spec = json!({"zone": "east", "networking": {"address": "10.0.0.3", "port": 10002}});
    for name in ["one", "two"] {
        api.seed(Resource::new(Kind::ZoneEgress, "", name, spec.clone())).await;
    }
    let insight = json!({"subscriptions": [{"id": "1", "connectTime": "2026-03-01T10:00:00Z"}]});
    api.seed(Resource::new(Kind::ZoneEgressInsight, "", "one", insight.clone()))
        .await;
    // An ingress of the same name is another proxy.
    api.seed(Resource::new(Kind::ZoneIngressInsight, "", "two", insight.clone()))
        .await;
    for path in [
        "/zoneegresses/_overview",
        "/zone-egresses/_overview",
        "/zoneegressoverviews",
    ] {
        let body = api.get(path).await.expect(200).json();
        let first = &body["items"][0];
        assert_eq!(
            (
                &first["type"],
                &first["zoneEgress"]["networking"]["port"],
                &first["zoneEgressInsight"]["subscriptions"][0]["id"]
            ),
            (&json!("ZoneEgressOverview"), &json!(10002), &json!("1")),
            "{path}"
        );
        assert_eq!(body["items"][1].get("zoneEgressInsight"), None, "{path}");
    }
    let one = api.get("/zoneegresses/two/_overview").await.expect(200).json();
    assert_eq!(one["zoneEgressInsight"], json!({}));
    let zones = api.get("/global-insight").await.json()["zones"].clone();
    assert_eq!(zones["zoneEgresses"], json!({"online": 1, "total": 2}));
    assert_eq!(zones["zoneIngresses"], json!({"online": 0, "total": 0}));
    api.get("/zoneegressinsights/one").await.expect(200);
}

#[tokio::test]
async fn external_services_are_counted_and_have_hostnames_where_they_are() {
    let api = Api::with_mesh(global()).await;
    meshspan_api::default_resources::ensure_defaults(&*api.store, &api.settings, crate::harness::NOW)
        .await
        .unwrap();
    for zone in ["east", "west"] {
        api.seed(Resource::new(Kind::Zone, "", zone, json!({}))).await;
    }
    // As synced from east, by the generator that every zone has.
    let local = json!({
        "selector": {"meshExternalService": {"matchLabels": {"kuma.io/origin": "zone"}}}, "template": "{{ .DisplayName }}.extsvc.mesh.local",
    });
    let of_east = |resource: Resource| {
        resource
            .with_label("kuma.io/origin", "zone")
            .with_label("kuma.io/zone", "east")
    };
    api.seed(of_east(Resource::new(Kind::HostnameGenerator, "", "local-x", local)))
        .await;
    let spec = json!({"match": {"type": "HostnameGenerator", "port": 443, "protocol": "tcp"}});
    let external = |name: &str| Resource::new(Kind::MeshExternalService, "default", name, spec.clone());
    api.seed(of_east(external("till-x").with_label("kuma.io/display-name", "till")))
        .await;
    api.seed(external("bank")).await;
    // Served by one zone's egress, but known everywhere.
    api.seed(external("ledger").with_label("kuma.io/zone", "west")).await;
    let hostnames = async |name: &str| {
        let path = format!("/meshes/default/meshexternalservices/{name}/_hostnames");
        api.get(&path).await.expect(200).json()["items"].clone()
    };
    let everywhere = json!([{"name": "east"}, {"name": "west"}]);
    assert_eq!(
        hostnames("bank").await,
        json!([{"hostname": "bank.extsvc.mesh.local", "zones": everywhere}])
    );
    assert_eq!(
        hostnames("ledger").await,
        json!([{"hostname": "ledger.extsvc.mesh.local", "zones": everywhere}])
    );
    assert_eq!(
        hostnames("till-x").await,
        json!([{"hostname": "till.extsvc.mesh.local", "zones": [{"name": "east"}]}])
    );
    let proxies = api
        .get("/meshes/default/meshexternalservices/bank/_dataplanes")
        .await
        .expect(200);
    assert_eq!(proxies.json()["total"], 0);
    assert_eq!(
        api.get("/global-insight").await.json()["services"]["external"]["total"],
        3
    );
    assert_eq!(
        api.get("/mesh-insights/default").await.json()["services"],
        json!({"total": 3, "internal": 0, "external": 3})
    );
}
