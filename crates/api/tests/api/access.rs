//! Who is calling, and what they may do.

use axum::body::Body;
use http::{Method, header};
use meshspan_api::access::Grant;
use meshspan_api::{Cors, Settings, default_resources};
use meshspan_identity::SigningKey;
use meshspan_model::{Kind, Resource};
use serde_json::{Value, json};

use crate::harness::{Answer, Api, NOW, dataplane, zone};

async fn who(api: &Api, request: http::request::Builder) -> Value {
    api.send(request.body(Body::empty()).unwrap()).await.expect(200).json()
}

#[tokio::test]
async fn local_programs_are_admin_and_nobody_else() {
    let api = Api::new(zone());
    let admin = json!({"name": "mesh-system:admin", "groups": ["mesh-system:admin", "mesh-system:authenticated"]});
    let anonymous = json!({"name": "mesh-system:anonymous", "groups": ["mesh-system:unauthenticated"]});
    assert_eq!(who(&api, api.admin(Method::GET, "/who-am-i")).await, admin);
    assert_eq!(who(&api, api.anonymous(Method::GET, "/who-am-i")).await, anonymous);
    let proxied = api.admin(Method::GET, "/who-am-i").header("x-forwarded-for", "1.2.3.4");
    assert_eq!(who(&api, proxied).await, anonymous);
    let page = api
        .admin(Method::GET, "/who-am-i")
        .header(header::ORIGIN, "https://evil.example");
    assert_eq!(who(&api, page).await, anonymous);
    let unknown_peer = http::Request::builder()
        .uri("/who-am-i")
        .header(header::HOST, "localhost");
    assert_eq!(who(&api, unknown_peer).await, anonymous);

    let mut settings = Settings::new(zone());
    settings.localhost_is_admin = false;
    let api = Api::with(settings);
    assert_eq!(who(&api, api.admin(Method::GET, "/who-am-i")).await, anonymous);
}

#[tokio::test]
async fn the_token_of_the_administrator() {
    let api = Api::new(zone());
    default_resources::ensure_defaults(&*api.store, &api.settings, NOW)
        .await
        .unwrap();
    let secret = api.get("/global-secrets/admin-user-token").await.expect(200).json();
    let token = {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(secret["data"].as_str().unwrap())
            .unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let request = |token: &str| {
        api.anonymous(Method::GET, "/global-secrets")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
    };
    let body = who(&api, request(&token)).await;
    assert!(body["total"].as_u64().unwrap() >= 3, "{body}");

    for bad in ["nonsense", "", &format!("{token}x")] {
        let answer = api.send(request(bad).body(Body::empty()).unwrap()).await.expect(401);
        assert_eq!(answer.json()["title"], "Invalid authentication data");
        assert_eq!(answer.json()["detail"], "Unauthenticated");
    }
    let index = api
        .anonymous(Method::GET, "/")
        .header(header::AUTHORIZATION, "Bearer nonsense");
    who(&api, index).await;

    // A bad token is refused even where the address alone would do.
    let local = api
        .admin(Method::GET, "/meshes")
        .header(header::AUTHORIZATION, "Bearer nonsense");
    api.send(local.body(Body::empty()).unwrap()).await.expect(401);

    let id = {
        use base64::Engine;
        let payload = token.split('.').nth(1).unwrap();
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(payload)
            .unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()["jti"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let revocations = {
        use base64::Engine;
        let data = base64::engine::general_purpose::STANDARD.encode(format!("other,{id}\n"));
        json!({"type": "GlobalSecret", "name": "user-token-revocations", "data": data})
    };
    api.put("/global-secrets/user-token-revocations", &revocations)
        .await
        .expect(201);
    api.send(request(&token).body(Body::empty()).unwrap()).await.expect(401);
}

#[tokio::test]
async fn rights_can_be_granted() {
    let mut settings = Settings::new(zone());
    settings.access.admin_resources = Grant {
        users: vec![],
        groups: vec!["mesh-system:unauthenticated".to_owned()],
    };
    settings.access.control_plane_metadata = Grant::admin();
    settings.config = json!({"mode": "zone", "store": {"postgres": {"password": "*****"}}});
    let api = Api::with(settings);
    let anonymous = |path: &str| api.anonymous(Method::GET, path).body(Body::empty()).unwrap();
    api.send(anonymous("/global-secrets")).await.expect(200);
    let answer = api.send(anonymous("/config")).await.expect(403);
    assert_eq!(answer.json()["title"], "Access Denied");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("mesh-system:anonymous/mesh-system:unauthenticated"),
        "{detail}"
    );
    assert_eq!(api.get("/config").await.expect(200).json()["mode"], "zone");
}

#[tokio::test]
async fn a_refused_caller_learns_nothing() {
    let api = Api::with_mesh(zone()).await;
    api.put(
        "/meshes/default/secrets/a",
        &crate::harness::document(Kind::Secret).unwrap(),
    )
    .await
    .expect(201);
    let mut bodies = Vec::new();
    for name in ["a", "b"] {
        let request = api.anonymous(Method::DELETE, &format!("/meshes/default/secrets/{name}"));
        bodies.push(api.send(request.body(Body::empty()).unwrap()).await.expect(403).text);
    }
    assert_eq!(bodies[0], bodies[1]);
    assert!(api.stored(Kind::Secret, "default", "a").is_some());
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call_and_have_no_more_rights_than_their_token() {
    let mut settings = Settings::new(zone());
    settings.cors = Cors::parse(&["https://console\\.example".to_owned()]).unwrap();
    let api = Api::with(settings);
    let from = |method, origin: &str| api.admin(method, "/who-am-i").header(header::ORIGIN, origin);
    let allowed = |answer: &Answer| answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).cloned();
    let send = async |request: http::request::Builder| api.send(request.body(Body::empty()).unwrap()).await;

    let question = from(Method::OPTIONS, "https://console.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "PUT")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization");
    let permission = send(question).await.expect(204);
    assert_eq!(allowed(&permission).unwrap(), "https://console.example");
    assert!(
        permission.headers[header::ACCESS_CONTROL_ALLOW_HEADERS]
            .to_str()
            .unwrap()
            .contains("Authorization")
    );
    let answer = send(from(Method::GET, "https://console.example")).await.expect(200);
    assert_eq!(allowed(&answer).unwrap(), "https://console.example");
    assert_eq!(answer.json()["name"], "mesh-system:anonymous");
    let other = send(from(Method::GET, "https://console.example.evil"))
        .await
        .expect(200);
    assert_eq!(allowed(&other), None);
    let nobody = Api::new(zone());
    let request = nobody
        .admin(Method::GET, "/who-am-i")
        .header(header::ORIGIN, "https://console.example");
    assert_eq!(allowed(&nobody.send(request.body(Body::empty()).unwrap()).await), None);
}

#[tokio::test]
async fn writes_need_a_token_unless_they_come_from_this_host() {
    let api = Api::with_mesh(zone()).await;
    let path = "/meshes/default/dataplanes/web-1";
    let document = dataplane("web-1", "web");
    let refused = api
        .send_json(api.anonymous(Method::PUT, path), &document)
        .await
        .expect(403);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    for remedy in [
        "localhost",
        "generate user-token",
        "KUMA_API_SERVER_AUTHN_ANONYMOUS_WRITES",
    ] {
        assert!(detail.contains(remedy), "{detail}");
    }
    let forwarded = api.admin(Method::PUT, path).header("via", "1.1 proxy");
    api.send_json(forwarded, &document).await.expect(403);
    assert!(api.stored(Kind::Dataplane, "default", "web-1").is_none());

    api.put(path, &document).await.expect(201);
    api.send(api.anonymous(Method::GET, path).body(Body::empty()).unwrap())
        .await
        .expect(200);
    let delete = |builder: http::request::Builder| builder.body(Body::empty()).unwrap();
    api.send(delete(api.anonymous(Method::DELETE, path))).await.expect(403);
    assert!(api.stored(Kind::Dataplane, "default", "web-1").is_some());

    let key = {
        use base64::Engine;
        base64::prelude::BASE64_STANDARD.encode(SigningKey::generate().unwrap().to_pem())
    };
    let name = "user-token-signing-key-1";
    api.seed(Resource::new(Kind::GlobalSecret, "", name, json!({"data": key})))
        .await;
    let request = json!({"name": "john", "groups": [], "validFor": "1h"});
    let token = api.post("/tokens/user", &request).await.expect(200).text;
    let john = |method| {
        api.anonymous(method, path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
    };
    api.send_json(john(Method::PUT), &document).await.expect(200);
    api.send(delete(john(Method::DELETE))).await.expect(200);
}

#[tokio::test]
async fn openness_can_be_restored() {
    let mut settings = Settings::new(zone());
    settings.anonymous_writes = true;
    let api = Api::with(settings);
    api.seed(Resource::new(Kind::Mesh, "", "default", json!({}))).await;
    let path = "/meshes/default/dataplanes/web-1";
    let put = api.anonymous(Method::PUT, path);
    api.send_json(put, &dataplane("web-1", "web")).await.expect(201);
    // Secrets stay what they are.
    let put = api.anonymous(Method::PUT, "/meshes/default/secrets/a");
    let secret = json!({"type": "Secret", "mesh": "default", "name": "a", "data": "YQ=="});
    api.send_json(put, &secret).await.expect(403);
}

#[tokio::test]
async fn a_request_with_two_hosts_or_credentials_is_refused() {
    let api = Api::new(zone());
    let send = |builder: http::request::Builder| api.send(builder.body(Body::empty()).unwrap());
    let two = api
        .admin(Method::GET, "/global-secrets")
        .header(header::HOST, "evil.example");
    let answer = send(two).await.expect(400);
    assert!(answer.text.contains("Host"), "{}", answer.text);
    let contradicting = api.admin(Method::GET, "http://evil.example/global-secrets");
    send(contradicting).await.expect(400);
    let same = api.admin(Method::GET, "http://LOCALHOST:5681/global-secrets");
    send(same).await.expect(200);
    let credentials = api
        .admin(Method::GET, "/global-secrets")
        .header(header::AUTHORIZATION, "Bearer a")
        .header(header::AUTHORIZATION, "Bearer b");
    let answer = send(credentials).await.expect(400);
    assert!(answer.text.contains("Authorization"), "{}", answer.text);
}
