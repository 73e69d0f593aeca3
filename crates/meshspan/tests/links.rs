//! The binary under the names of the reference's programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// Runs the binary through a link of this name; its output if it ends well.
fn run(folder: &Path, name: &str, arguments: &[&str]) -> String {
    let link = folder.join(name);
    if !link.exists() {
        symlink(env!("CARGO_BIN_EXE_meshspan"), &link).unwrap();
    }
    let output = Command::new(&link).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn links_have_the_commands_of_the_programs_whose_names_they_bear() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name, arguments: &[&str]| run(folder.path(), name, arguments);
    // The commit follows where it is known.
    let own = format!("Meshspan {}", env!("CARGO_PKG_VERSION"));
    for name in ["kuma-cp", "kuma-dp"] {
        let said = run(name, &["version"]);
        assert!(
            said.starts_with(&own) && said.contains(", compatible with Kuma 2."),
            "{said}"
        );
        assert!(run(name, &["version", "--detailed"]).contains("Program: /"));
        assert!(run(name, &["run", "--help"]).contains("Usage: "));
    }
    let dry = ["install", "transparent-proxy", "--dry-run", "--kuma-dp-user", "root"];
    let by_link = run("kumactl", &dry);
    assert!(by_link.contains("REDIRECT"), "{by_link}");
    assert_eq!(by_link, run("meshspan", &dry), "the same rules under both names");
    assert!(run("kumactl", &["uninstall", "transparent-proxy", "--help"]).contains("Usage: kumactl uninstall"));
    assert!(run("kumactl", &["completion", "bash"]).contains("kumactl"));
    assert!(run("kumactl", &["--no-config", "config", "--help"]).contains("--api-timeout"));
}

#[test]
fn examples_are_for_the_name_by_which_the_program_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name, arguments: &[&str]| run(folder.path(), name, arguments);
    assert!(run("kumactl", &["get", "--help"]).contains("  kumactl get meshes"));
    assert!(run("kumactl", &["generate", "user-token", "--help"]).contains("  kumactl generate user-token"));
    assert!(run("kuma-dp", &["run", "--help"]).contains("  kuma-dp run --cp-address"));
    assert!(run("meshspan", &["get", "--help"]).contains("  meshspan get meshes"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for arguments in [
        &["completion", "bash"][..],
        &["install", "transparent-proxy", "--dry-run", "--kuma-dp-user", "root"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_meshspan"))
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() && !said.contains("panicked"),
            "{arguments:?}: {said}"
        );
    }
}
