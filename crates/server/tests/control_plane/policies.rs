//! What a change of a policy sends to whom, and what the API tells of it.

use http::{Method, StatusCode};
use meshspan_model::{Kind, Resource};
use meshspan_xds::ResourceType::{Cluster, Endpoint, Listener};
use serde_json::{Value, json};

use crate::support::documents::{PORT, cluster, dataplane, explicit, multi_zone_cluster, multi_zone_service};
use crate::support::proxy::{Sent, updated};
use crate::support::{ControlPlane, Proxy};

/// A policy for the traffic to a MeshMultiZoneService, of all proxies or those of one Dataplane.
fn timeout(name: &str, proxy: Option<&str>, service: &str, seconds: u32) -> Resource {
    let top = match proxy {
        Some(name) => json!({ "kind": "Dataplane", "name": name }),
        None => json!({ "kind": "Mesh" }),
    };
    let target = json!({ "kind": "MeshMultiZoneService", "name": service });
    let default = json!({ "connectionTimeout": format!("{seconds}s"), "idleTimeout": format!("{seconds}m") });
    let spec = json!({ "targetRef": top, "to": [{ "targetRef": target, "default": default }] });
    // As the API would label it; without, what the mesh started with would override it.
    Resource::new(Kind::MeshTimeout, "default", name, spec).with_label("kuma.io/origin", "zone")
}

fn sorted(mut sent: Vec<Sent>) -> Vec<Sent> {
    sent.sort();
    sent.dedup();
    sent
}

/// What an edit that is about `name` sends.
fn about(name: &str) -> Vec<Sent> {
    // Envoy waits for the endpoints of a cluster that it gets anew, so they are sent along.
    sorted(vec![
        updated(Cluster, name),
        updated(Endpoint, name),
        updated(Listener, name),
    ])
}

/// Two services and two proxies, at rest.
async fn two_proxies() -> (ControlPlane, Proxy, Proxy) {
    let cp = ControlPlane::start().await;
    for service in ["redis", "web"] {
        cp.put(multi_zone_service("default", service, service, PORT)).await;
    }
    let mut redis = Proxy::start(&cp, &dataplane("default", "redis-1", "redis", "10.0.0.1")).await;
    let mut web = Proxy::start(&cp, &dataplane("default", "web-1", "web", "10.0.0.2")).await;
    for service in ["redis", "web"] {
        for proxy in [&mut redis, &mut web] {
            let name = multi_zone_cluster("default", service, PORT);
            proxy.until(&name, |proxy| proxy.has_all_of(&name)).await;
            let name = cluster("default", service);
            proxy.until(&name, |proxy| proxy.has_all_of(&name)).await;
        }
    }
    cp.settle("default", &mut [&mut redis, &mut web]).await;
    (cp, redis, web)
}

async fn sent_after(cp: &ControlPlane, proxies: &mut [&mut Proxy]) -> Vec<Vec<Sent>> {
    cp.marker("default", proxies).await;
    cp.marker("default", proxies).await;
    proxies.iter().map(|proxy| sorted(proxy.since_settled())).collect()
}

#[tokio::test]
async fn an_edit_sends_the_destination_that_it_is_about_and_nothing_else() {
    let (cp, mut redis, mut web) = two_proxies().await;
    let name = multi_zone_cluster("default", "redis", PORT);
    for seconds in [3, 4] {
        cp.put(timeout("redis", None, "redis", seconds)).await;
        let sent = sent_after(&cp, &mut [&mut redis, &mut web]).await;
        assert_eq!(sent, [about(&name), about(&name)], "{seconds} s");
        cp.settle("default", &mut [&mut redis, &mut web]).await;
    }
    assert_eq!(redis.version(Cluster, &name), web.version(Cluster, &name));
    cp.delete(Kind::MeshTimeout, "default", "redis").await;
    let sent = sent_after(&cp, &mut [&mut redis, &mut web]).await;
    assert_eq!(sent, [about(&name), about(&name)]);
}

#[tokio::test]
async fn a_policy_for_one_proxy_is_no_matter_of_another() {
    let (cp, mut redis, mut web) = two_proxies().await;
    let name = multi_zone_cluster("default", "redis", PORT);
    let shared = redis.version(Cluster, &name);
    cp.put(timeout("only-web", Some("web-1"), "redis", 1)).await;
    let sent = sent_after(&cp, &mut [&mut redis, &mut web]).await;
    assert_eq!(sent, [Vec::new(), about(&name)]);
    assert_eq!(redis.version(Cluster, &name), shared);
    assert_ne!(web.version(Cluster, &name), shared);
    cp.settle("default", &mut [&mut redis, &mut web]).await;
    cp.delete(Kind::MeshTimeout, "default", "only-web").await;
    let sent = sent_after(&cp, &mut [&mut redis, &mut web]).await;
    assert_eq!(sent, [Vec::new(), about(&name)]);
    assert_eq!(web.version(Cluster, &name), shared);
}

#[tokio::test]
async fn a_route_brings_its_backends_to_proxies_that_do_not_name_them() {
    let (cp, _redis, _web) = two_proxies().await;
    let outbounds = [(5000, "web", PORT)];
    let mut narrow = Proxy::start(&cp, &explicit("default", "narrow-1", "10.0.0.4", &outbounds)).await;
    let (own, backend) = (
        multi_zone_cluster("default", "web", PORT),
        multi_zone_cluster("default", "redis", PORT),
    );
    narrow.until("its outbound", |narrow| narrow.has(Cluster, &own)).await;
    assert!(!narrow.has(Cluster, &backend));
    let backends = json!([{ "kind": "MeshMultiZoneService", "name": "redis", "port": PORT }]);
    let target = json!({ "kind": "MeshMultiZoneService", "name": "web" });
    let rules = json!([{ "default": { "backendRefs": backends } }]);
    let spec = json!({ "to": [{ "targetRef": target, "rules": rules }] });
    cp.put(Resource::new(Kind::MeshTCPRoute, "default", "to-redis", spec))
        .await;
    narrow
        .until("the backend", |narrow| {
            narrow.has(Cluster, &backend) && narrow.has(Endpoint, &backend)
        })
        .await;
    let _second = Proxy::start(&cp, &dataplane("default", "redis-2", "redis", "10.0.0.5"))
        .await
        .driven();
    narrow
        .until("the backend's second instance", |narrow| {
            narrow.endpoints(&backend).len() == 2
        })
        .await;
    // So do policies about the backend, which the proxy does not name either.
    let before = narrow.version(Cluster, &backend);
    cp.put(timeout("of-backend", None, "redis", 7)).await;
    narrow
        .until("the backend's timeout", |narrow| {
            narrow.version(Cluster, &backend) != before
        })
        .await;
    cp.delete(Kind::MeshTCPRoute, "default", "to-redis").await;
    narrow
        .until("no backend", |narrow| !narrow.has(Cluster, &backend))
        .await;
}

/// The texts of a resource, as far as they are plain.
fn says(proxy: &Proxy, name: &str, text: &str) -> bool {
    let (_, body) = proxy.mirror.get(Listener, name).unwrap();
    body.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn proxies_share_listeners_with_access_logs_if_their_nodes_say_who_they_are() {
    let (cp, mut redis, mut web) = two_proxies().await;
    let backend = json!({ "type": "File", "file": { "path": "/tmp/a.log",
                          "format": { "type": "Plain", "plain": "from %KUMA_SOURCE_SERVICE%" } } });
    let to = json!([{ "targetRef": { "kind": "Mesh" }, "default": { "backends": [backend] } }]);
    let spec = json!({ "targetRef": { "kind": "Mesh" }, "to": to });
    let logs = Resource::new(Kind::MeshAccessLog, "default", "all", spec).with_label("kuma.io/origin", "zone");
    cp.put(logs).await;
    let name = multi_zone_cluster("default", "redis", PORT);
    for proxy in [&mut redis, &mut web] {
        proxy
            .until("the log", |proxy| says(proxy, &name, "accessLog.source.service"))
            .await;
    }
    assert_eq!(redis.version(Listener, &name), web.version(Listener, &name));

    // What a node says holds until its Envoy starts anew; the Dataplane may be another by then.
    let mut renamed = dataplane("default", "redis-1", "redis", "10.0.0.1");
    renamed["networking"]["inbound"][0]["tags"]["kuma.io/service"] = json!("cache");
    cp.apply(&renamed).await;
    redis
        .until("its new name", |redis| says(redis, &name, "from cache"))
        .await;
    assert!(says(&web, &name, "accessLog.source.service"));
    // It hears of services that come later, under its name.
    cp.put(multi_zone_service("default", "late", "late", PORT)).await;
    let late = multi_zone_cluster("default", "late", PORT);
    for proxy in [&mut redis, &mut web] {
        proxy.until("the service", |proxy| proxy.has_all_of(&late)).await;
    }
    redis
        .until("its name in it", |redis| says(redis, &late, "from cache"))
        .await;
    assert!(says(&web, &late, "accessLog.source.service"));
    cp.apply(&dataplane("default", "redis-1", "redis", "10.0.0.1")).await;
    redis
        .until("the shared listeners", |redis| {
            redis.version(Listener, &late) == web.version(Listener, &late)
        })
        .await;
}

#[tokio::test]
async fn a_shadow_policy_is_told_but_not_sent() {
    let (cp, mut redis, mut web) = two_proxies().await;
    let name = multi_zone_cluster("default", "redis", PORT);
    let mut shadow = timeout("shadow", None, "redis", 7);
    shadow.labels.insert("kuma.io/effect".into(), "shadow".into());
    cp.put(shadow).await;
    let sent = sent_after(&cp, &mut [&mut redis, &mut web]).await;
    assert_eq!(sent, [Vec::new(), Vec::new()]);

    let config = async |query: &str| -> Value {
        let path = format!("/meshes/default/dataplanes/redis-1/_config{query}");
        let (status, body) = cp.rest(Method::GET, &path, None).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let clusters = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    let timeout = |config: &Value| config["xds"][clusters][&name]["connectTimeout"].clone();
    assert_eq!(timeout(&config("").await), "2s");
    let with_shadow = config("?shadow=true&include=diff").await;
    assert_eq!(timeout(&with_shadow), "7s");
    let diff = with_shadow["diff"].to_string();
    assert!(diff.contains(&name) && diff.contains("7s"), "{diff}");
    assert!(!diff.contains(&multi_zone_cluster("default", "web", PORT)), "{diff}");
    assert_eq!(config("?include=diff").await["diff"], json!([]));
}
