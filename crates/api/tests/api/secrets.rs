//! Secrets whose names mean something: garbage is refused, and the last key stays.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use meshspan_identity::SigningKey;
use meshspan_model::{Kind, Resource};
use meshspan_store::{Store, Write};
use serde_json::{Value, json};

use crate::harness::{Api, global};

fn global_secret(name: &str, data: &[u8]) -> Value {
    json!({"type": "GlobalSecret", "name": name, "data": BASE64_STANDARD.encode(data)})
}

fn secret(name: &str, data: &[u8]) -> Value {
    json!({"type": "Secret", "mesh": "default", "name": name, "data": BASE64_STANDARD.encode(data)})
}

#[tokio::test]
async fn garbage_is_refused_where_the_name_means_something() {
    let api = Api::with_mesh(global()).await;
    for name in [
        "user-token-revocations",
        "zone-token-revocations",
        "user-token-signing-key-1",
        "zone-token-signing-key-2",
        "zone-token-signing-public-key-2",
    ] {
        let path = format!("/global-secrets/{name}");
        let answer = api
            .put(&path, &global_secret(name, b"\xffgarbage one"))
            .await
            .expect(400);
        assert_eq!(answer.fields(), ["data"], "{name}");
        assert!(api.stored(Kind::GlobalSecret, "", name).is_none());
    }
    for name in [
        "dataplane-token-revocations-default",
        "dataplane-token-signing-key-default-1",
        "default.ca-builtin-cert-ca-1",
        "default.ca-builtin-key-ca-1",
    ] {
        let path = format!("/meshes/default/secrets/{name}");
        let answer = api.put(&path, &secret(name, b"\xffgarbage one")).await.expect(400);
        assert_eq!(answer.fields(), ["data"], "{name}");
    }
    let key = SigningKey::generate().unwrap();
    let path = "/global-secrets/user-token-signing-key-1";
    let document = global_secret("user-token-signing-key-1", key.to_pem().as_bytes());
    api.put(path, &document).await.expect(201);
    let path = "/global-secrets/user-token-revocations";
    let document = global_secret("user-token-revocations", b"a-1, b-2\n");
    api.put(path, &document).await.expect(201);
}

#[tokio::test]
async fn the_halves_of_a_provided_ca_cannot_be_broken() {
    let api = Api::with_mesh(global()).await;
    let ca = meshspan_identity::Ca::generate_builtin("default", 2048, crate::harness::NOW, time::Duration::days(30));
    let ca = ca.unwrap();
    for (name, pem) in [("my-cert", ca.cert_pem()), ("my-key", ca.key_pem())] {
        let path = format!("/meshes/default/secrets/{name}");
        api.put(&path, &secret(name, pem.as_bytes())).await.expect(201);
    }
    let mesh = json!({"type": "Mesh", "name": "default", "mtls": {
        "enabledBackend": "mine",
        "backends": [{"name": "mine", "type": "provided", "conf": {
            "cert": {"secret": "my-cert"}, "key": {"secret": "my-key"},
        }}],
    }});
    api.put("/meshes/default", &mesh).await.expect(200);
    for name in ["my-cert", "my-key"] {
        let path = format!("/meshes/default/secrets/{name}");
        let answer = api.put(&path, &secret(name, b"garbage")).await.expect(400);
        assert_eq!(answer.fields(), ["data"], "{name}");
        api.delete(&path).await.expect(400);
    }
}

#[tokio::test]
async fn the_only_key_of_a_kind_stays() {
    let api = Api::with_mesh(global()).await;
    let pem = SigningKey::generate().unwrap().to_pem();
    for (list, prefix) in [
        ("/global-secrets", "user-token-signing-key"),
        ("/global-secrets", "zone-token-signing-key"),
        ("/meshes/default/secrets", "dataplane-token-signing-key-default"),
    ] {
        let document = |serial: u8| {
            let name = format!("{prefix}-{serial}");
            match list {
                "/global-secrets" => global_secret(&name, pem.as_bytes()),
                _ => secret(&name, pem.as_bytes()),
            }
        };
        let path = |serial: u8| format!("{list}/{prefix}-{serial}");
        api.put(&path(1), &document(1)).await.expect(201);
        let answer = api.delete(&path(1)).await.expect(400);
        assert!(answer.text.contains(&format!("{prefix}-2")), "{}", answer.text);
        api.put(&path(2), &document(2)).await.expect(201);
        api.delete(&path(1)).await.expect(200);
        api.delete(&path(2)).await.expect(400);
    }
}

#[tokio::test]
async fn stored_garbage_locks_nobody_out() {
    let api = Api::with_mesh(global()).await;
    let pem = SigningKey::generate().unwrap().to_pem();
    let path = "/global-secrets/user-token-signing-key-1";
    api.put(path, &global_secret("user-token-signing-key-1", pem.as_bytes()))
        .await
        .expect(201);
    let request = json!({"name": "john", "groups": [], "validFor": "1h"});
    let token = api.post("/tokens/user", &request).await.expect(200).text;
    // Past the API, as an older release or another control plane may have stored it.
    for (name, data) in [
        ("user-token-revocations", b"\xff\xfe".as_slice()),
        ("user-token-signing-key-9", b"garbage"),
    ] {
        let spec = json!({"data": BASE64_STANDARD.encode(data)});
        let resource = Resource::new(Kind::GlobalSecret, "", name, spec);
        api.store.apply(vec![Write::upsert(resource)]).await.unwrap();
    }
    let who = api
        .anonymous(http::Method::GET, "/who-am-i")
        .header(http::header::AUTHORIZATION, format!("Bearer {token}"));
    let answer = api.send(who.body(axum::body::Body::empty()).unwrap()).await.expect(200);
    assert_eq!(answer.json()["name"], "john");
    api.post("/tokens/user", &request).await.expect(200);
}
