//! `apply`.

use std::fs;

use meshspan_cli::Outcome;
use serde_json::{Value, json};

use crate::support::{ControlPlane, run_line};

const REDIS: &str = "
type: MeshMultiZoneService
name: redis
mesh: default
spec:
  selector:
    meshService:
      matchLabels:
        kuma.io/display-name: redis
  ports:
  - port: 6379
    appProtocol: tcp
";

const REDIS_ON_KUBERNETES: &str = "
apiVersion: kuma.io/v1alpha1
kind: MeshMultiZoneService
metadata:
  name: redis
  namespace: kuma-system
  labels:
    kuma.io/mesh: default
spec:
  selector:
    meshService:
      matchLabels:
        kuma.io/display-name: redis
  ports:
  - port: 6379
    appProtocol: tcp
";

const REDIS_PATH: &str = "/meshes/default/meshmultizoneservices/redis";

#[tokio::test]
async fn creates_then_finds_nothing_to_change_then_updates() {
    let cp = ControlPlane::start().await;
    let apply = ["apply", "-f", "-"];
    assert_eq!(
        cp.run_with_input(&apply, REDIS).await.done(),
        "MeshMultiZoneService default/redis created\n"
    );
    let body = &cp.requests()[2].body;
    assert_eq!(
        body,
        &json!({
            "type": "MeshMultiZoneService", "mesh": "default", "name": "redis",
            "spec": {
                "selector": { "meshService": { "matchLabels": { "kuma.io/display-name": "redis" } } },
                "ports": [ { "port": 6379, "appProtocol": "tcp" } ],
            },
        })
    );
    assert_eq!(cp.requests()[2].headers["content-type"], "application/json");

    // A control plane adds times, labels and status: that is no difference.
    let mut stored = body.clone();
    stored["labels"] =
        json!({ "kuma.io/mesh": "default", "kuma.io/origin": "global", "kuma.io/display-name": "redis" });
    stored["creationTime"] = json!("2025-02-03T10:00:00Z");
    stored["status"] = json!({ "vips": [ { "ip": "242.0.0.7" } ] });
    cp.put(REDIS_PATH, stored);
    for same in [REDIS, REDIS_ON_KUBERNETES] {
        assert_eq!(
            cp.run_with_input(&apply, same).await.done(),
            "MeshMultiZoneService default/redis unchanged\n"
        );
    }
    let puts = || cp.lines().iter().filter(|line| line.starts_with("PUT")).count();
    assert_eq!(puts(), 1);

    for changed in [
        REDIS.replace("6379", "6380"),
        REDIS.replace("mesh: default", "mesh: default\nlabels: {team: a}"),
    ] {
        let ran = cp.run_with_input(&apply, &changed).await;
        assert_eq!(ran.done(), "MeshMultiZoneService default/redis updated\n");
    }
    let removed_label = cp.run_with_input(&apply, REDIS).await.done();
    assert_eq!(
        removed_label, "MeshMultiZoneService default/redis updated\n",
        "a label of the user's was removed"
    );
}

#[tokio::test]
async fn kubernetes_form_keeps_other_namespaces_and_loses_the_system_namespace() {
    let cp = ControlPlane::start().await;
    let other = REDIS_ON_KUBERNETES.replace("kuma-system", "redis-system");
    let kong = REDIS_ON_KUBERNETES.replace("kuma-system", "kong-mesh-system");
    for text in [REDIS_ON_KUBERNETES, &other, &kong] {
        cp.run_with_input(&["apply", "-f", "-"], text).await.done();
    }
    let puts: Vec<_> = cp
        .requests()
        .into_iter()
        .filter(|request| request.line.starts_with("PUT"))
        .collect();
    assert_eq!(puts.len(), 2, "the last is the first again");
    assert_eq!(puts[0].line, format!("PUT {REDIS_PATH}"));
    assert_eq!(puts[0].body["labels"], json!({ "kuma.io/mesh": "default" }));
    assert_eq!(
        puts[1].line,
        "PUT /meshes/default/meshmultizoneservices/redis.redis-system"
    );
    assert_eq!(puts[1].body["labels"]["kuma.io/display-name"], "redis");
    assert_eq!(puts[1].body["labels"]["k8s.kuma.io/namespace"], "redis-system");
}

#[tokio::test]
async fn folders_are_read_in_order_and_meshes_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("b/deep")).unwrap();
    fs::create_dir_all(path(".git")).unwrap();
    fs::write(path("b/deep/z.yml"), "type: Mesh\nname: payments\n").unwrap();
    fs::write(path("b/notes.txt"), "not: [a resource").unwrap();
    fs::write(path(".git/hidden.yaml"), "not: [a resource").unwrap();
    fs::write(path("c.json"), r#"{"type":"Zone","name":"east"}"#).unwrap();
    fs::write(
        path("a.yaml"),
        format!(
            "{REDIS}---\n---\n{}",
            REDIS.replace("name: redis\nmesh: default", "name: cache\nmesh: payments")
        ),
    )
    .unwrap();
    let cp = ControlPlane::start().await;
    let out = cp.run(&["apply", "-f", folder.path().to_str().unwrap()]).await.done();
    let expected = "Mesh payments created
MeshMultiZoneService default/redis created
MeshMultiZoneService payments/cache created
Zone east created
";
    assert_eq!(out, expected);
}

#[tokio::test]
async fn nothing_is_sent_when_anything_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.yaml");
    let bad = folder.path().join("bad.yaml");
    fs::write(&good, REDIS).unwrap();
    let text = "type: MeshMultiZoneService\nname: redis\nmesh: default\nspec: {selector: {}, ports: []}\n---\ntype: Nonsense\nname: x\n";
    fs::write(&bad, text).unwrap();
    let cp = ControlPlane::start().await;
    let files = [
        "apply",
        "-f",
        good.to_str().unwrap(),
        "-f",
        bad.to_str().unwrap(),
        "-f",
        "/nonexistent/x.yaml",
        "-f",
        "-",
    ];
    let error = cp.run_with_input(&files, "a: [b").await.error();
    for expected in [
        "nothing was sent",
        "bad.yaml, document 1: MeshMultiZoneService redis is not valid",
        "* spec.ports: cannot be empty",
        "* spec.selector.meshService.matchLabels: cannot be empty",
        "bad.yaml, document 2: Nonsense x is not valid",
        "* type: unknown kind \"Nonsense\"",
        "/nonexistent/x.yaml: cannot be read: No such file",
        "standard input: invalid YAML",
    ] {
        assert!(error.contains(expected), "{expected:?} is missing in:\n{error}");
    }
    assert!(cp.lines().is_empty());

    assert!(
        cp.run_with_input(&["apply", "-f", "-"], "---\n")
            .await
            .error()
            .contains("no document in it")
    );
    let huge = "#".repeat(5 << 20);
    assert!(
        cp.run_with_input(&["apply", "-f", "-"], &huge)
            .await
            .error()
            .contains("split it into several files")
    );
}

#[tokio::test]
async fn goes_on_after_a_failed_document_where_nothing_can_be_validated() {
    let cp = ControlPlane::start().await;
    cp.answer(&format!("PUT {REDIS_PATH}"), 400, refusal());
    let ran = cp
        .run_with_input(&["apply", "-f", "-"], &format!("{REDIS}---\ntype: Zone\nname: east\n"))
        .await;
    assert_eq!(ran.outcome, Ok(Outcome::SomeFailed));
    assert_eq!(ran.out, "Zone east created\n");
    let expected = "MeshMultiZoneService default/redis failed: Could not process a resource (Resource is not valid)
* mesh: is not there
";
    assert_eq!(ran.err, expected);
    let asked = cp.lines().into_iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(asked, 1, "a control plane that cannot validate is asked once");
}

fn refusal() -> Value {
    json!({
        "status": 400, "title": "Could not process a resource", "detail": "Resource is not valid",
        "invalid_parameters": [ { "field": "mesh", "reason": "is not there" } ],
    })
}

#[tokio::test]
async fn nothing_is_written_when_one_document_is_refused() {
    let cp = ControlPlane::start().await;
    let (zone, mesh) = ("type: Zone\nname: east\n", "type: Mesh\nname: default\n");
    cp.answer(
        "POST /zones/east/_validate",
        200,
        json!({ "created": true, "warnings": ["is new"] }),
    );
    cp.answer("POST /meshes/default/_validate", 200, json!({ "created": true }));
    let redis = format!("POST {REDIS_PATH}/_validate?meshFollows=true");
    cp.answer(&redis, 400, refusal());
    let ran = cp
        .run_with_input(&["apply", "-f", "-"], &format!("{zone}---\n{REDIS}---\n{mesh}"))
        .await;
    assert_eq!(ran.outcome, Ok(Outcome::SomeFailed));
    assert_eq!(ran.out, "");
    let expected = "warning: Zone east: is new
MeshMultiZoneService default/redis failed: Could not process a resource (Resource is not valid)
* mesh: is not there
none of the 3 documents was applied
";
    assert_eq!(ran.err, expected);
    assert!(
        !cp.lines().iter().any(|line| line.starts_with("PUT")),
        "{:?}",
        cp.lines()
    );
}

#[tokio::test]
async fn warnings_are_shown_once_and_unknown_fields_are_sent() {
    let cp = ControlPlane::start().await;
    let warning = "unknown field \"spec.colour\" is ignored";
    let warnings = json!({ "warnings": [warning, "ports are few"] });
    cp.answer(&format!("PUT {REDIS_PATH}"), 201, warnings);
    let text = REDIS.replace("spec:", "spec:\n  colour: red");
    let ran = cp.run_with_input(&["apply", "-f", "-"], &text).await;
    let expected = format!(
        "warning: MeshMultiZoneService default/redis: {warning}\nwarning: MeshMultiZoneService default/redis: ports are few\n"
    );
    assert_eq!(ran.err, expected);
    assert_eq!(cp.requests()[2].body["spec"]["colour"], "red");
}

#[tokio::test]
async fn dry_run_shows_rendered_documents_and_what_the_control_plane_says() {
    let cp = ControlPlane::start().await;
    let text = "type: Zone\nname: {{ zone }}\n---\ntype: Mesh\nname: m\n";
    let dry_run = ["apply", "-f", "-", "-v", "zone=east", "--dry-run"];
    let shown = "type: Mesh\nname: m\n---\ntype: Zone\nname: east\n";
    cp.answer("POST /zones/east/_validate", 200, json!({ "created": true }));
    cp.answer("POST /meshes/m/_validate", 200, json!({ "created": true }));
    let ran = cp.run_with_input(&dry_run, text).await;
    assert_eq!((ran.err.as_str(), ran.out.as_str()), ("", shown));
    assert_eq!(ran.outcome, Ok(Outcome::Done));
    cp.answer("POST /zones/east/_validate", 400, refusal());
    let ran = cp.run_with_input(&dry_run, text).await;
    assert_eq!((ran.out.as_str(), ran.outcome), (shown, Ok(Outcome::SomeFailed)));
    assert!(
        ran.err.contains("Zone east would fail") && ran.err.contains("* mesh: is not there"),
        "{}",
        ran.err
    );
    let only_questions = cp
        .lines()
        .iter()
        .all(|line| line.starts_with("POST") && line.ends_with("/_validate"));
    assert!(only_questions, "{:?}", cp.lines());
    let error = cp
        .run_with_input(&["apply", "-f", "-", "-v", "other=x"], text)
        .await
        .error();
    assert!(
        error.contains("variable \"zone\" has no value: add -v zone=VALUE"),
        "{error}"
    );
}

#[tokio::test]
async fn dry_run_finds_bad_names_even_if_nobody_answers() {
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let line = ["--no-config", "--address", &nobody, "apply", "-f", "-", "--dry-run"];
    let ran = run_line(&line, "type: Zone\nname: east\n").await;
    assert_eq!(ran.outcome, Ok(Outcome::Done));
    assert!(ran.err.contains("the control plane did not check"), "{}", ran.err);
    let ran = run_line(&line, "type: Zone\nname: my_zone\nlabels: {team: a b}\n").await;
    assert_eq!(ran.outcome, Ok(Outcome::SomeFailed));
    for expected in ["Zone my_zone: name: ", "Zone my_zone: labels[\"team\"]: "] {
        assert!(ran.err.contains(expected), "{}", ran.err);
    }
}

#[tokio::test]
async fn output_of_get_can_be_applied() {
    let cp = ControlPlane::start().await;
    cp.run_with_input(&["apply", "-f", "-"], REDIS).await.done();
    let mut stored: Value = cp.requests()[2].body.clone();
    stored["modificationTime"] = json!("2025-02-03T10:00:00Z");
    stored["status"] = json!({});
    cp.list("/meshes/default/meshmultizoneservices", json!([stored]));
    let yaml = cp.run(&["get", "mzsvc", "-o", "yaml"]).await.done();
    let out = cp.run_with_input(&["apply", "-f", "-"], &yaml).await.done();
    assert_eq!(out, "MeshMultiZoneService default/redis unchanged\n");
}

#[tokio::test]
async fn state_computed_by_the_zone_is_no_change() {
    let cp = ControlPlane::start().await;
    let service = "{type: MeshService, name: redis, mesh: default, spec: {selector: {dataplaneTags: {kuma.io/service: redis}}, ports: [{port: 6379}]}}";
    cp.run_with_input(&["apply", "-f", "-"], service).await.done();
    let mut stored = cp.requests()[2].body.clone();
    stored["spec"]["state"] = json!("Available");
    stored["spec"]["identities"] = json!([ { "type": "ServiceTag", "value": "redis" } ]);
    cp.put("/meshes/default/meshservices/redis", stored);
    let out = cp.run_with_input(&["apply", "-f", "-"], service).await.done();
    assert_eq!(out, "MeshService default/redis unchanged\n");
}
