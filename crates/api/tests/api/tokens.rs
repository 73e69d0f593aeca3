//! Tokens that are issued are accepted, by whom they should be.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use http::{Method, header};
use meshspan_api::tokens::trust;
use meshspan_api::{Settings, default_resources};
use meshspan_identity::token::{ZoneScope, validate_dataplane_token, validate_user_token, validate_zone_token};
use meshspan_store::Store;
use serde_json::json;
use time::Duration;

use crate::harness::{Api, NOW, federated, zone};

async fn with_defaults() -> Api {
    let api = Api::new(zone());
    default_resources::ensure_defaults(&*api.store, &api.settings, NOW)
        .await
        .unwrap();
    api
}

#[tokio::test]
async fn round_trip() {
    let api = with_defaults().await;
    let snapshot = api.store.snapshot();

    let request =
        json!({"name": "web-1", "mesh": "default", "tags": {"kuma.io/service": ["web"]}, "type": "dataplane"});
    let answer = api.post("/tokens/dataplane", &request).await.expect(200);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/plain");
    let trust = trust::dataplane(&snapshot, "default");
    let token = validate_dataplane_token(&answer.text, &trust, NOW).unwrap();
    let tags = |service: &str| BTreeMap::from([("kuma.io/service".to_owned(), BTreeSet::from([service.to_owned()]))]);
    token.claims.authorize("default", "web-1", &tags("web")).unwrap();
    token.claims.authorize("default", "web-1", &tags("db")).unwrap_err();
    assert_eq!(token.expires_at, Some(NOW + Duration::days(3650)));

    let answer = api
        .post(
            "/tokens/zone",
            &json!({"zone": "east", "scope": ["ingress"], "validFor": "1h"}),
        )
        .await;
    let trust = trust::zone(&snapshot, false);
    let token = validate_zone_token(&answer.expect(200).text, &trust, NOW).unwrap();
    token.claims.authorize("east", ZoneScope::Ingress).unwrap();
    token.claims.authorize("east", ZoneScope::Egress).unwrap_err();
    assert_eq!(token.expires_at, Some(NOW + Duration::hours(1)));

    let answer = api
        .post(
            "/tokens/user",
            &json!({"name": "ann", "groups": ["ops"], "validFor": "24h"}),
        )
        .await;
    let text = answer.expect(200).text;
    validate_user_token(&text, &trust::user(&snapshot), NOW).unwrap();
    let who = api
        .anonymous(Method::GET, "/who-am-i")
        .header(header::AUTHORIZATION, format!("Bearer {text}"));
    let body = api.send(who.body(Body::empty()).unwrap()).await.expect(200).json();
    assert_eq!(
        body,
        json!({"name": "ann", "groups": ["ops", "mesh-system:authenticated"]})
    );
    let secrets = api
        .anonymous(Method::GET, "/global-secrets")
        .header(header::AUTHORIZATION, format!("Bearer {text}"));
    api.send(secrets.body(Body::empty()).unwrap()).await.expect(403);
    api.send_json(
        api.anonymous(Method::POST, "/tokens/user")
            .header(header::AUTHORIZATION, format!("Bearer {text}")),
        &json!({"name": "eve", "validFor": "1h"}),
    )
    .await
    .expect(403);
}

#[tokio::test]
async fn the_newest_key_signs() {
    let api = with_defaults().await;
    let mut key = api.get("/global-secrets/user-token-signing-key-1").await.json();
    for (name, kid) in [("user-token-signing-key-9", "9"), ("user-token-signing-key-10", "10")] {
        key["name"] = name.into();
        api.put(&format!("/global-secrets/{name}"), &key).await.expect(201);
        let token = api
            .post("/tokens/user", &json!({"name": "ann", "validFor": "1h"}))
            .await
            .expect(200)
            .text;
        let header = {
            use base64::Engine;
            base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(token.split('.').next().unwrap())
                .unwrap()
        };
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&header).unwrap()["kid"],
            kid
        );
    }
}

#[tokio::test]
async fn bad_requests() {
    let api = with_defaults().await;
    for (path, body, fields) in [
        ("dataplane", json!({}), vec!["mesh"]),
        ("dataplane", json!({"mesh": "default", "type": "toaster"}), vec!["type"]),
        (
            "dataplane",
            json!({"mesh": "default", "validFor": "soon"}),
            vec!["validFor"],
        ),
        ("zone", json!({"zone": "east"}), vec!["scope"]),
        ("zone", json!({"scope": ["ingress", "all"]}), vec!["scope[1]"]),
        ("user", json!({}), vec!["name", "validFor"]),
        ("user", json!({"name": "ann", "validFor": "0s"}), vec!["validFor"]),
        ("user", json!({"name": "ann", "validFor": "9999999h"}), vec!["validFor"]),
    ] {
        let answer = api.post(&format!("/tokens/{path}"), &body).await.expect(400);
        assert_eq!(answer.json()["title"], "Invalid request");
        assert_eq!(answer.fields(), fields, "{path} {body}");
    }
    let longest = json!({"name": "ann", "validFor": "2562047h"});
    api.post("/tokens/user", &longest).await.expect(200);
    for path in ["dataplane", "zone", "user"] {
        let path = format!("/tokens/{path}");
        let request = api
            .admin(Method::POST, &path)
            .header(header::CONTENT_TYPE, "application/json");
        let answer = api.send(request.body(Body::from("{")).unwrap()).await.expect(400);
        assert_eq!(answer.text, "");
        api.send_json(api.anonymous(Method::POST, &path), &json!({}))
            .await
            .expect(403);
        let request = api.admin(Method::POST, &path).body(Body::from("{}"));
        api.send(request.unwrap()).await.expect(415);
    }
    let answer = api
        .post("/tokens/dataplane", &json!({"mesh": "nowhere"}))
        .await
        .expect(404);
    assert_eq!(answer.json()["title"], "Signing Key not found");
    let zone = Api::new(federated());
    let answer = zone
        .post("/tokens/zone", &json!({"scope": ["ingress"]}))
        .await
        .expect(404);
    assert!(
        answer.json()["detail"].as_str().unwrap().contains("global"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn issuing_can_be_switched_off() {
    let mut settings = Settings::new(zone());
    settings.issuers = meshspan_api::settings::Issuers {
        user: false,
        dataplane: false,
        zone: false,
    };
    let api = Api::with(settings);
    for path in ["/tokens/dataplane", "/tokens/zone", "/tokens/user"] {
        api.post(path, &json!({})).await.expect(400);
    }
}
