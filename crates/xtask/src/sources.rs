//! The files of the repository.

use std::path::{Path, PathBuf};

use crate::Finding;
use crate::rooms::PURE;

/// Longest Rust file, in lines.
const MAX_LINES: usize = 800;

/// What a pure room must not name: clock, files, sockets, environment, processes, threads.
const IMPURE: &[&str] = &[
    "std::env::",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "OffsetDateTime::now",
];

/// Message types of Envoy itself; those of `google.protobuf` are for everyone who may use the package.
const ENVOY_TYPES: &str = concat!("envoy_types::pb::", "envoy");

/// Where they may be named, tests aside. In `sync` only the messages of the discovery protocol, gathered in one file; in `bench` by its fake Envoy.
const ENVOY_TYPES_PLACES: &[&str] = &[
    "crates/envoy/",
    "crates/xds/",
    "crates/sync/src/proto.rs",
    "crates/bench/src/fake_envoy.rs",
];

/// A queue without a bound; every queue has one, and someone decided what happens when it is full.
const UNBOUNDED: &str = concat!("unbounded_", "channel(");

/// Folders that hold what is not ours.
const SKIPPED: &[&str] = &[".git", "target"];

/// Checks all files.
pub fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let mut files = Vec::new();
    list(root, &mut files).map_err(|error| format!("cannot list {}: {error}", root.display()))?;
    files.sort();
    let private = private_folders(root);
    let mut findings = Vec::new();
    for file in files {
        // Databases and the like are not text; there is nothing to check.
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let path = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        findings.extend(check_file(&path, &text, &private));
    }
    Ok(findings)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() {
            files.push(entry.path());
        } else if kind.is_dir() && !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
            list(&entry.path(), files)?;
        }
    }
    Ok(())
}

/// Folders of this machine, which no file should mention: the home folder, and the checkout unless its path is so short (`/src`) that it
/// could be part of others.
fn private_folders(root: &Path) -> Vec<String> {
    let home = std::env::var("HOME").ok().filter(|home| home.len() > 1);
    let checkout = (root.components().count() > 2).then(|| root.display().to_string());
    [home, checkout]
        .into_iter()
        .flatten()
        .map(|folder| format!("{}/", folder.trim_end_matches('/')))
        .collect()
}

fn check_file(path: &str, text: &str, private: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in private.iter().filter(|folder| text.contains(folder.as_str())) {
        findings.push(format!("{path} names {folder}, a folder of this machine"));
    }
    if !path.ends_with(".rs") {
        return findings;
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        findings.push(format!(
            "{path} has {lines} lines, more than {MAX_LINES}: split it by concept"
        ));
    }
    let is_front = path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs");
    if is_front && !text.starts_with("//!") {
        findings.push(format!(
            "{path} must begin with a module doc: what this is, what it does not do, where to start"
        ));
    }
    if path.contains("/src/")
        && text.contains(ENVOY_TYPES)
        && !ENVOY_TYPES_PLACES.iter().any(|place| path.starts_with(place))
    {
        findings.push(format!(
            "{path} names Envoy's types, which are for {}",
            ENVOY_TYPES_PLACES.join(", ")
        ));
    }
    // A tests module at the end of a file may do what it needs.
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    if path.contains("/src/") && code.contains(UNBOUNDED) {
        findings.push(format!("{path} makes an unbounded channel: choose a capacity"));
    }
    if PURE.iter().any(|room| path.starts_with(&format!("crates/{room}/src/"))) {
        for name in IMPURE.iter().filter(|name| code.contains(**name)) {
            findings.push(format!(
                "{path} names {name} in a pure room: let the caller pass the value in"
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_file() {
        let private = ["/somewhere/mesh/".to_owned()];
        let check = |path: &str, text: &str| check_file(path, text, &private).len();
        assert_eq!(check("docs/a.md", "see docs/b.md"), 0);
        assert_eq!(check("docs/a.md", "see /somewhere/mesh/docs"), 1);
        assert_eq!(check("crates/api/src/link.rs", &"\n".repeat(MAX_LINES)), 0);
        assert_eq!(check("crates/api/src/link.rs", &"\n".repeat(MAX_LINES + 1)), 1);
        assert_eq!(check("crates/api/src/lib.rs", "//! The API.\nmod a;"), 0);
        assert_eq!(check("crates/api/src/lib.rs", "mod a;"), 1);
        assert_eq!(
            check("crates/agent/src/dns.rs", "use envoy_types::pb::google::protobuf::Any;"),
            0
        );
        assert_eq!(
            check("crates/agent/src/dns.rs", &format!("use {ENVOY_TYPES}::config;")),
            1
        );
        assert_eq!(check("crates/agent/src/dns.rs", &format!("mpsc::{UNBOUNDED})")), 1);
        assert_eq!(check("crates/agent/tests/dns.rs", &format!("mpsc::{UNBOUNDED})")), 0);
        assert_eq!(
            check("crates/world/src/vips.rs", "#[cfg(test)]\nmod tests { use std::fs; }"),
            0
        );
        assert_eq!(check("crates/world/src/vips.rs", "use std::fs;"), 1);
    }
}
