//! Pages and filters.

use axum::body::Body;
use http::{Method, header};
use meshspan_api::ConnectionScheme;
use meshspan_model::{Kind, Resource};
use serde_json::{Value, json};

use crate::harness::{Api, dataplane, zone};

fn names(body: &Value) -> Vec<&str> {
    body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect()
}

async fn with_zones(names: &[&str]) -> Api {
    let api = Api::new(zone());
    for name in names {
        let resource = Resource::new(Kind::Zone, "", *name, json!({}));
        api.seed(resource.with_label("first", &name[..1])).await;
    }
    api
}

#[tokio::test]
async fn pages() {
    let api = with_zones(&["c", "a", "b"]).await;
    let body = api.get("/zones").await.json();
    assert_eq!(
        (names(&body), &body["total"], &body["next"]),
        (vec!["a", "b", "c"], &json!(3), &Value::Null)
    );

    let body = api.get("/zones?size=2&name=").await.json();
    assert_eq!((names(&body), &body["total"]), (vec!["a", "b"], &json!(3)));
    let next = body["next"].as_str().unwrap();
    assert_eq!(next, "http://localhost:5681/zones?name=&offset=2&size=2");
    let body = api
        .get(next.strip_prefix("http://localhost:5681").unwrap())
        .await
        .json();
    assert_eq!((names(&body), &body["next"]), (vec!["c"], &Value::Null));

    let body = api.get("/zones?offset=99").await.json();
    assert_eq!(
        (names(&body), &body["total"], &body["next"]),
        (vec![], &json!(3), &Value::Null)
    );
    let body = api.get("/zones?size=3").await.json();
    assert_eq!(body["next"], Value::Null, "the last page is full");
}

#[tokio::test]
async fn a_hundred_by_default_and_a_thousand_at_most() {
    let api = Api::new(zone());
    for index in 0..101 {
        api.seed(Resource::new(Kind::Zone, "", format!("z{index:03}"), json!({})))
            .await;
    }
    let body = api.get("/zones").await.json();
    assert_eq!((names(&body).len(), &body["total"]), (100, &json!(101)));
    assert_eq!(body["next"], "http://localhost:5681/zones?offset=100&size=100");
    assert_eq!(names(&api.get("/zones?size=1000").await.json()).len(), 101);
    for (query, title, field) in [
        ("size=1001", "Invalid page size", "size"),
        ("size=0", "Invalid page size", "size"),
        ("size=-1", "Invalid page size", "size"),
        ("size=ten", "Invalid page size", "size"),
        ("offset=-1", "Invalid offset", "offset"),
        ("offset=x", "Invalid offset", "offset"),
        ("filter[kind]=x", "Invalid filter", "filter[kind]"),
        ("filter%5Blabels.%5D=x", "Invalid filter", "filter[labels.]"),
    ] {
        let answer = api.get(&format!("/zones?{query}")).await.expect(400);
        assert_eq!(answer.fields(), [field], "{query}");
        assert_eq!(answer.json()["title"], title, "{query}");
        assert_eq!(answer.json()["invalid_parameters"][0]["source"], "query", "{query}");
    }
}

#[tokio::test]
async fn links_follow_the_connection() {
    let api = with_zones(&["a", "b"]).await;
    let request = api
        .anonymous(Method::GET, "/zones?size=1")
        .extension(ConnectionScheme::Https);
    let body = api.send(request.body(Body::empty()).unwrap()).await.json();
    assert_eq!(body["next"], "https://cp.example:5681/zones?offset=1&size=1");
    let mut settings = meshspan_api::Settings::new(zone());
    settings.base_path = "/mesh/api/".to_owned();
    let based = Api::with(settings);
    for name in ["a", "b"] {
        based.seed(Resource::new(Kind::Zone, "", name, json!({}))).await;
    }
    let body = based.get("/mesh/api/zones?size=1").await.json();
    assert_eq!(body["next"], "http://localhost:5681/mesh/api/zones?offset=1&size=1");
    based.get("/zones").await.expect(404);
    based.get("/mesh/api").await.expect(200);
    based.get("/mesh/api/").await.expect(200);
}

#[tokio::test]
async fn filters_by_name_and_label() {
    let api = with_zones(&["east-1", "east-2", "west-1"]).await;
    for (query, expected) in [
        ("name=east", vec!["east-1", "east-2"]),
        ("name=-1", vec!["east-1", "west-1"]),
        ("name=north", vec![]),
        ("filter[labels.first]=w", vec!["west-1"]),
        ("filter%5Blabels.first%5D=e&name=2", vec!["east-2"]),
        ("filter[labels.first]=e&filter[labels.other]=x", vec![]),
    ] {
        let body = api.get(&format!("/zones?{query}")).await.json();
        assert_eq!(names(&body), expected, "{query}");
        assert_eq!(body["total"], expected.len(), "{query}");
    }
    let body = api.get("/zones?name=east&size=1").await.json();
    assert_eq!(body["next"], "http://localhost:5681/zones?name=east&offset=1&size=1");
}

#[tokio::test]
async fn filters_of_dataplanes() {
    let api = Api::with_mesh(zone()).await;
    let mut web = dataplane("web", "web");
    web["networking"]["inbound"].as_array_mut().unwrap().push(json!({
        "port": 9090, "tags": {"kuma.io/service": "web-admin", "kuma.io/protocol": "http"},
    }));
    let gateway = |name: &str, gateway_type: &str| {
        json!({"type": "Dataplane", "mesh": "default", "name": name, "networking": {
            "address": "10.0.0.1", "gateway": {"type": gateway_type, "tags": {"kuma.io/service": "edge"}},
        }})
    };
    let dataplanes = [
        web,
        dataplane("db", "db"),
        gateway("builtin", "BUILTIN"),
        gateway("delegated", "DELEGATED"),
    ];
    for document in &dataplanes {
        let path = format!("/meshes/default/dataplanes/{}", document["name"].as_str().unwrap());
        api.put(&path, document).await.expect(201);
    }
    for (query, expected) in [
        ("tag=kuma.io/service:web", vec!["web"]),
        ("tag=kuma.io/service:eb", vec!["web"]),
        ("tag=kuma.io/service:edge", vec!["builtin", "delegated"]),
        ("tag=kuma.io/service:web-admin&tag=kuma.io/protocol:http", vec!["web"]),
        ("tag=kuma.io/service:db&tag=kuma.io/protocol:http", vec![]),
        ("tag=kuma.io/protocol:*", vec!["web"]),
        ("tag=nonsense", vec!["builtin", "db", "delegated", "web"]),
        ("gateway=true", vec!["builtin", "delegated"]),
        ("gateway=false", vec!["db", "web"]),
        ("gateway=builtin", vec!["builtin"]),
        ("gateway=delegated", vec!["delegated"]),
    ] {
        for path in [
            "/meshes/default/dataplanes",
            "/dataplanes",
            "/dataplanes/_overview",
            "/meshes/default/dataplanes+insights",
        ] {
            assert_eq!(
                names(&api.get(&format!("{path}?{query}")).await.json()),
                expected,
                "{path}?{query}"
            );
        }
    }
    assert_eq!(
        api.get("/dataplanes?gateway=maybe").await.expect(400).fields(),
        ["gateway"]
    );
    let answer = api.get("/dataplanes").await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
}
