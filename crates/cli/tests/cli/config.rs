//! `config`, and what the other commands make of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{ControlPlane, run_line};

#[tokio::test]
async fn remembers_control_planes() {
    let (first, second) = (ControlPlane::start().await, ControlPlane::start().await);
    for cp in [&first, &second] {
        cp.answer("GET /", 200, json!({ "product": "Kuma", "version": "2.9.13" }));
        cp.list("/zones", json!([]));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/config");
    let file = ["--config-file", path.to_str().unwrap()];
    let run = async |line: &[&str]| run_line(&[&file[..], line].concat(), "").await;
    let planes = ["config", "control-planes"];
    let add = async |line: &[&str]| run(&[&planes[..], &["add"], line].concat()).await;

    add(&[
        "--name",
        "first",
        "--address",
        &first.url,
        "--auth-type",
        "tokens",
        "--auth-conf",
        "token=s3cret",
        "--headers",
        "x-team=a",
    ])
    .await
    .done();
    add(&["--name", "second", "--address", &second.url]).await.done();
    assert!(
        add(&["--name", "second", "--address", &second.url])
            .await
            .error()
            .contains("--overwrite")
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let list = run(&["config", "control-planes", "list"]).await.done();
    let expected = format!(
        "ACTIVE   NAME     ADDRESS\n-        local    http://localhost:5681\n-        first    {}\n*        second   {}\n",
        first.url, second.url
    );
    assert_eq!(list, expected);

    run(&["get", "zones"]).await.done();
    run(&["config", "control-planes", "switch", "--name", "first"])
        .await
        .done();
    run(&["get", "zones"]).await.done();
    run(&["get", "zones", "--context", "second"]).await.done();
    assert_eq!(second.requests().last().unwrap().authorization, None);
    let asked = first.requests();
    let asked = asked.last().unwrap();
    assert_eq!(asked.authorization.as_deref(), Some("Bearer s3cret"));
    assert_eq!(asked.headers["x-team"], "a");
    let program = asked.headers["user-agent"].to_str().unwrap();
    let own = concat!("meshspan/", env!("CARGO_PKG_VERSION"), " (compatible with Kuma 2.");
    assert!(program.starts_with(own), "{program}");
    run(&["get", "zones", "--address", &second.url]).await.done();
    assert_eq!(
        second.requests().last().unwrap().authorization,
        None,
        "tokens stay with their address"
    );

    let view = run(&["config", "view"]).await.done();
    assert!(
        view.contains("currentContext: first") && view.contains("*****") && !view.contains("s3cret"),
        "{view}"
    );

    run(&["config", "control-planes", "remove", "--name", "first"])
        .await
        .done();
    let unknown = run(&["config", "control-planes", "switch", "--name", "first"])
        .await
        .error();
    assert_eq!(
        unknown,
        "control plane \"first\" is not in the configuration, it has: local, second"
    );
    assert_eq!(
        fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

#[tokio::test]
async fn refuses_what_is_no_control_plane() {
    let cp = ControlPlane::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let line = [
        "--config-file",
        path.to_str().unwrap(),
        "config",
        "control-planes",
        "add",
        "--name",
        "x",
        "--address",
        &cp.url,
    ];
    let error = run_line(&line, "").await.error();
    assert!(error.contains("was not added"), "{error}");
    cp.answer("GET /", 200, json!({ "product": "Something" }));
    assert!(run_line(&line, "").await.error().contains("calls itself \"Something\""));
    assert!(!path.exists());
    run_line(&[&line[..], &["--skip-check"]].concat(), "").await.done();
    assert!(path.exists());
}

#[tokio::test]
async fn reads_files_of_kumactl() {
    let cp = ControlPlane::start().await;
    cp.list("/zones", json!([]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let text = format!(
        "contexts:\n- controlPlane: prod\n  name: prod\ncontrolPlanes:\n- coordinates:\n    apiServer:\n      authConf:\n        token: abc\n      authType: tokens\n      url: {}\n  name: prod\ncurrentContext: prod\n",
        cp.url
    );
    fs::write(&path, text).unwrap();
    let file = ["--config-file", path.to_str().unwrap()];
    run_line(&[&file[..], &["get", "zones"]].concat(), "").await.done();
    assert_eq!(cp.requests()[0].authorization.as_deref(), Some("Bearer abc"));

    fs::write(&path, "contexts: 5").unwrap();
    let error = run_line(&[&file[..], &["get", "zones"]].concat(), "").await.error();
    assert!(error.contains("config cannot be read"), "{error}");
    fs::write(&path, "currentContext: gone\n").unwrap();
    let error = run_line(&[&file[..], &["get", "zones"]].concat(), "").await.error();
    assert!(
        error.contains("context \"gone\" is not in the configuration"),
        "{error}"
    );
}
