//! Every kind with every verb in every mode. A kind that is not in the table fails the test.

use axum::body::Body;
use http::Method;
use meshspan_api::Mode;
use meshspan_model::policy::PolicyKind;
use meshspan_model::{Kind, Resource};
use serde_json::{Value, json};

use crate::harness::{Api, document, federated, global, ignore_policy_warnings, list_path, zone};

/// Whether a kind is written on the global, in a zone alone and in a federated zone (`spec/http-api.md` §4.3).
fn writable(kind: Kind) -> [bool; 3] {
    match kind {
        Kind::Mesh | Kind::Secret | Kind::GlobalSecret | Kind::MeshMultiZoneService => [true, true, false],
        Kind::Dataplane | Kind::ZoneIngress | Kind::ZoneEgress | Kind::MeshService => [false, true, true],
        Kind::HostnameGenerator | Kind::MeshExternalService | Kind::Zone => [true, true, true],
        Kind::DataplaneInsight
        | Kind::ZoneInsight
        | Kind::ZoneIngressInsight
        | Kind::ZoneEgressInsight
        | Kind::MeshMultiZoneServiceInsight => [false, false, false],
        Kind::Config => unreachable!("not in the API"),
        kind if PolicyKind::of(kind).is_some() => [true, true, true],
        kind => panic!("{kind} is not in the table"),
    }
}

fn kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL.iter().copied().filter(|kind| kind.info().in_api)
}

/// A document as that mode demands it.
fn document_in(mode: &Mode, kind: Kind) -> Value {
    let mut document = document(kind).unwrap_or_else(|| json!({"type": kind.name(), "name": "a", "mesh": "default"}));
    if mode.is_federated() && !document["spec"].is_null() {
        document["labels"] = json!({"kuma.io/origin": "zone"});
    }
    document
}

#[tokio::test]
async fn every_kind_verb_and_mode() {
    for (index, mode) in [global(), zone(), federated()].into_iter().enumerate() {
        for kind in kinds() {
            let case = format!("{kind} in {mode:?}");
            let api = Api::with_mesh(mode.clone()).await;
            let writable = writable(kind)[index];
            let (list, single) = (list_path(kind), format!("{}/a", list_path(kind)));
            let document = document_in(&mode, kind);
            let expect = |when_writable: u16| if writable { when_writable } else { 405 };

            assert_eq!(api.get(&single).await.status, 404, "GET of nothing: {case}");
            assert_eq!(
                api.delete(&single).await.status,
                expect(404),
                "DELETE of nothing: {case}"
            );
            let created = api.put(&single, &document).await;
            assert_eq!(created.status, expect(201), "PUT: {case}: {}", created.text);
            if writable {
                assert_eq!(ignore_policy_warnings(kind, created.json()), json!({}), "{case}");
            } else {
                assert_eq!(created.json()["title"], "Method not allowed", "{case}");
                let payload = document.get("spec").cloned().unwrap_or_else(|| json!({}));
                api.seed(Resource::new(kind, "default", "a", payload)).await;
            }
            let updated = api.put(&single, &document).await;
            assert_eq!(updated.status, expect(200), "second PUT: {case}: {}", updated.text);

            let found = api.get(&single).await.expect(200).json();
            assert_eq!(
                (found["type"].as_str(), found["name"].as_str()),
                (Some(kind.name()), Some("a")),
                "{case}"
            );
            let items = api.get(&list).await.expect(200).json();
            assert!(
                items["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|item| item["name"] == "a"),
                "{case}: {items}"
            );
            if kind.is_mesh_scoped() {
                let all = api.get(&format!("/{}", kind.info().path)).await.expect(200).json();
                assert_eq!(all["items"], items["items"], "{case}");
                let elsewhere = format!("/meshes/nowhere/{}", kind.info().path);
                let missing = api.get(&elsewhere).await.expect(404).json();
                assert_eq!(missing["title"], "Failed to retrieve Mesh", "{case}");
                api.get(&format!("{elsewhere}/a")).await.expect(404);
                api.put(&format!("{elsewhere}/a"), &document).await.expect(expect(404));
            }
            let post = api.post(&single, &document).await;
            assert_eq!(
                (post.status.as_u16(), post.text.as_str()),
                (405, "405: Method Not Allowed"),
                "POST: {case}"
            );

            assert_eq!(api.delete(&single).await.status, expect(200), "DELETE: {case}");
            assert_eq!(
                api.get(&single).await.status,
                if writable { 404 } else { 200 },
                "GET after DELETE: {case}"
            );
        }
    }
}

#[tokio::test]
async fn anonymous_callers_reach_everything_but_secrets() {
    for kind in kinds() {
        let api = Api::with_mesh(zone()).await;
        let (list, single) = (list_path(kind), format!("{}/a", list_path(kind)));
        let allowed = !matches!(kind, Kind::Secret | Kind::GlobalSecret);
        let verbs = [
            (Method::GET, list.as_str()),
            (Method::GET, &single),
            (Method::PUT, &single),
            (Method::DELETE, &single),
        ];
        for (method, path) in verbs {
            let body = document(kind).map_or(Body::empty(), |document| Body::from(document.to_string()));
            let request = api
                .anonymous(method.clone(), path)
                .header("content-type", "application/json");
            let status = api.send(request.body(body).unwrap()).await.status;
            let writes = method != Method::GET && !kind.info().read_only;
            assert_eq!(status == 403, !allowed || writes, "{method} {kind}: {status}");
        }
        if kind.is_mesh_scoped() {
            let request = api
                .anonymous(Method::GET, &format!("/{}", kind.info().path))
                .body(Body::empty());
            assert_eq!(
                api.send(request.unwrap()).await.status == 403,
                !allowed,
                "{kind} of all meshes"
            );
        }
    }
}

#[tokio::test]
async fn a_read_only_api_takes_no_writes() {
    for kind in kinds() {
        let mut settings = meshspan_api::Settings::new(zone());
        settings.read_only = true;
        let api = Api::with(settings);
        let single = format!("{}/a", list_path(kind));
        api.put(&single, &json!({})).await.expect(405);
        api.delete(&single).await.expect(405);
    }
}

#[tokio::test]
async fn internal_kinds_have_no_path() {
    let api = Api::with_mesh(global()).await;
    for path in [
        "/configs",
        "/configs/a",
        "/nope",
        "/meshes/default/nope",
        "/meshes/default/nope/a",
    ] {
        let answer = api.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (404, "404: Page Not Found"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn aliases_lead_to_the_same_resources() {
    let api = Api::with_mesh(zone()).await;
    api.put("/zoneingresses/a", &document(Kind::ZoneIngress).unwrap())
        .await
        .expect(201);
    let (one, other) = (
        api.get("/zone-ingresses/a").await.json(),
        api.get("/zoneingresses/a").await.json(),
    );
    assert_eq!(one, other);
    assert_eq!(one["networking"]["port"], 10001);
}
