//! `meshspan cp run`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use meshspan_demo::{ControlPlane, Network, Program};
use meshspan_lab::{eventually, isolated};

use super::{LIMIT, fails, meshspan, says};

/// A zone control plane on free ports with its files in `folder`.
fn control_plane(folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = meshspan(&["cp", "run"]);
    command.env("KUMA_GENERAL_WORK_DIR", folder);
    for (name, value) in [
        ("KUMA_API_SERVER_HTTP_INTERFACE", "127.0.0.1"),
        ("KUMA_API_SERVER_HTTP_PORT", "0"),
        ("KUMA_API_SERVER_HTTPS_ENABLED", "false"),
        ("KUMA_DP_SERVER_PORT", "0"),
        ("KUMA_DIAGNOSTICS_SERVER_PORT", "0"),
    ]
    .iter()
    .chain(settings)
    {
        command.env(name, value);
    }
    command
}

#[test]
fn settings_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, complaint) in [
        ("KUMA_MODE", "universe", "universe"),
        ("KUMA_IPAM_MESH_MULTI_ZONE_SERVICE_CIDR", "243.0.0.0/99", "243.0.0.0/99"),
        ("KUMA_IPAM_MESH_MULTI_ZONE_SERVICE_CIDR", "241.1.0.0/16", "overlaps"),
        ("KUMA_MULTIZONE_ZONE_NAME", "East Coast", "multizone.zone.name"),
        ("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", "global.example:5685", "grpcs://"),
        ("KUMA_API_SERVER_HTTP_PORT", "http", "KUMA_API_SERVER_HTTP_PORT"),
        ("KUMA_STORE_TYPE", "oracle", "oracle"),
        (
            "KUMA_MULTIZONE_GLOBAL_KDS_AUHT_TYPE",
            "none",
            "did you mean KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE",
        ),
    ] {
        let (_, said) = fails(control_plane(folder.path(), &[(name, value)]));
        says(&said, &[complaint]);
    }
    let mut command = control_plane(folder.path(), &[]);
    command.args(["--config-file", "/nonexistent/config.yaml"]);
    says(&fails(command).1, &["/nonexistent/config.yaml"]);
    let mut command = control_plane(folder.path(), &[]);
    command.args(["--config-file", "/dev/zero"]);
    says(&fails(command).1, &["/dev/zero", "at most"]);
    let federated = |setting| {
        let settings = [
            ("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", "grpcs://10.0.0.1:5685"),
            (setting, "/nonexistent/file"),
        ];
        fails(control_plane(folder.path(), &settings)).1
    };
    for setting in [
        "KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE",
        "KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH",
    ] {
        says(&federated(setting), &[setting, "/nonexistent/file"]);
    }
}

#[test]
fn a_port_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for setting in [
        "KUMA_API_SERVER_HTTP_PORT",
        "KUMA_DP_SERVER_PORT",
        "KUMA_DIAGNOSTICS_SERVER_PORT",
    ] {
        let (_, said) = fails(control_plane(folder.path(), &[(setting, &port)]));
        says(&said, &[&port, "in use"]);
    }
}

#[test]
fn a_database_that_is_read_only_corrupt_or_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meshspan.db");
    let shown = path.display().to_string();

    fs::write(
        &path,
        "this is not a database, and long enough to be none of an old version either".repeat(100),
    )
    .unwrap();
    let before = fs::read(&path).unwrap();
    says(&fails(control_plane(folder.path(), &[])).1, &[&shown]);
    assert_eq!(fs::read(&path).unwrap(), before, "what could not be read was changed");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    says(&fails(control_plane(folder.path(), &[])).1, &[&shown]);

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    says(&fails(control_plane(folder.path(), &[])).1, &[&shown]);

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    says(&fails(control_plane(&file, &[])).1, &[&file.display().to_string()]);
}

#[test]
fn a_zone_whose_global_is_unreachable_works_on() {
    isolated(|| async {
        let network = Network::lab().await?;
        let machine = network.machine("east-cp", 1, 1).await?;
        let program = Program::new(env!("CARGO_BIN_EXE_meshspan"));
        let settings = [
            ("KUMA_MULTIZONE_ZONE_NAME", "east"),
            ("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", "grpcs://10.0.0.1:5685"),
        ];
        let mut zone = ControlPlane::standalone(&program, machine, &settings).await?;
        eventually("a word about the global in the log", LIMIT, || async {
            let log = meshspan_demo::log_ends(network.directory(), 100);
            ensure!(log.contains("10.0.0.1:5685"), "{log}");
            Ok(())
        })
        .await?;
        zone.api().get("/zones").await?;
        zone.process().check()
    });
}

#[test]
fn a_second_zone_of_the_same_name_is_refused() {
    isolated(|| async {
        let network = Network::lab().await?;
        let program = Program::new(env!("CARGO_BIN_EXE_meshspan"));
        let global = ControlPlane::global(&program, network.machine("global", 0, 1).await?, &[]).await?;
        let first = ControlPlane::zone(&program, network.machine("first", 1, 1).await?, "east", &global, &[]).await?;
        online(&global, "east").await?;
        let mesh = || first.api().get("/meshes/default");
        let before = eventually("the mesh in the first zone", LIMIT, mesh).await?;
        let _second =
            ControlPlane::zone(&program, network.machine("second", 1, 2).await?, "east", &global, &[]).await?;
        eventually("a word about the name in the second log", LIMIT, || async {
            let log = std::fs::read_to_string(network.directory().join("second/control-plane.log"))?;
            ensure!(log.contains("east") && log.contains("already"), "{log}");
            Ok(())
        })
        .await?;
        ensure!(mesh().await? == before);
        online(&global, "east").await
    });
}

async fn online(global: &ControlPlane, zone: &str) -> Result<()> {
    eventually(&format!("zone {zone} to be online"), LIMIT, || async {
        let zones = global.client(&["inspect", "zones"]).await?;
        ensure!(
            zones.lines().any(|line| line.contains(zone) && line.contains("Online")),
            "{zones}"
        );
        Ok(())
    })
    .await
}
