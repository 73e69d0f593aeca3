//! Policies: written, and then looked at from both sides, against the API of a real control plane.

use clap::{CommandFactory, Parser};
use meshspan_api::Mode;
use meshspan_cli::Kumactl;
use meshspan_model::policy::PolicyKind;
use serde_json::{Value, json};

use crate::real_api::RealApi;
use crate::support::ControlPlane;

const PROXY: &str = "
type: Dataplane
name: web-1
mesh: default
labels: {team: shop}
networking:
  address: 10.0.0.1
  inbound: [{port: 8080, tags: {kuma.io/service: web}}]
";

const REDIS: &str = "
type: MeshMultiZoneService
name: redis
mesh: default
spec:
  selector: {meshService: {matchLabels: {kuma.io/display-name: redis}}}
  ports: [{port: 6379}, {port: 80, name: admin}]
";

const SLOW: &str = "
type: MeshTimeout
name: slow
mesh: default
spec:
  targetRef: {kind: Dataplane, labels: {team: shop}}
  to:
  - targetRef: {kind: MeshMultiZoneService, name: redis, sectionName: admin}
    default: {http: {requestTimeout: 1s}}
";

async fn zone(documents: &[&str]) -> RealApi {
    let mode = Mode::Zone {
        name: "east".to_owned(),
        federated: false,
    };
    let api = RealApi::start_as(mode).await;
    let documents = documents.join("---");
    api.run(&["apply", "-f", "-"], &documents).await.done();
    api
}

/// Rows of a table as cells.
fn cells(out: &str) -> Vec<Vec<&str>> {
    out.lines()
        .map(|line| {
            line.split("   ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect()
}

#[tokio::test]
async fn whom_a_policy_touches() {
    let api = zone(&[PROXY, REDIS, SLOW]).await;
    let expected = "\
MeshTimeout slow touches 1 proxy:
  NAME    ZONE
  web-1   east
";
    for name in ["meshtimeout", "meshtimeouts", "mt"] {
        assert_eq!(api.run(&["inspect", name, "slow"], "").await.done(), expected, "{name}");
    }
    let json = api
        .run(&["inspect", "meshtimeout", "slow", "-o", "json"], "")
        .await
        .done();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["items"][0]["name"], "web-1");
    let error = api.run(&["inspect", "meshretry", "nope"], "").await.error();
    assert!(
        error.starts_with("there is no MeshRetry nope in mesh default"),
        "{error}"
    );
}

#[tokio::test]
async fn a_policy_without_effect_says_so_when_written_and_when_looked_at() {
    let api = zone(&[PROXY, REDIS]).await;
    let lost = SLOW
        .replace("team: shop", "team: billing")
        .replace("name: redis", "name: valkey");
    let ran = api.run(&["apply", "-f", "-"], &lost).await;
    let nobody = "touches no proxy at present: mesh \"default\" has 1 proxy, which it does not select";
    let missing =
        "spec.to[0].targetRef: there is no MeshMultiZoneService with labels kuma.io/display-name=valkey at present";
    for said in [nobody, missing] {
        assert!(ran.err.contains(said), "{said} is missing in\n{}", ran.err);
    }
    let expected = format!("MeshTimeout slow {nobody}\n\nMeshTimeout slow: {missing}\n");
    assert_eq!(api.run(&["inspect", "meshtimeout", "slow"], "").await.done(), expected);
}

#[tokio::test]
async fn a_policy_that_was_applied_is_unchanged() {
    let old = SLOW.replace(
        "kind: Dataplane, labels: {team: shop}",
        "kind: MeshSubset, tags: {team: shop}",
    );
    let api = zone(&[PROXY, REDIS, SLOW]).await;
    for document in [SLOW.to_owned(), old] {
        api.run(&["apply", "-f", "-"], &document).await.done();
        let again = api.run(&["apply", "-f", "-"], &document).await.done();
        assert_eq!(again, "MeshTimeout default/slow unchanged\n");
    }
}

#[tokio::test]
async fn policies_of_a_proxy() {
    let api = zone(&[PROXY, REDIS, SLOW]).await;
    let out = api
        .run(&["inspect", "dataplane", "web-1", "--type", "policies"], "")
        .await
        .done();
    let rows = cells(&out);
    assert_eq!(rows[0], ["POLICY", "NAME", "ZONE", "ROLE", "APPLIES TO"]);
    assert!(
        rows.contains(&vec![
            "MeshTimeout",
            "mesh-timeout-all-default",
            "east",
            "system",
            "inbound 8080, outbound"
        ]),
        "{out}"
    );
    assert!(
        rows.contains(&vec!["MeshTimeout", "slow", "east", "system", "outbound"]),
        "{out}"
    );

    let flags = [
        "inspect",
        "dataplane",
        "web-1",
        "--type",
        "policies",
        "--to",
        "redis",
        "--port",
        "admin",
    ];
    let out = api.run(&flags, "").await.done();
    assert!(
        out.starts_with("Traffic to MeshMultiZoneService redis, port 80:\n"),
        "{out}"
    );
    let rows = cells(&out);
    for row in [
        ["MeshTimeout", "http.requestTimeout", "1s", "slow spec.to[0]"],
        [
            "MeshTimeout",
            "connectionTimeout",
            "2s",
            "mesh-timeout-all-default spec.to[0]",
        ],
        ["MeshRetry", "http.numRetries", "5", "mesh-retry-all-default spec.to[0]"],
    ] {
        assert!(rows.contains(&row.to_vec()), "{row:?} is missing in\n{out}");
    }
    for (flags, reason) in [
        (&["--type", "stats", "--to", "redis"][..], "--to needs --type policies"),
        (&["--shadow"], "--shadow needs --type policies or rules or config"),
        (
            &["--type", "rules", "--include", "diff"],
            "--include needs --type config",
        ),
    ] {
        let line = [&["inspect", "dataplane", "web-1"], flags].concat();
        assert_eq!(api.run(&line, "").await.error(), reason);
    }
    let flags = ["inspect", "dataplane", "web-1", "--to", "nope"];
    let error = api.run(&flags, "").await.error();
    assert!(
        error.contains("has no MeshService or MeshMultiZoneService or MeshExternalService \"nope\""),
        "{error}"
    );
    let flags = ["inspect", "dataplane", "web-1", "--type", "policies", "-o", "yaml"];
    assert!(api.run(&flags, "").await.done().contains("appliesTo:"));
    let error = api
        .run(&["inspect", "dataplane", "nope", "--type", "policies"], "")
        .await
        .error();
    assert!(error.contains("there is no Dataplane named nope"), "{error}");
}

#[tokio::test]
async fn rules_of_a_proxy() {
    let api = zone(&[PROXY, REDIS, SLOW]).await;
    let out = api
        .run(&["inspect", "dataplane", "web-1", "--type", "rules"], "")
        .await
        .done();
    let rows = cells(&out);
    assert_eq!(rows[0], ["POLICY", "TRAFFIC", "CONF", "FROM"]);
    let find = |traffic: &str| {
        let row = rows.iter().find(|row| row[0] == "MeshTimeout" && row[1] == traffic);
        row.unwrap_or_else(|| panic!("{traffic} is missing in\n{out}"))
    };
    assert_eq!(
        find("to MeshMultiZoneService redis:admin")[3],
        "slow, mesh-timeout-all-default"
    );
    assert!(
        find("to MeshMultiZoneService redis:admin")[2].contains("http.requestTimeout=1s"),
        "{out}"
    );
    assert!(find("to all")[2].contains("http.requestTimeout=15s"), "{out}");
    assert_eq!(find("inbound 8080")[3], "mesh-timeout-all-default");
    let shadow = [
        "inspect",
        "dataplane",
        "web-1",
        "--type",
        "rules",
        "--shadow",
        "-o",
        "json",
    ];
    let json: Value = serde_json::from_str(&api.run(&shadow, "").await.done()).unwrap();
    assert_eq!(json["resource"]["name"], "web-1");
}

#[tokio::test]
async fn routes_of_traffic_to_a_service() {
    let route = "
type: MeshHTTPRoute
name: canary
mesh: default
spec:
  to:
  - targetRef: {kind: MeshMultiZoneService, name: redis}
    rules:
    - matches: [{path: {type: PathPrefix, value: /v2}}]
      default: {backendRefs: [{kind: MeshMultiZoneService, name: redis, port: 80, weight: 9}]}
";
    let api = zone(&[PROXY, REDIS, route]).await;
    let flags = [
        "inspect",
        "dataplane",
        "web-1",
        "--type",
        "policies",
        "--to",
        "redis",
        "--port",
        "80",
    ];
    let out = api.run(&flags, "").await.done();
    let row = [
        "MeshHTTPRoute",
        "path.type=PathPrefix, path.value=/v2",
        "redis:80 weight 9",
        "canary spec.to[0]",
    ];
    assert!(cells(&out).contains(&row.to_vec()), "{out}");
}

#[tokio::test]
async fn control_planes_of_the_reference() {
    let cp = ControlPlane::start().await;
    let proxy = json!({ "type": "Dataplane", "mesh": "default", "name": "web-1" });
    cp.put("/meshes/default/dataplanes/web-1", proxy);
    // Before 2.12: policies by attachment, and rules without the newer form.
    cp.answer(
        "GET /meshes/default/dataplanes/web-1/policies",
        200,
        r#"{"kind": "SidecarDataplane", "items": []}"#,
    );
    let out = cp
        .run(&["inspect", "dataplane", "web-1", "--type", "policies"])
        .await
        .done();
    assert!(out.contains("SidecarDataplane"), "{out}");
    let rules = r#"{"rules": [{"type": "MeshTrafficPermission", "toResourceRules": [], "fromRules": [{
        "inbound": {"port": 8080}, "rules": [{
            "matchers": [{"key": "kuma.io/service", "value": "a", "not": true}],
            "conf": {"action": "Allow"}, "origin": [{"name": "mtp"}]}]}]}]}"#;
    cp.answer("GET /meshes/default/dataplanes/web-1/_rules?shadow=false", 200, rules);
    let out = cp
        .run(&["inspect", "dataplane", "web-1", "--type", "rules"])
        .await
        .done();
    let row = [
        "MeshTrafficPermission",
        "inbound 8080 from kuma.io/service=!a",
        "action=Allow",
        "mtp",
    ];
    assert_eq!(cells(&out)[1], row);
}

#[test]
fn every_kind_has_a_command_that_shells_complete() {
    let command = Kumactl::command();
    let inspect = command.find_subcommand("inspect").unwrap();
    for kind in PolicyKind::ALL {
        let info = kind.kind().info();
        for name in [info.singular, info.path, info.short_name] {
            let line = ["kumactl", "inspect", name, "slow", "-m", "default"];
            assert!(Kumactl::try_parse_from(line).is_ok(), "{name}");
        }
        let about = inspect.find_subcommand(info.singular).unwrap().get_about().unwrap();
        let expected = format!("{} which proxies one touches", kind.info().about.replace('.', ":"));
        assert_eq!(about.to_string(), expected);
    }
    assert!(Kumactl::try_parse_from(["kumactl", "inspect", "meshtimeout"]).is_err());
    let get = command.find_subcommand("get").unwrap();
    let kinds = get.get_arguments().find(|arg| arg.get_id() == "kind").unwrap();
    let names: Vec<_> = kinds
        .get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
    for name in ["meshtimeouts", "meshretry", "meshmultizoneservices"] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
}
