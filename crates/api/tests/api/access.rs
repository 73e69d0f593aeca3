//! Who is calling, and what they may do.

use axum::body::Body;
use http::{Method, header};
use meshspan_api::access::Grant;
use meshspan_api::{Cors, Settings, default_resources};
use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, NOW, zone};

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
