//! Rules of particular kinds: zones, dataplanes, external services.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use meshspan_identity::Ca;
use meshspan_model::{Kind, Resource};
use serde_json::{Value, json};

use crate::harness::{Api, NOW, dataplane, global, zone};

#[tokio::test]
async fn a_connected_zone_is_not_deleted() {
    let api = Api::new(global());
    api.put("/zones/east", &json!({"type": "Zone", "name": "east"}))
        .await
        .expect(201);
    let insight = |subscription| Resource::new(Kind::ZoneInsight, "", "east", json!({"subscriptions": [subscription]}));
    api.seed(insight(json!({"id": "1", "connectTime": "2026-03-01T10:00:00Z"})))
        .await;
    let answer = api.delete("/zones/east").await.expect(400);
    assert_eq!(answer.fields(), ["zone"]);
    let gone = json!({"id": "1", "connectTime": "2026-03-01T10:00:00Z", "disconnectTime": "2026-03-01T11:00:00Z"});
    api.seed(insight(gone)).await;
    api.delete("/zones/east").await.expect(200);
}

#[tokio::test]
async fn dataplanes_get_the_tag_of_their_zone() {
    let api = Api::with_mesh(zone()).await;
    let mut document = dataplane("web", "web");
    document["networking"]["inbound"][0]["tags"]["kuma.io/zone"] = "moon".into();
    api.put("/meshes/default/dataplanes/web", &document).await.expect(201);
    let body = api.get("/meshes/default/dataplanes/web").await.json();
    assert_eq!(body["networking"]["inbound"][0]["tags"]["kuma.io/zone"], "east");
    assert_eq!(body["labels"]["kuma.io/zone"], "east");
}

#[tokio::test]
async fn probed_inbounds_start_not_ready_and_keep_their_state() {
    let api = Api::with_mesh(zone()).await;
    let path = "/meshes/default/dataplanes/web";
    let mut document = dataplane("web", "web");
    document["networking"]["inbound"][0]["serviceProbe"] = json!({"tcp": {}});
    api.put(path, &document).await.expect(201);
    assert_eq!(
        api.get(path).await.json()["networking"]["inbound"][0]["state"],
        "NotReady"
    );

    let mut resource = Resource::clone(&api.stored(Kind::Dataplane, "default", "web").unwrap());
    resource.spec["networking"]["inbound"][0]["state"] = "Ready".into();
    api.seed(resource).await;
    api.put(path, &document).await.expect(200);
    let body = api.get(path).await.json();
    assert_eq!(
        body["networking"]["inbound"][0].get("state"),
        None,
        "ready, as the probe says"
    );
}

#[tokio::test]
async fn meshes_choose_their_proxies() {
    let api = Api::new(zone());
    let constraints = json!({"dataplaneProxy": {
        "requirements": [{"tags": {"team": "*"}}, {"tags": {"kuma.io/service": "db"}}],
        "restrictions": [{"tags": {"team": "red"}}],
    }});
    api.seed(Resource::new(
        Kind::Mesh,
        "",
        "default",
        json!({"constraints": constraints}),
    ))
    .await;
    for (service, team, good) in [
        ("web", Some("blue"), true),
        ("web", Some("red"), false),
        ("web", None, false),
        ("db", None, true),
    ] {
        let mut document = dataplane("a", service);
        if let Some(team) = team {
            document["networking"]["inbound"][0]["tags"]["team"] = team.into();
        }
        let answer = api.put("/meshes/default/dataplanes/a", &document).await;
        assert_eq!(answer.status.is_success(), good, "{service} {team:?}: {}", answer.text);
        if !good {
            assert_eq!(answer.fields(), ["networking.inbound[0].tags"]);
        }
    }
}

#[tokio::test]
async fn what_a_zone_computed_of_a_service_survives_an_update() {
    let api = Api::with_mesh(zone()).await;
    let path = "/meshes/default/meshservices/a";
    let mut document = crate::harness::document(Kind::MeshService).unwrap();
    api.put(path, &document).await.expect(201);
    assert_eq!(api.get(path).await.json()["spec"]["state"], "Unavailable");
    let mut resource = Resource::clone(&api.stored(Kind::MeshService, "default", "a").unwrap());
    let identities = json!([{"type": "ServiceTag", "value": "web"}]);
    resource.spec["state"] = "Available".into();
    resource.spec["identities"] = identities.clone();
    api.seed(resource).await;
    document["spec"]["ports"][0]["port"] = 9090.into();
    api.put(path, &document).await.expect(200);
    let spec = api.get(path).await.json()["spec"].clone();
    assert_eq!(
        (&spec["state"], &spec["identities"]),
        (&json!("Available"), &identities)
    );
    assert_eq!(spec["ports"][0]["port"], 9090);
}

#[tokio::test]
async fn listeners_that_stand_in_each_others_way_are_refused() {
    let api = Api::with_mesh(zone()).await;
    let mut document = dataplane("web", "web");
    let inbound = document["networking"]["inbound"][0].clone();
    document["networking"]["inbound"] = json!([inbound, inbound]);
    let answer = api.put("/meshes/default/dataplanes/web", &document).await.expect(400);
    assert_eq!(answer.fields(), ["networking.inbound[1].port"]);
}

#[tokio::test]
async fn ports_that_lead_to_no_inbound_are_said() {
    let api = Api::with_mesh(zone()).await;
    let mut proxy = dataplane("web-1", "web");
    api.put("/meshes/default/dataplanes/web-1", &proxy).await.expect(201);
    let service = json!({
        "type": "MeshService", "mesh": "default", "name": "web",
        "spec": {
            "selector": {"dataplaneTags": {"kuma.io/service": "web"}},
            "ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8080}],
        },
    });
    let path = "/meshes/default/meshservices/web";
    let answer = api.put(path, &service).await.expect(201).json();
    let warnings = answer["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let said = warnings[0].as_str().unwrap();
    assert!(
        said.starts_with("spec.ports[0].targetPort: ") && said.contains("set name: http"),
        "{said}"
    );
    proxy["networking"]["inbound"][0]["name"] = "http".into();
    api.put("/meshes/default/dataplanes/web-1", &proxy).await.expect(200);
    assert_eq!(api.put(path, &service).await.expect(200).json(), json!({}));
}

#[tokio::test]
async fn a_dry_run_says_what_a_put_would_and_writes_nothing() {
    let api = Api::with_mesh(zone()).await;
    let path = "/meshes/default/dataplanes/web";
    let validate = format!("{path}/_validate");
    let good = dataplane("web", "web");
    let answer = api.post(&validate, &good).await.expect(200).json();
    assert_eq!(answer, json!({"created": true, "warnings": []}));
    api.get(path).await.expect(404);
    let mut bad = good.clone();
    bad["labels"] = json!({"kuma.io/zone": "west"});
    let fields = api.post(&validate, &bad).await.expect(400).fields();
    assert_eq!(fields, api.put(path, &bad).await.expect(400).fields());
    api.put(path, &good).await.expect(201);
    assert_eq!(api.post(&validate, &good).await.expect(200).json()["created"], false);

    let elsewhere = "/meshes/later/dataplanes/web/_validate";
    let mut later = good;
    later["mesh"] = "later".into();
    api.post(elsewhere, &later).await.expect(404);
    api.post(&format!("{elsewhere}?meshFollows=true"), &later)
        .await
        .expect(200);
    api.post("/zone-insights/east/_validate", &json!({})).await.expect(405);
}

#[tokio::test]
async fn a_key_that_stands_there_twice_is_refused() {
    let api = Api::new(global());
    let body = r#"{"type": "Zone", "name": "east", "enabled": true, "enabled": false}"#;
    let request = api
        .admin(http::Method::PUT, "/zones/east")
        .header("content-type", "application/json")
        .body(axum::body::Body::from(body))
        .unwrap();
    let answer = api.send(request).await.expect(400);
    assert!(
        answer.text.contains("key \\\"enabled\\\" stands there more than once"),
        "{}",
        answer.text
    );
}

fn external(verification: &Value) -> Value {
    json!({
        "type": "MeshExternalService", "mesh": "default", "name": "bank",
        "spec": {
            "match": {"port": 443, "protocol": "http"},
            "endpoints": [{"address": "bank.example.com", "port": 443}],
            "tls": {"enabled": true, "verification": verification},
        },
    })
}

#[tokio::test]
async fn certificates_of_external_services_are_certificates_and_belong_together() {
    let api = Api::with_mesh(global()).await;
    let pair = || {
        let ca = Ca::generate_builtin("default", 2048, NOW, time::Duration::days(30)).unwrap();
        (ca.cert_pem().to_owned(), ca.key_pem().to_owned())
    };
    let ((cert, key), (other, _)) = (pair(), pair());
    let path = "/meshes/default/meshexternalservices/bank";
    for (verification, field) in [
        (json!({"caCert": {"inlineString": "garbage"}}), "caCert"),
        (json!({"caCert": {"inlineString": key}}), "caCert"),
        (
            json!({"clientCert": {"inlineString": cert}, "clientKey": {"inlineString": cert}}),
            "clientKey",
        ),
        (
            json!({"clientCert": {"inlineString": other}, "clientKey": {"inlineString": key}}),
            "clientKey",
        ),
    ] {
        let answer = api.put(path, &external(&verification)).await.expect(400);
        assert_eq!(
            answer.fields(),
            [format!("spec.tls.verification.{field}")],
            "{}",
            answer.text
        );
    }
    let good = json!({
        "caCert": {"inlineString": other}, "clientCert": {"inlineString": cert}, "clientKey": {"inlineString": key},
    });
    let answer = api.put(path, &external(&good)).await.expect(201);
    assert_eq!(answer.json(), json!({}));
}

#[tokio::test]
async fn secrets_of_external_services_may_come_later_and_their_end_is_said() {
    let api = Api::with_mesh(global()).await;
    let path = "/meshes/default/meshexternalservices/bank";
    let document = external(&json!({"caCert": {"secret": "bank-ca"}}));
    let answer = api.put(path, &document).await.expect(201).json();
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("spec.tls.verification.caCert.secret: there is no Secret \"bank-ca\""),
        "{answer}"
    );
    let ca = Ca::generate_builtin("default", 2048, NOW, time::Duration::days(30)).unwrap();
    let secret = "/meshes/default/secrets/bank-ca";
    let body = |data: &str| json!({"type": "Secret", "mesh": "default", "name": "bank-ca", "data": BASE64_STANDARD.encode(data)});
    api.put(secret, &body(ca.cert_pem())).await.expect(201);
    assert_eq!(api.put(path, &document).await.expect(200).json(), json!({}));
    let refused = api.put(secret, &body("garbage")).await.expect(400);
    assert_eq!(refused.fields(), ["data"], "it is in use");
    let other =
        json!({"type": "Secret", "mesh": "default", "name": "other", "data": BASE64_STANDARD.encode("garbage")});
    api.put("/meshes/default/secrets/other", &other).await.expect(201);
    let refused = api
        .put(path, &external(&json!({"caCert": {"secret": "other"}})))
        .await
        .expect(400);
    assert_eq!(refused.fields(), ["spec.tls.verification.caCert"]);
    let deleted = api.delete(secret).await.expect(200);
    assert!(
        deleted.text.contains("MeshExternalService \\\"bank\\\" uses it"),
        "{}",
        deleted.text
    );
}

#[tokio::test]
async fn names_of_external_services_are_labels_and_other_kinds_may_have_the_same() {
    let api = Api::with_mesh(zone()).await;
    for name in ["a.b", "1a", &"n".repeat(64)] {
        let mut document = external(&json!({}));
        document["name"] = name.into();
        let path = format!("/meshes/default/meshexternalservices/{name}");
        assert_eq!(api.put(&path, &document).await.expect(400).fields(), ["name"], "{name}");
    }
    api.put("/meshes/default/meshexternalservices/bank", &external(&json!({})))
        .await
        .expect(201);
    let service = json!({"type": "MeshService", "mesh": "default", "name": "bank", "spec": {"ports": [{"port": 1}]}});
    api.put("/meshes/default/meshservices/bank", &service).await.expect(201);
}

#[tokio::test]
async fn an_egress_for_other_zones_needs_mtls() {
    let api = Api::new(zone());
    let mesh = |mtls: Value| json!({"type": "Mesh", "name": "shop", "routing": {"zoneEgress": true}, "mtls": mtls});
    let refused = api.put("/meshes/shop", &mesh(json!({}))).await.expect(400);
    assert_eq!(refused.fields(), ["mtls"]);
    let builtin = json!({"enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin"}]});
    api.put("/meshes/shop", &mesh(builtin)).await.expect(201);
}
