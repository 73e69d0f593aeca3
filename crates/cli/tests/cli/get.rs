//! `get`.

use serde_json::{Value, json};

use crate::support::ControlPlane;

fn service(mesh: &str, name: &str) -> Value {
    json!({
        "spec": { "ports": [ { "port": 6379 } ] },
        "labels": { "kuma.io/display-name": name.trim_end_matches("-cd75xf46x4b2zx4x"), "kuma.io/zone": "east", "kuma.io/origin": "global" },
        "modificationTime": "2025-02-03T09:00:00Z", "creationTime": "2025-02-03T09:00:00Z",
        "name": name, "mesh": mesh, "type": "MeshService",
    })
}

#[tokio::test]
async fn follows_every_page() {
    let cp = ControlPlane::start().await;
    let path = "/meshes/default/meshservices";
    // The host of `next` is what the server believes to be: only its offset counts.
    let page = |name: &str, next: Value| json!({ "total": 3, "items": [service("default", name)], "next": next });
    cp.answer(
        &format!("GET {path}?size=1000"),
        200,
        page("a", json!("http://elsewhere:1/x?offset=1&size=1")),
    );
    cp.answer(
        &format!("GET {path}?size=1000&offset=1"),
        200,
        page("b", json!("https://elsewhere/x?size=1&offset=2")),
    );
    cp.answer(&format!("GET {path}?size=1000&offset=2"), 200, page("c", Value::Null));
    let out = cp.run(&["get", "meshservices"]).await.done();
    assert_eq!(
        out,
        "MESH      NAME   AGE\ndefault   a      3h\ndefault   b      3h\ndefault   c      3h\n"
    );
    let all: Value = serde_json::from_str(&cp.run(&["get", "msvc", "-o", "json"]).await.done()).unwrap();
    assert_eq!(
        (all["total"].as_u64(), all["items"].as_array().unwrap().len()),
        (Some(3), 3)
    );
    assert_eq!(all["next"], Value::Null);
}

#[tokio::test]
async fn pages_that_lead_back_are_an_error() {
    let cp = ControlPlane::start().await;
    let page = json!({ "total": 9, "items": [], "next": "http://x/zones?offset=1" });
    cp.answer("GET /zones?size=1000", 200, &page);
    cp.answer("GET /zones?size=1000&offset=1", 200, &page);
    let error = cp.run(&["get", "zones"]).await.error();
    assert!(error.contains("leads back to itself"), "{error}");
}

#[tokio::test]
async fn one_page_when_asked_for() {
    let cp = ControlPlane::start().await;
    let page = json!({ "total": 3, "items": [service("m", "a")], "next": "http://x/meshservices?size=1&offset=1" });
    cp.answer("GET /meshservices?size=1&offset=0", 200, page);
    let out = cp
        .run(&["get", "meshservice", "-A", "--size", "1", "--offset", "0"])
        .await
        .done();
    assert_eq!(
        out,
        "MESH   NAME   AGE\nm      a      3h\n\n1 of 3; go on with --offset=1\n"
    );
}

#[tokio::test]
async fn yaml_names_the_resource_first() {
    let cp = ControlPlane::start().await;
    cp.put("/meshes/default/meshservices/a", service("default", "a"));
    let out = cp.run(&["get", "meshservice", "a", "-o", "yaml"]).await.done();
    let expected = "type: MeshService
mesh: default
name: a
creationTime: \"2025-02-03T09:00:00Z\"
modificationTime: \"2025-02-03T09:00:00Z\"
labels:
  kuma.io/display-name: a
  kuma.io/zone: east
  kuma.io/origin: global
spec:
  ports:
  - port: 6379
";
    assert_eq!(out.replace('\'', "\""), expected);
}

#[tokio::test]
async fn finds_a_copy_by_the_name_that_the_user_gave() {
    let cp = ControlPlane::start().await;
    let list = |items: Value| json!({ "total": 1, "items": items, "next": null });
    let hashed = "redis-cd75xf46x4b2zx4x";
    let search = "GET /meshes/default/meshservices?name=redis&size=1000";
    cp.answer(
        search,
        200,
        list(json!([service("default", hashed), service("default", "redis-other")])),
    );
    let out = cp.run(&["get", "meshservice", "redis", "-o", "wide"]).await.done();
    let expected = "MESH      NAME                     AGE   DISPLAY NAME   ZONE   ORIGIN   NAMESPACE
default   redis-cd75xf46x4b2zx4x   3h    redis          east   global   -
";
    assert_eq!(out, expected);

    let mut other = service("default", hashed);
    other["name"] = json!("redis-wd2v4czb4v5b4w5c");
    cp.answer(search, 200, list(json!([service("default", hashed), other])));
    let error = cp.run(&["get", "meshservice", "redis"]).await.error();
    assert_eq!(
        error,
        "several are called redis: name one of redis-cd75xf46x4b2zx4x, redis-wd2v4czb4v5b4w5c"
    );

    cp.answer(search, 200, list(json!([])));
    let error = cp.run(&["get", "meshservice", "redis"]).await.error();
    assert!(
        error.starts_with("there is no MeshService named redis in mesh default on http://"),
        "{error}"
    );
}

#[tokio::test]
async fn columns_of_meshes_and_dataplanes() {
    let cp = ControlPlane::start().await;
    let mesh = json!({
        "type": "Mesh", "name": "default", "modificationTime": "2025-01-25T12:00:00Z", "routing": { "zoneEgress": true },
        "mtls": { "enabledBackend": "ca-1", "backends": [ { "name": "ca-1", "type": "builtin" } ] },
    });
    cp.list("/meshes", json!([mesh, { "type": "Mesh", "name": "plain" }]));
    let expected = "NAME      mTLS           LOCALITY   ZONEEGRESS   AGE
default   builtin/ca-1   off        on           9d
plain     off            off        off          never
";
    assert_eq!(cp.run(&["get", "meshes"]).await.done(), expected);

    let dataplane = json!({
        "type": "Dataplane", "mesh": "default", "name": "cart-1", "modificationTime": "2025-02-03T11:59:55Z",
        "networking": { "address": "10.1.0.4", "inbound": [
            { "port": 8080, "tags": { "kuma.io/service": "cart", "version": "1" } },
            { "port": 8081, "tags": { "kuma.io/service": "cart-admin" } },
        ] },
    });
    cp.list("/meshes/default/dataplanes", json!([dataplane]));
    let expected = "MESH      NAME     TAGS                                        ADDRESS    AGE
default   cart-1   kuma.io/service=cart,cart-admin version=1   10.1.0.4   5s
";
    assert_eq!(cp.run(&["get", "dataplanes"]).await.done(), expected);
}
