//! `meshspan dp run`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use meshspan_demo::{ControlPlane, Network, Program};
use serde_json::json;

use super::{fails, meshspan, says};

const DATAPLANE: &str = "
type: Dataplane
mesh: default
name: web-1
networking:
  address: 127.0.0.1
  inbound: [{port: 8080, serviceAddress: 127.0.0.2, tags: {kuma.io/service: web}}]
";

/// An agent that asks a control plane which does not exist, unless `flags` say otherwise.
fn agent(flags: &[&str]) -> Command {
    let mut command = meshspan(&[
        "dp",
        "run",
        "--dataplane",
        DATAPLANE,
        "--readiness-port",
        "0",
        "--dns-enabled=false",
        "--skip-verify",
    ]);
    command
        .args(flags)
        .env("KUMA_CONTROL_PLANE_RETRY_MAX_DURATION", "500ms")
        .env("KUMA_CONTROL_PLANE_RETRY_BACKOFF", "50ms");
    command
}

/// Says that it is Envoy 1.40, and when it is to run, `script` happens.
fn fake_envoy(folder: &Path, script: &str) -> String {
    let path = folder.join("envoy");
    let version = "envoy  version: 0123456789abcdef0123456789abcdef01234567/1.40.0/Clean/RELEASE/BoringSSL";
    fs::write(
        &path,
        format!("#!/bin/sh\nif [ \"$1\" = --version ]; then echo '{version}'; exit 0; fi\n{script}\n"),
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn envoy_is_missing() {
    let (_, said) = fails(agent(&["--binary-path", "/nonexistent/envoy"]));
    says(&said, &["/nonexistent/envoy", "does not exist"]);
    let mut command = agent(&[]);
    let nowhere = tempfile::tempdir().unwrap();
    command
        .env("PATH", nowhere.path())
        .env("HOME", nowhere.path())
        .env_remove("XDG_CACHE_HOME");
    says(&fails(command).1, &["no Envoy binary", "meshspan envoy install"]);
}

#[test]
fn the_control_plane_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let envoy = fake_envoy(folder.path(), "exit 0");
    // Bound, so that nobody else listens there, and not listening itself once it is dropped.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("https://127.0.0.1:{port}");
    let (_, said) = fails(agent(&["--binary-path", &envoy, "--cp-address", &url]));
    says(&said, &[&format!("127.0.0.1:{port}")]);
}

#[test]
fn documents_that_cannot_be_used() {
    for (flags, complaint) in [
        (&["--name", "other"][..], "--name"),
        (&["--proxy-type", "ingress"], "Dataplane needs --proxy-type dataplane"),
        (&["--dataplane-token-file", "/nonexistent/token"], "/nonexistent/token"),
        (&["--ca-cert-file", "/nonexistent/ca.pem"], "/nonexistent/ca.pem"),
        (&["--cp-address", "localhost:5678"], "localhost:5678"),
    ] {
        says(&fails(agent(flags)).1, &[complaint]);
    }
}

/// With a control plane: what it refuses, and an Envoy that does not start.
#[test]
fn refusals_of_the_control_plane_and_a_crashing_envoy() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let network = Network::loopback().unwrap();
    let control_plane = runtime.block_on(start(&network)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let envoy = fake_envoy(folder.path(), "echo 'cannot allocate a flux capacitor' >&2; exit 3");
    let url = control_plane.dp_url();
    let ca = control_plane.ca_file().display().to_string();
    let run = |flags: &[&str]| {
        let mut command = meshspan(&[
            "dp",
            "run",
            "--dataplane",
            DATAPLANE,
            "--readiness-port",
            "0",
            "--dns-enabled=false",
        ]);
        command
            .args(["--binary-path", &envoy, "--cp-address", &url])
            .args(flags);
        command
    };
    let token = |name: &str| {
        let request = json!({ "mesh": "default", "name": name, "type": "dataplane" });
        runtime
            .block_on(control_plane.api().post("/tokens/dataplane", &request))
            .unwrap()
    };

    let (_, said) = fails(run(&["--ca-cert-file", &ca]));
    says(&said, &["token"]);
    let (_, said) = fails(run(&["--ca-cert-file", &ca, "--dataplane-token", "not.a.token"]));
    says(&said, &["token"]);
    let (_, said) = fails(run(&["--ca-cert-file", &ca, "--dataplane-token", &token("web-2")]));
    says(&said, &["web-2"]);

    let (_, said) = fails(run(&["--dataplane-token", &token("web-1")]));
    says(&said, &["--ca-cert-file"]);
    let (_, said) = fails({
        let other = folder.path().join("other.pem");
        let network = Network::loopback().unwrap();
        let stranger = runtime.block_on(start(&network)).unwrap();
        fs::copy(stranger.ca_file(), &other).unwrap();
        let mut command = run(&[
            "--ca-cert-file",
            &other.display().to_string(),
            "--dataplane-token",
            &token("web-1"),
        ]);
        command.env("KUMA_CONTROL_PLANE_RETRY_MAX_DURATION", "500ms");
        command
    });
    says(&said, &["certificate"]);

    let (code, said) = fails(run(&["--ca-cert-file", &ca, "--dataplane-token", &token("web-1")]));
    says(&said, &["cannot allocate a flux capacitor", "exit status: 3"]);
    assert_eq!(code, 3, "{said}");
    drop(runtime);
}

async fn start(network: &Network) -> Result<ControlPlane> {
    let machine = network.machine("zone", 9, 1).await?;
    let control_plane = ControlPlane::standalone(&Program::new(env!("CARGO_BIN_EXE_meshspan")), machine, &[]).await?;
    ensure!(control_plane.ca_file().exists());
    Ok(control_plane)
}
