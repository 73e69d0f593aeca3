//! What policies mean together for a proxy, and the reverse.

use meshspan_api::Mode;
use meshspan_model::{Kind, Resource};
use serde_json::{Value, json};

use crate::harness::{Api, dataplane, document, global, zone};

const PROXY: &str = "/meshes/default/dataplanes/web-1";
const TIMEOUT: &str = "/meshes/default/meshtimeouts";

/// `web-1` with one inbound, and the multi-zone service `redis` with the ports 6379 and `admin`.
async fn with_proxy(mode: Mode) -> Api {
    let api = Api::with_mesh(mode).await;
    let spec = json!({"networking": dataplane("web-1", "web")["networking"]});
    let proxy = Resource::new(Kind::Dataplane, "default", "web-1", spec);
    let proxy = proxy.with_label("kuma.io/zone", "east").with_label("team", "shop");
    api.seed(proxy).await;
    api.seed(redis()).await;
    api
}

fn redis() -> Resource {
    let mut spec = document(Kind::MeshMultiZoneService).unwrap()["spec"].clone();
    spec["ports"] = json!([{"port": 6379}, {"port": 80, "name": "admin", "appProtocol": "http"}]);
    Resource::new(Kind::MeshMultiZoneService, "default", "redis", spec)
}

async fn put(api: &Api, kind: Kind, name: &str, labels: Value, spec: Value) {
    let document = json!({"type": kind.name(), "name": name, "mesh": "default", "labels": labels, "spec": spec});
    let path = format!("{}/{name}", crate::harness::list_path(kind));
    let answer = api.put(&path, &document).await;
    assert!(answer.status.is_success(), "{name}: {}", answer.text);
}

async fn put_timeout(api: &Api, name: &str, labels: Value, items: Value) {
    put(api, Kind::MeshTimeout, name, labels, json!({ "to": items })).await;
}

fn to(target: Value, conf: Value) -> Value {
    json!({"targetRef": target, "default": conf})
}

fn to_mesh(conf: Value) -> Value {
    to(json!({"kind": "Mesh"}), conf)
}

fn to_redis(conf: Value) -> Value {
    to(json!({"kind": "MeshMultiZoneService", "name": "redis"}), conf)
}

#[tokio::test]
async fn rules_of_a_proxy() {
    for mode in [global(), zone()] {
        let api = with_proxy(mode.clone()).await;
        put_timeout(
            &api,
            "all",
            json!({}),
            json!([to_mesh(json!({"idleTimeout": "20s", "connectionTimeout": "3s"}))]),
        )
        .await;
        put_timeout(
            &api,
            "redis",
            json!({}),
            json!([to_redis(json!({"idleTimeout": "1s"}))]),
        )
        .await;
        let allow = document(Kind::MeshTrafficPermission).unwrap()["spec"].clone();
        put(&api, Kind::MeshTrafficPermission, "allow", json!({}), allow).await;
        put(
            &api,
            Kind::MeshTrace,
            "off",
            json!({}),
            json!({"default": {"backends": []}}),
        )
        .await;

        let answer = api.get(&format!("{PROXY}/_rules")).await.expect(200).json();
        assert_eq!(answer["resource"]["name"], "web-1");
        let rules = answer["rules"].as_array().unwrap();
        let types: Vec<_> = rules.iter().map(|rules| rules["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["MeshTrace", "MeshTimeout", "MeshTrafficPermission"], "{mode:?}");
        assert_eq!(rules[0]["proxyRule"]["conf"], json!({"backends": []}));
        assert_eq!(rules[0]["proxyRule"]["origin"][0]["name"], "off");

        let timeouts = &rules[1];
        assert_eq!(timeouts["toRules"], json!([]));
        let everything = &timeouts["toResourceRules"][0];
        assert_eq!(everything["resourceMeta"]["type"], "Mesh");
        assert_eq!(
            everything["conf"],
            json!([{"idleTimeout": "20s", "connectionTimeout": "3s"}])
        );
        let redis = &timeouts["toResourceRules"][1];
        assert_eq!(
            (&redis["resourceMeta"]["type"], &redis["resourceMeta"]["name"]),
            (&json!("MeshMultiZoneService"), &json!("redis"))
        );
        assert_eq!(redis["conf"], json!([{"idleTimeout": "1s", "connectionTimeout": "3s"}]));
        let origins: Vec<_> = redis["origin"]
            .as_array()
            .unwrap()
            .iter()
            .map(|origin| (&origin["resourceMeta"]["name"], &origin["ruleIndex"]))
            .collect();
        assert_eq!(origins, [(&json!("all"), &json!(0)), (&json!("redis"), &json!(0))]);

        let from = &rules[2]["fromRules"][0];
        assert_eq!(
            from["inbound"],
            json!({"port": 8080, "tags": {"kuma.io/service": "web"}})
        );
        assert_eq!(from["rules"][0]["conf"], json!({"action": "Allow"}));
        assert_eq!(from["rules"][0]["origin"][0]["name"], "allow");
        let inbound = &rules[2]["inboundRules"][0]["rules"][0];
        assert_eq!(inbound["conf"], json!([{"action": "Allow"}]));
    }
}

#[tokio::test]
async fn effective_policy_of_a_destination_and_its_port() {
    let api = with_proxy(zone()).await;
    put_timeout(
        &api,
        "all",
        json!({}),
        json!([to_mesh(
            json!({"connectionTimeout": "3s", "http": {"requestTimeout": "9s"}})
        )]),
    )
    .await;
    let mut port = to_redis(json!({"http": {"requestTimeout": "1s"}}));
    port["targetRef"]["sectionName"] = "80".into();
    put_timeout(
        &api,
        "redis",
        json!({}),
        json!([to_redis(json!({"idleTimeout": "7s"})), port]),
    )
    .await;

    let answer = api
        .get(&format!("{PROXY}/_policies?destination=redis"))
        .await
        .expect(200)
        .json();
    let ports: Vec<_> = answer["outbounds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|outbound| outbound["kri"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        ports,
        ["kri_mzsvc_default___redis_6379", "kri_mzsvc_default___redis_admin"]
    );
    for port in ["admin", "80"] {
        let path = format!("{PROXY}/_policies?destination=redis&kind=mzsvc&port={port}");
        let answer = api.get(&path).await.expect(200).json();
        let outbound = &answer["outbounds"][0];
        assert_eq!(outbound["port"], 80);
        let timeout = &outbound["policies"][0];
        assert_eq!(timeout["kind"], "MeshTimeout");
        assert_eq!(
            timeout["conf"],
            json!([{"connectionTimeout": "3s", "idleTimeout": "7s", "http": {"requestTimeout": "1s"}}])
        );
        let all = json!({"kri": "kri_mt_default_east__all_", "name": "all", "item": "spec.to[0]"});
        let redis = |item: &str| json!({"kri": "kri_mt_default_east__redis_", "name": "redis", "item": item});
        assert_eq!(
            timeout["origins"],
            json!([all, redis("spec.to[0]"), redis("spec.to[1]")])
        );
        assert_eq!(
            timeout["decidedBy"],
            json!({
                "/connectionTimeout": all,
                "/http/requestTimeout": redis("spec.to[1]"),
                "/idleTimeout": redis("spec.to[0]"),
            })
        );
        let by_kri = format!("{PROXY}/_outbounds/kri_mzsvc_default___redis_{port}/_policies");
        assert_eq!(
            api.get(&by_kri).await.expect(200).json()["policies"],
            outbound["policies"]
        );
    }
    for (query, field) in [
        ("destination=nope", "destination"),
        ("destination=redis&kind=MeshService", "destination"),
        ("destination=redis&kind=planet", "kind"),
        ("destination=redis&port=81", "port"),
        ("shadow=yes", "shadow"),
    ] {
        let answer = api.get(&format!("{PROXY}/_policies?{query}")).await.expect(400);
        assert_eq!(answer.fields(), [field], "{query}");
    }
    for (part, status) in [
        ("_outbounds/nonsense/_policies", 400),
        ("_outbounds/kri_mzsvc_default___redis_/_policies", 400),
        ("_outbounds/kri_mzsvc_default___redis_81/_policies", 404),
        ("_outbounds/kri_mzsvc_default___nope_80/_policies", 404),
        ("_inbounds/9/_policies", 404),
        ("_inbounds/kri_dp_default_west__web-1_8080/_policies", 404),
        (
            "_outbounds/kri_mzsvc_default___redis_80/_routes/kri_mhttpr_default_east__nope_/_policies",
            404,
        ),
    ] {
        api.get(&format!("{PROXY}/{part}")).await.expect(status).json();
    }
}

#[tokio::test]
async fn effective_policy_of_an_inbound() {
    let api = with_proxy(zone()).await;
    let allow = document(Kind::MeshTrafficPermission).unwrap()["spec"].clone();
    put(&api, Kind::MeshTrafficPermission, "allow", json!({}), allow).await;
    for inbound in ["8080", "self_inbound_dp_8080", "kri_dp_default_east__web-1_8080"] {
        let answer = api
            .get(&format!("{PROXY}/_inbounds/{inbound}/_policies"))
            .await
            .expect(200)
            .json();
        let policy = &answer["policies"][0];
        assert_eq!(policy["kind"], "MeshTrafficPermission", "{inbound}");
        assert_eq!(policy["rules"][0]["conf"], json!({"action": "Allow"}));
        assert_eq!(policy["rules"][0]["kri"], "kri_mtp_default_east__allow_");
        assert_eq!(policy["origins"][0]["item"], "spec.from[0]");
    }
}

#[tokio::test]
async fn routes_and_what_is_said_of_them() {
    let api = with_proxy(zone()).await;
    let rule = json!({
        "matches": [{"path": {"type": "PathPrefix", "value": "/v2"}}],
        "default": {"backendRefs": [{"kind": "MeshMultiZoneService", "name": "redis", "port": 80}]},
    });
    let spec = json!({"to": [{"targetRef": {"kind": "MeshMultiZoneService", "name": "redis"}, "rules": [rule]}]});
    put(&api, Kind::MeshHTTPRoute, "v2", json!({}), spec).await;
    let of_route = to(
        json!({"kind": "MeshHTTPRoute", "name": "v2"}),
        json!({"http": {"requestTimeout": "1s"}}),
    );
    put_timeout(&api, "route", json!({}), json!([of_route])).await;

    let outbound = format!("{PROXY}/_outbounds/kri_mzsvc_default___redis_admin");
    let routes = api.get(&format!("{outbound}/_routes")).await.expect(200).json();
    let route = &routes["routes"][0];
    assert_eq!(route["kind"], "MeshHTTPRoute");
    assert_eq!(route["rules"][0]["kri"], "kri_mhttpr_default_east__v2_");
    assert_eq!(route["rules"][0]["matches"], rule["matches"]);
    let of_all = api.get(&format!("{outbound}/_policies")).await.expect(200).json();
    assert_eq!(of_all["policies"], json!([]), "said of the route only");
    let path = format!("{outbound}/_routes/kri_mhttpr_default_east__v2_/_policies");
    let of_route = api.get(&path).await.expect(200).json();
    assert_eq!(
        of_route["policies"][0]["conf"],
        json!([{"http": {"requestTimeout": "1s"}}])
    );
}

#[tokio::test]
async fn which_policies_match_a_proxy() {
    let api = with_proxy(zone()).await;
    let answer = api.get(&format!("{PROXY}/_policies")).await.expect(200).json();
    assert_eq!(answer["message"], "no policy applies to this proxy");
    assert_eq!((&answer["policies"], &answer["matched"]), (&json!([]), &json!([])));
    put_timeout(&api, "all", json!({}), json!([to_mesh(json!({"idleTimeout": "20s"}))])).await;
    let allow = document(Kind::MeshTrafficPermission).unwrap()["spec"].clone();
    put(&api, Kind::MeshTrafficPermission, "allow", json!({}), allow).await;
    put(
        &api,
        Kind::MeshTrace,
        "off",
        json!({}),
        json!({"default": {"backends": []}}),
    )
    .await;
    let others =
        json!({"targetRef": {"kind": "Dataplane", "labels": {"team": "billing"}}, "default": {"backends": []}});
    put(&api, Kind::MeshTrace, "others", json!({}), others).await;
    let answer = api.get(&format!("{PROXY}/_policies")).await.expect(200).json();
    assert_eq!(answer.get("message"), None);
    assert_eq!(answer["policies"][0]["conf"], json!({"backends": []}));
    let matched: Vec<_> = answer["matched"]
        .as_array()
        .unwrap()
        .iter()
        .map(|policy| {
            (
                policy["name"].as_str().unwrap(),
                policy["appliesTo"][0].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        matched,
        [("off", "proxy"), ("all", "outbound"), ("allow", "inbound 8080")]
    );
    assert_eq!(answer["matched"][0]["role"], "system");
}

#[tokio::test]
async fn shadow_policies_count_when_asked_for() {
    let api = with_proxy(zone()).await;
    let shadow = json!({"kuma.io/effect": "shadow"});
    put_timeout(&api, "new", shadow, json!([to_mesh(json!({"idleTimeout": "20s"}))])).await;
    let rules = |answer: Value| answer["rules"].as_array().unwrap().len();
    for (query, expected) in [("", 0), ("?shadow=false", 0), ("?shadow=true", 1)] {
        let answer = api.get(&format!("{PROXY}/_rules{query}")).await.expect(200).json();
        assert_eq!(rules(answer), expected, "{query}");
    }
    let touched = api
        .get(&format!("{TIMEOUT}/new/_resources/dataplanes"))
        .await
        .expect(200)
        .json();
    assert_eq!(touched["total"], 1, "those that it would touch");
    assert!(touched["warnings"][0].as_str().unwrap().contains("shadow"), "{touched}");
}

#[tokio::test]
async fn proxies_that_a_policy_touches() {
    for mode in [global(), zone()] {
        let api = with_proxy(mode.clone()).await;
        let spec = json!({"networking": dataplane("db-1", "db")["networking"]});
        let other = Resource::new(Kind::Dataplane, "default", "db-1", spec);
        api.seed(other.with_label("kuma.io/zone", "east")).await;
        put_timeout(&api, "all", json!({}), json!([to_mesh(json!({"idleTimeout": "20s"}))])).await;
        let target = |team: &str| json!({"kind": "Dataplane", "labels": {"team": team}});
        for (name, team) in [("shop", "shop"), ("nobody", "billing")] {
            let spec = json!({"targetRef": target(team), "to": [to_mesh(json!({"idleTimeout": "20s"}))]});
            put(&api, Kind::MeshTimeout, name, json!({}), spec).await;
        }
        for path in ["_resources/dataplanes", "_dataplanes", "-resources/dataplanes"] {
            let all = api.get(&format!("{TIMEOUT}/all/{path}")).await.expect(200).json();
            let names: Vec<_> = all["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| &item["name"])
                .collect();
            assert_eq!(names, ["db-1", "web-1"], "{mode:?}");
            assert_eq!((&all["total"], all.get("message")), (&json!(2), None));
            let shop = api.get(&format!("{TIMEOUT}/shop/{path}")).await.expect(200).json();
            assert_eq!(
                shop["items"],
                json!([{"type": "Dataplane", "mesh": "default", "name": "web-1",
                        "labels": {"kuma.io/zone": "east", "team": "shop"}}])
            );
        }
        let page = api
            .get(&format!("{TIMEOUT}/all/_dataplanes?size=1&name=web"))
            .await
            .expect(200)
            .json();
        assert_eq!(
            (&page["total"], &page["items"][0]["name"]),
            (&json!(1), &json!("web-1"))
        );
        let nobody = api
            .get(&format!("{TIMEOUT}/nobody/_dataplanes"))
            .await
            .expect(200)
            .json();
        assert_eq!((&nobody["total"], &nobody["items"]), (&json!(0), &json!([])));
        let message = nobody["message"].as_str().unwrap();
        assert!(message.starts_with("touches no proxy at present"), "{message}");
        api.get(&format!("{TIMEOUT}/nope/_dataplanes")).await.expect(404);
        api.get("/meshes/nope/meshtimeouts/all/_dataplanes").await.expect(404);
        // As kumactl asks.
        let older = api.get(&format!("{TIMEOUT}/shop/dataplanes")).await.expect(200).json();
        assert_eq!(
            older["items"][0]["dataplane"],
            json!({"mesh": "default", "name": "web-1"})
        );
        let older = api.get(&format!("{PROXY}/policies")).await.expect(200).json();
        assert_eq!(older["items"][0]["matchedPolicies"]["MeshTimeout"][1]["name"], "shop");
    }
}

#[tokio::test]
async fn a_lost_target_is_reported_and_works_again_when_it_returns() {
    let api = with_proxy(zone()).await;
    put_timeout(
        &api,
        "mixed",
        json!({}),
        json!([
            to_redis(json!({"idleTimeout": "7s"})),
            to_mesh(json!({"idleTimeout": "20s"}))
        ]),
    )
    .await;
    let touched = || async {
        api.get(&format!("{TIMEOUT}/mixed/_dataplanes"))
            .await
            .expect(200)
            .json()
    };
    let rules = || async { api.get(&format!("{PROXY}/_rules")).await.expect(200).json()["rules"][0].clone() };
    let sections = |rules: &Value| rules["toResourceRules"].as_array().unwrap().len();
    assert_eq!(touched().await.get("warnings"), None);
    assert_eq!(sections(&rules().await), 2);

    api.delete("/meshes/default/meshmultizoneservices/redis")
        .await
        .expect(200);
    let missing =
        "spec.to[0].targetRef: there is no MeshMultiZoneService with labels kuma.io/display-name=redis at present";
    let found = touched().await;
    assert_eq!(found["warnings"], json!([missing]));
    assert_eq!(found["total"], 1, "its other items work");
    let left = rules().await;
    assert_eq!(left["warnings"], json!([format!("mixed: {missing}")]));
    assert_eq!(left["toResourceRules"][0]["conf"], json!([{"idleTimeout": "20s"}]));
    assert_eq!(sections(&left), 1);
    let of_proxy = api.get(&format!("{PROXY}/_policies")).await.expect(200).json();
    assert_eq!(of_proxy["warnings"], json!([format!("MeshTimeout mixed: {missing}")]));

    api.seed(redis()).await;
    assert_eq!(touched().await.get("warnings"), None);
    let back = rules().await;
    assert_eq!(back["warnings"], json!([]));
    assert_eq!(back["toResourceRules"][1]["conf"], json!([{"idleTimeout": "7s"}]));
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_harms_no_other() {
    let api = with_proxy(zone()).await;
    let broken = json!({"to": [{"targetRef": {"kind": "Planet"}, "default": {}}]});
    api.seed(Resource::new(Kind::MeshTimeout, "default", "broken", broken))
        .await;
    put_timeout(&api, "all", json!({}), json!([to_mesh(json!({"idleTimeout": "20s"}))])).await;
    let rules = api.get(&format!("{PROXY}/_rules")).await.expect(200).json();
    assert_eq!(rules["rules"].as_array().unwrap().len(), 1);
    let found = api
        .get(&format!("{TIMEOUT}/broken/_dataplanes"))
        .await
        .expect(200)
        .json();
    let message = found["message"].as_str().unwrap();
    assert!(message.contains("spec.to[0].targetRef.kind"), "{message}");
}

#[tokio::test]
async fn proxies_of_a_multi_zone_service() {
    let api = with_proxy(zone()).await;
    let mut service = document(Kind::MeshService).unwrap();
    service["name"] = "web".into();
    api.put("/meshes/default/meshservices/web", &service).await.expect(201);
    api.put(
        "/meshes/default/meshmultizoneservices/a",
        &document(Kind::MeshMultiZoneService).unwrap(),
    )
    .await
    .expect(201);
    for path in ["_resources/dataplanes", "_dataplanes"] {
        let found = api
            .get(&format!("/meshes/default/meshmultizoneservices/a/{path}"))
            .await;
        let found = found.expect(200).json();
        assert_eq!(
            (&found["total"], &found["items"][0]["name"]),
            (&json!(1), &json!("web-1"))
        );
    }
}
