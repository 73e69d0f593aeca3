//! `_config`: what a proxy is sent, and what policies in shadow would change.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshspan_api::access::Grant;
use meshspan_api::{ProxyConfigError, ProxyConfigFuture, ProxyConfigs, ProxyProblemsFuture, Settings, XdsResources};
use meshspan_model::{Kind, Resource, ResourceKey};
use serde_json::{Value, json};

use crate::harness::{Api, dataplane, global, memory_store, zone};

const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const PATH: &str = "/meshes/default/dataplanes/web-1/_config";

/// Knows `web-1`; in shadow its cluster has another timeout, and `stopped` cannot be asked.
struct Engine;

impl ProxyConfigs for Engine {
    fn resources(&self, mesh: String, name: String, shadow: bool) -> ProxyConfigFuture {
        Box::pin(async move {
            assert_eq!(mesh, "default");
            match name.as_str() {
                "web-1" => Ok(Some(resources(if shadow { "9s" } else { "2s" }))),
                "stopped" => Err(ProxyConfigError::Stopped),
                _ => Ok(None),
            }
        })
    }

    fn problems(&self) -> ProxyProblemsFuture {
        let proxy = ResourceKey::new(Kind::Dataplane, "default", "web-1");
        let ingress = ResourceKey::new(Kind::ZoneIngress, "", "west");
        let problems = BTreeMap::from([
            (proxy, vec!["networking.inbound[1] is not served".to_owned()]),
            (ingress, vec!["its address does not resolve".to_owned()]),
        ]);
        Box::pin(async move { Ok(problems) })
    }
}

fn resources(timeout: &str) -> XdsResources {
    let of = |name: &str, resource: Value| BTreeMap::from([(name.to_owned(), resource)]);
    BTreeMap::from([
        (
            CLUSTER.to_owned(),
            of("db", json!({"name": "db", "connectTimeout": timeout})),
        ),
        (SECRET.to_owned(), of("identity", json!({"privateKey": "hidden"}))),
    ])
}

async fn with_engine() -> Api {
    let store = memory_store();
    let api = Api::telling(Settings::new(zone()), store.clone(), store, Some(Arc::new(Engine)));
    api.seed(Resource::new(Kind::Mesh, "", "default", json!({}))).await;
    for name in ["web-1", "stopped", "unknown"] {
        let spec = json!({"networking": dataplane(name, "web")["networking"]});
        api.seed(Resource::new(Kind::Dataplane, "default", name, spec)).await;
    }
    api
}

#[tokio::test]
async fn what_a_proxy_is_sent() {
    let api = with_engine().await;
    let timeout = |answer: &Value| answer["xds"][CLUSTER]["db"]["connectTimeout"].clone();
    let live = api.get(PATH).await.expect(200);
    assert!(!live.text.contains("hidden"), "keys are not shown: {}", live.text);
    let live = live.json();
    assert_eq!((timeout(&live), live.get("diff")), (json!("2s"), None));
    assert_eq!(api.get(&format!("{PATH}?shadow=false")).await.json(), live);
    let shadow = api.get(&format!("{PATH}?shadow=true")).await.expect(200).json();
    assert_eq!((timeout(&shadow), shadow.get("diff")), (json!("9s"), None));
}

#[tokio::test]
async fn what_shadow_policies_would_change() {
    let api = with_engine().await;
    let answer = api
        .get(&format!("{PATH}?shadow=true&include=diff"))
        .await
        .expect(200)
        .json();
    let path = "/type.googleapis.com~1envoy.config.cluster.v3.Cluster/db/connectTimeout";
    assert_eq!(
        answer["diff"],
        json!([
            {"op": "test", "path": path, "value": "2s"},
            {"op": "remove", "path": path},
            {"op": "add", "path": path, "value": "9s"},
        ])
    );
    let answer = api.get(&format!("{PATH}?include=diff")).await.expect(200).json();
    assert_eq!(answer["diff"], json!([]));
}

#[tokio::test]
async fn questions_without_an_answer() {
    let api = with_engine().await;
    for (path, status) in [
        ("/meshes/default/dataplanes/nope/_config", 404),
        ("/meshes/nope/dataplanes/web-1/_config", 404),
        ("/meshes/default/dataplanes/unknown/_config", 404),
        ("/meshes/default/dataplanes/stopped/_config", 503),
    ] {
        api.get(path).await.expect(status).json();
    }
    for (query, field) in [
        ("shadow=maybe", "shadow"),
        ("include=all", "include"),
        ("include=diff,all", "include"),
    ] {
        let answer = api.get(&format!("{PATH}?{query}")).await.expect(400);
        assert_eq!(answer.fields(), [field], "{query}");
    }
    let api = Api::with_mesh(global()).await;
    let refused = api.get(PATH).await.expect(405).json();
    assert_eq!(refused["title"], "Method not allowed");
    let api = Api::with_mesh(zone()).await;
    api.put("/meshes/default/dataplanes/web-1", &dataplane("web-1", "web"))
        .await
        .expect(201);
    api.get(PATH).await.expect(503);
}

#[tokio::test]
async fn only_who_has_the_right_sees_it() {
    let store = memory_store();
    let mut settings = Settings::new(zone());
    settings.access.view_config_dump = Grant::admin();
    let api = Api::telling(settings, store.clone(), store, Some(Arc::new(Engine)));
    api.seed(Resource::new(Kind::Mesh, "", "default", json!({}))).await;
    let spec = json!({"networking": dataplane("web-1", "web")["networking"]});
    api.seed(Resource::new(Kind::Dataplane, "default", "web-1", spec)).await;
    api.get(PATH).await.expect(200);
    let stranger = api
        .anonymous(http::Method::GET, PATH)
        .body(axum::body::Body::empty())
        .unwrap();
    api.send(stranger).await.expect(403);
}

#[tokio::test]
async fn overviews_say_what_is_not_served() {
    let api = with_engine().await;
    let problems = |overview: &Value| overview["problems"].clone();
    let list = api.get("/meshes/default/dataplanes/_overview").await.expect(200).json();
    let items = list["items"].as_array().unwrap();
    let with: Vec<_> = items.iter().filter(|item| problems(item) != Value::Null).collect();
    assert_eq!(with.len(), 1, "{list}");
    let one = api
        .get("/meshes/default/dataplanes/web-1/_overview")
        .await
        .expect(200)
        .json();
    assert_eq!(problems(&one), json!(["networking.inbound[1] is not served"]));
    let networking = json!({"address": "10.0.0.1", "port": 10001});
    let ingress = Resource::new(Kind::ZoneIngress, "", "west", json!({ "networking": networking }));
    api.seed(ingress).await;
    let ingress = api.get("/zoneingresses/west/_overview").await.expect(200).json();
    assert_eq!(problems(&ingress), json!(["its address does not resolve"]));
}
