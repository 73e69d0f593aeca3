//! Writing policies: their role, and what is said about their effect.

use meshspan_model::Kind;
use meshspan_model::policy::PolicyKind;
use serde_json::{Value, json};

use crate::harness::{Api, dataplane, document, federated, global, list_path, zone};

const PATH: &str = "/meshes/default/meshtimeouts/a";

fn timeout(spec: Value) -> Value {
    json!({"type": "MeshTimeout", "name": "a", "mesh": "default", "labels": {}, "spec": spec})
}

fn to(target: Value) -> Value {
    timeout(json!({"to": [{"targetRef": target, "default": {"idleTimeout": "20s"}}]}))
}

async fn warnings(api: &Api, document: &Value) -> Vec<String> {
    let answer = api.put(PATH, document).await;
    assert!(answer.status.is_success(), "{}", answer.text);
    let answer = answer.json();
    let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
    warnings
        .iter()
        .map(|warning| warning.as_str().unwrap().to_owned())
        .collect()
}

async fn with_proxy() -> Api {
    let api = Api::with_mesh(zone()).await;
    api.put("/meshes/default/dataplanes/web-1", &dataplane("web-1", "web"))
        .await
        .expect(201);
    api
}

#[tokio::test]
async fn the_role_is_computed() {
    let api = with_proxy().await;
    for kind in PolicyKind::ALL.iter().map(|kind| kind.kind()) {
        let path = format!("{}/a", list_path(kind));
        let mut document = document(kind).unwrap();
        document["labels"] = json!({"kuma.io/policy-role": "producer"});
        let refused = api.put(&path, &document).await.expect(400);
        assert_eq!(refused.fields(), ["labels[\"kuma.io/policy-role\"]"], "{kind}");
        document["labels"] = json!({"kuma.io/policy-role": "system"});
        api.put(&path, &document).await.expect(201);
        let stored = api.get(&path).await.expect(200).json();
        assert_eq!(stored["labels"]["kuma.io/policy-role"], "system", "{kind}");
        assert_eq!(stored["spec"], document["spec"], "stored as written: {kind}");
    }
}

#[tokio::test]
async fn policies_of_a_namespace_speak_for_it() {
    let api = with_proxy().await;
    let mut document = to(json!({"kind": "MeshService", "name": "web"}));
    document["labels"] = json!({"k8s.kuma.io/namespace": "shop"});
    for (target, role) in [
        (json!({"kind": "MeshService", "name": "web"}), "producer"),
        (json!({"kind": "Mesh"}), "consumer"),
    ] {
        document["spec"]["to"][0]["targetRef"] = target;
        api.put(PATH, &document).await;
        assert_eq!(api.get(PATH).await.json()["labels"]["kuma.io/policy-role"], role);
    }
    document["spec"]["to"] = json!([
        {"targetRef": {"kind": "MeshService", "name": "web"}, "default": {"idleTimeout": "20s"}},
        {"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "20s"}},
    ]);
    assert_eq!(api.put(PATH, &document).await.expect(400).fields(), ["spec.to"]);
    document["spec"]["to"] = json!([{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "20s"}}]);
    document["spec"]["targetRef"] = json!({"kind": "MeshGateway", "name": "edge"});
    assert_eq!(
        api.put(PATH, &document).await.expect(400).fields(),
        ["spec.targetRef.kind"]
    );
}

#[tokio::test]
async fn bad_documents_name_the_field() {
    let api = with_proxy().await;
    for (spec, field) in [
        (json!({}), "spec"),
        (
            json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": {}}]}),
            "spec.to[0].default",
        ),
        (
            json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "0s"}}]}),
            "spec.to[0].default.connectionTimeout",
        ),
        (
            json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": {"http": {"requestTimeout": true}}}]}),
            "spec.to[0].default.http.requestTimeout",
        ),
        (
            json!({"to": [{"targetRef": {"kind": "Zone"}, "default": {"idleTimeout": "1s"}}]}),
            "spec.to[0].targetRef.kind",
        ),
        (json!({"targetRef": {"kind": "MeshSubset"}, "to": []}), "spec"),
    ] {
        let answer = api.put(PATH, &timeout(spec.clone())).await.expect(400);
        assert!(
            answer.fields().iter().any(|found| found == field),
            "{spec}: {}",
            answer.text
        );
    }
    api.get(PATH).await.expect(404);
}

#[tokio::test]
async fn federated_zones_write_their_own_policies_only() {
    let api = Api::with_mesh(federated()).await;
    for kind in PolicyKind::ALL.iter().map(|kind| kind.kind()) {
        let path = format!("{}/a", list_path(kind));
        let mut document = document(kind).unwrap();
        let refused = api.put(&path, &document).await.expect(400).fields();
        assert_eq!(refused, ["labels[\"kuma.io/origin\"]"], "{kind}");
        document["labels"] = json!({"kuma.io/origin": "zone"});
        api.put(&path, &document).await.expect(201);
        assert_eq!(api.get(&path).await.json()["labels"]["kuma.io/zone"], "east", "{kind}");
    }
}

#[tokio::test]
async fn a_policy_that_touches_nothing_says_so() {
    for mode in [global(), zone()] {
        let api = Api::with_mesh(mode.clone()).await;
        let mut document = to(json!({"kind": "Mesh"}));
        let said = warnings(&api, &document).await;
        assert_eq!(said, ["touches no proxy at present: mesh \"default\" has no proxies"]);
        let proxy = dataplane("web-1", "web");
        let spec = json!({"networking": proxy["networking"]});
        let proxy = meshspan_model::Resource::new(Kind::Dataplane, "default", "web-1", spec);
        api.seed(proxy.with_label("team", "shop")).await;
        assert!(warnings(&api, &document).await.is_empty(), "{mode:?}");
        document["spec"]["targetRef"] = json!({"kind": "Dataplane", "labels": {"team": "billing"}});
        let said = warnings(&api, &document).await;
        assert_eq!(
            said,
            ["touches no proxy at present: mesh \"default\" has 1 proxy, which it does not select"]
        );
        document["spec"]["targetRef"]["labels"]["team"] = "shop".into();
        assert!(warnings(&api, &document).await.is_empty(), "{mode:?}");
    }
}

#[tokio::test]
async fn a_reference_to_nothing_is_said_and_works_later() {
    let api = with_proxy().await;
    let document = to(json!({"kind": "MeshMultiZoneService", "name": "a"}));
    let said = warnings(&api, &document).await;
    assert_eq!(
        said,
        ["spec.to[0].targetRef: there is no MeshMultiZoneService with labels kuma.io/display-name=a at present"]
    );
    let service = crate::harness::document(Kind::MeshMultiZoneService).unwrap();
    api.put("/meshes/default/meshmultizoneservices/a", &service)
        .await
        .expect(201);
    assert!(warnings(&api, &document).await.is_empty());
    let mut port = document;
    port["spec"]["to"][0]["targetRef"]["sectionName"] = "9".into();
    let said = warnings(&api, &port).await;
    assert_eq!(
        said,
        [
            "spec.to[0].targetRef: no MeshMultiZoneService with labels kuma.io/display-name=a has a port \"9\" at present"
        ]
    );
}

#[tokio::test]
async fn rules_say_which_older_permissions_they_replace() {
    let api = with_proxy().await;
    let path = |name: &str| format!("/meshes/default/meshtrafficpermissions/{name}");
    let document = |name: &str, spec: Value| json!({"type": "MeshTrafficPermission", "mesh": "default", "name": name, "spec": spec});
    let from = json!({"from": [{"targetRef": {"kind": "Mesh"}, "default": {"action": "Allow"}}]});
    let rules =
        json!({"rules": [{"default": {"allow": [{"spiffeID": {"type": "Exact", "value": "spiffe://default/a"}}]}}]});
    let warned = |answer: Value, text: &str| {
        let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
        warnings.iter().any(|warning| warning.as_str().unwrap().contains(text))
    };
    let answer = api.put(&path("old"), &document("old", from.clone())).await.expect(201);
    assert!(!warned(answer.json(), "replaces"), "{}", answer.text);
    let replaces = "replaces spec.from of MeshTrafficPermission \"old\" on inbounds of web-1";
    let answer = api.put(&path("new"), &document("new", rules)).await.expect(201);
    assert!(warned(answer.json(), replaces), "{}", answer.text);
    let answer = api.put(&path("old"), &document("old", from)).await.expect(200);
    let replaced = "spec.from has no effect on inbounds of web-1: spec.rules of MeshTrafficPermission \"new\"";
    assert!(warned(answer.json(), replaced), "{}", answer.text);

    let touched = api.get(&format!("{}/_resources/dataplanes", path("old"))).await;
    assert!(warned(touched.json(), replaced), "{}", touched.text);
    let proxy = api.get("/meshes/default/dataplanes/web-1/_policies").await;
    assert!(
        warned(proxy.json(), "MeshTrafficPermission old: spec.from has no effect"),
        "{}",
        proxy.text
    );
    let rules = api.get("/meshes/default/dataplanes/web-1/_rules").await.json();
    let permissions = rules["rules"].as_array().unwrap().iter();
    let permissions: Vec<_> = permissions
        .filter(|kind| kind["type"] == "MeshTrafficPermission")
        .collect();
    assert!(
        warned(permissions[0].clone(), "old: spec.from has no effect"),
        "{rules}"
    );
    let conf = &permissions[0]["inboundRules"][0]["rules"][0]["conf"];
    assert_eq!(conf[0].get("action"), None, "{rules}");
}
