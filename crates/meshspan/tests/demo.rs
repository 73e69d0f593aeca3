//! `meshspan demo --once` as its users run it: it succeeds and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

/// Runs the demo with a temporary folder of its own, and returns what it said.
fn demo(flags: &[&str], temporary: &Path) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_meshspan"))
        .args(["demo", "--once"])
        .args(flags)
        .env("TMPDIR", temporary)
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output, said)
}

/// Processes whose environment names this folder: children of a demo that ran with it.
fn left_behind(temporary: &Path) -> Vec<String> {
    let marker = format!("TMPDIR={}\0", temporary.display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes
        .filter(|process| {
            let environment = std::fs::read(process.join("environ")).unwrap_or_default();
            environment
                .windows(marker.len())
                .any(|window| window == marker.as_bytes())
        })
        .map(|process| std::fs::read_to_string(process.join("cmdline")).unwrap_or_default())
        .collect()
}

fn tells_the_story(flags: &[&str]) -> String {
    let temporary = tempfile::tempdir().unwrap();
    let (output, said) = demo(flags, temporary.path());
    assert!(output.status.success(), "{}: {said}", output.status);
    for line in [
        "redis: 50 of 50 requests answered by east",
        "echo: 50 of 50 requests answered by west",
        "without an answer for",
        "Everything above was observed.",
    ] {
        assert!(said.contains(line), "{line:?} is not in:\n{said}");
    }
    assert_eq!(left_behind(temporary.path()), Vec::<String>::new(), "{said}");
    let files: Vec<_> = std::fs::read_dir(temporary.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert!(files.is_empty(), "{files:?}\n{said}");
    said
}

#[test]
fn in_namespaces() {
    let said = tells_the_story(&[]);
    assert!(
        said.contains("looks redis.mzsvc.mesh.local up and finds 243."),
        "{said}"
    );
}

#[test]
fn on_loopback_addresses() {
    let said = tells_the_story(&["--no-interception", "--no-redis-server"]);
    assert!(said.contains("no interception and no names"), "{said}");
}
