//! What is said at a write about who may reach whom after it, and about names that nobody knows.

use serde_json::{Value, json};

use crate::harness::{Answer, Api, dataplane, global, zone};

const PERMISSIONS: &str = "/meshes/default/meshtrafficpermissions";

fn warnings(answer: &Answer) -> Vec<String> {
    assert!(answer.status.is_success(), "{}", answer.text);
    let answer = answer.json();
    let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
    // Older forms are warned of too.
    let all = warnings.iter().map(|warning| warning.as_str().unwrap().to_owned());
    all.filter(|warning| !warning.contains("deprecated")).collect()
}

fn mesh(mtls: bool) -> Value {
    match mtls {
        true => json!({"type": "Mesh", "name": "default",
                       "mtls": {"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]}}),
        false => json!({"type": "Mesh", "name": "default"}),
    }
}

fn permission(name: &str, spec: &Value) -> Value {
    json!({"type": "MeshTrafficPermission", "mesh": "default", "name": name, "spec": spec})
}

fn allow(how: &str, value: &str) -> Value {
    json!({"rules": [{"default": {"allow": [{"spiffeID": {"type": how, "value": value}}]}}]})
}

async fn with_proxies() -> Api {
    let api = Api::with_mesh(zone()).await;
    for (name, service) in [("web-1", "web"), ("redis-1", "redis"), ("redis-2", "redis")] {
        let path = format!("/meshes/default/dataplanes/{name}");
        api.put(&path, &dataplane(name, service)).await.expect(201);
    }
    api
}

#[tokio::test]
async fn closing_a_destination_to_everybody_warns() {
    let api = with_proxies().await;
    let stored = api.get(PERMISSIONS).await.expect(200).json();
    for item in stored["items"].as_array().unwrap() {
        let name = item["name"].as_str().unwrap();
        let answer = api.delete(&format!("{PERMISSIONS}/{name}")).await;
        assert_eq!(
            warnings(&answer),
            [""; 0],
            "without mTLS permissions are without effect"
        );
    }
    let on = warnings(&api.put("/meshes/default", &mesh(true)).await);
    let all = "with mTLS on, nothing allows anyone to reach redis, web: create a MeshTrafficPermission that allows their clients";
    assert_eq!(on, [all]);
    assert_eq!(
        warnings(&api.put("/meshes/default", &mesh(true)).await),
        [""; 0],
        "that was so before"
    );

    let everybody = permission("allow-all", &allow("Prefix", "spiffe://default"));
    let path = format!("{PERMISSIONS}/allow-all");
    assert_eq!(warnings(&api.put(&path, &everybody).await), [""; 0]);
    let closed = |services: &str| {
        format!(
            "after this, nothing allows anyone to reach {services}: create a MeshTrafficPermission that allows their clients"
        )
    };
    let mut narrower = allow("Prefix", "spiffe://default");
    narrower["targetRef"] = json!({"kind": "MeshSubset", "tags": {"kuma.io/service": "web"}});
    assert_eq!(
        warnings(&api.put(&path, &permission("allow-all", &narrower)).await),
        [closed("redis")]
    );
    assert_eq!(
        warnings(&api.delete(&path).await),
        [closed("web")],
        "the last one of web"
    );
}

#[tokio::test]
async fn identities_that_no_proxy_has_are_named() {
    let api = with_proxies().await;
    let path = format!("{PERMISSIONS}/a");
    let misspelt = warnings(
        &api.put(&path, &permission("a", &allow("Exact", "spiffe://default/wep")))
            .await,
    );
    let expected = "spec.rules[0].default.allow[0].spiffeID: no proxy has the identity \"spiffe://default/wep\" at present; \
                    there are spiffe://default/redis, spiffe://default/web";
    assert_eq!(misspelt, [expected]);
    // For as long as it is so, whoever looks at the policy is told the same.
    let inspected = api
        .get(&format!("{path}/_resources/dataplanes"))
        .await
        .expect(200)
        .json();
    assert_eq!(inspected["warnings"], json!([expected]));
    for (how, value) in [("Exact", "spiffe://default/web"), ("Prefix", "spiffe://default")] {
        assert_eq!(
            warnings(&api.put(&path, &permission("a", &allow(how, value))).await),
            [""; 0]
        );
    }
    let other_mesh = warnings(
        &api.put(&path, &permission("a", &allow("Prefix", "spiffe://other")))
            .await,
    );
    assert!(other_mesh[0].contains("\"spiffe://other\""), "{other_mesh:?}");
    let from = json!({"from": [{"targetRef": {"kind": "MeshSubset", "tags": {"kuma.io/service": "wep"}},
                                "default": {"action": "Allow"}}]});
    let from = warnings(&api.put(&path, &permission("a", &from)).await);
    assert!(
        from[0].starts_with("spec.from[0].targetRef: no proxy has the identity"),
        "{from:?}"
    );
}

#[tokio::test]
async fn zones_that_do_not_exist_are_named() {
    let strategy = json!({"type": "MeshLoadBalancingStrategy", "mesh": "default", "name": "s", "spec": {
        "to": [{"targetRef": {"kind": "Mesh"}, "default": {"localityAwareness": {"crossZone": {"failover": [
            {"from": {"zones": ["east", "oast"]}, "to": {"type": "Only", "zones": ["west", "east"]}},
            {"to": {"type": "None"}},
        ]}}}}],
    }});
    let path = "/meshes/default/meshloadbalancingstrategies/s";
    let field = "spec.to[0].default.localityAwareness.crossZone.failover[0]";
    let api = with_proxies().await;
    let of = |name: &str, zone: &str, known: &str| {
        format!("{field}.{name}: there is no zone \"{zone}\" at present; known are {known}")
    };
    let expected = [of("from.zones[1]", "oast", "east"), of("to.zones[0]", "west", "east")];
    assert_eq!(
        warnings(&api.put(path, &strategy).await),
        expected,
        "a zone knows itself"
    );

    let api = Api::with_mesh(global()).await;
    for zone in ["east", "west"] {
        let document = json!({"type": "Zone", "name": zone});
        api.put(&format!("/zones/{zone}"), &document).await.expect(201);
    }
    let found = warnings(&api.put(path, &strategy).await);
    let of_zones: Vec<_> = found.iter().filter(|warning| warning.contains("no zone")).collect();
    assert_eq!(of_zones, [&of("from.zones[1]", "oast", "east, west")]);
}

#[tokio::test]
async fn tags_and_labels_that_were_taken_for_one_another_are_named() {
    let api = with_proxies().await;
    let path = format!("{PERMISSIONS}/a");
    for (target, said) in [
        (
            json!({"kind": "Dataplane", "labels": {"kuma.io/service": "redis"}}),
            "spec.targetRef.labels: kuma.io/service is a tag of inbounds",
        ),
        (
            json!({"kind": "MeshSubset", "tags": {"kuma.io/display-name": "redis-1"}}),
            "spec.targetRef.tags: kuma.io/display-name is a label of Dataplanes",
        ),
        (json!({"kind": "MeshSubset", "tags": {"kuma.io/service": "redis"}}), ""),
        (json!({"kind": "Dataplane", "labels": {"team": "a"}}), ""),
    ] {
        let mut spec = allow("Prefix", "spiffe://default");
        spec["targetRef"] = target.clone();
        let written = warnings(&api.put(&path, &permission("a", &spec)).await);
        let inspected = api
            .get(&format!("{path}/_resources/dataplanes"))
            .await
            .expect(200)
            .json();
        let inspected: Vec<String> = serde_json::from_value(inspected["warnings"].clone()).unwrap_or_default();
        let of = |warnings: &[String]| {
            warnings
                .iter()
                .find(|warning| warning.contains(" is a "))
                .cloned()
                .unwrap_or_default()
        };
        assert!(
            of(&written).starts_with(said) && of(&written).is_empty() == said.is_empty(),
            "{target}: {written:?}"
        );
        assert_eq!(of(&written), of(&inspected), "{target}");
    }
}
