//! Which crate may depend on which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::{Finding, cargo_tree};

/// Crates of this workspace, each with the ones that it may use (`docs/architecture.md`).
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("identity", &[]),
    ("policy", &["model"]),
    ("world", &["model", "policy"]),
    ("envoy", &["model", "policy", "world"]),
    ("log-limit", &[]),
    ("store", &["model"]),
    ("xds", &[]),
    ("sync", &["log-limit", "model", "store"]),
    ("api", &["identity", "log-limit", "model", "policy", "store"]),
    (
        "server",
        &[
            "api",
            "envoy",
            "identity",
            "log-limit",
            "model",
            "policy",
            "store",
            "sync",
            "world",
            "xds",
        ],
    ),
    ("agent", &["model", "xds"]),
    ("interception", &["model"]),
    ("cli", &["identity", "model"]),
    ("lab", &[]),
    ("demo", &["agent", "lab"]),
    ("meshspan", &["agent", "cli", "demo", "interception", "lab", "server"]),
    ("bench", &["demo", "lab", "xds"]),
    ("xtask", &[]),
];

/// Rooms that compute only: no runtime, network or database may be reachable from them.
pub const PURE: &[&str] = &["model", "policy", "world", "envoy", "identity"];

/// What no pure room may lead to. `envoy` is excepted from those that the generated Envoy types bring along, see [`EXCEPTIONS`].
const IMPURE: &[&str] = &[
    "axum",
    "hickory-proto",
    "hyper",
    "rustix",
    "socket2",
    "sqlx",
    "tempfile",
    "tokio",
    "tonic",
];

/// envoy-types is one package for messages and gRPC stubs, so the stubs' libraries come with the messages.
const EXCEPTIONS: &[(&str, &[&str])] = &[("envoy", &["tokio", "tonic", "hyper", "socket2"])];

/// Libraries that are the business of a few rooms, so that they can be replaced there.
const RESERVED: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("envoy-types", &["bench", "envoy", "server", "sync", "xds"]),
    ("axum", &["api", "server"]),
    ("hickory-proto", &["agent"]),
    ("jsonwebtoken", &["identity"]),
    ("x509-parser", &["identity"]),
];

/// Checks the dependencies of all crates, those of tests and build scripts left out.
pub fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let direct = cargo_tree::direct(root)?;
    let mut findings = findings(&direct);
    for room in PURE {
        let reachable = cargo_tree::reachable(root, &package(room))?;
        let direct = direct.get(&package(room)).cloned().unwrap_or_default();
        findings.extend(impurities(room, &direct, &reachable));
    }
    Ok(findings)
}

fn findings(direct: &BTreeMap<String, BTreeSet<String>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, dependencies) in direct {
        let room = name.strip_prefix("meshspan-").unwrap_or(name);
        let Some((_, allowed)) = ROOMS.iter().find(|(known, _)| *known == room) else {
            findings.push(format!("crates/{room} is new: say in ROOMS (crates/xtask) what it may use, and in docs/architecture.md what it is"));
            continue;
        };
        for used in dependencies.iter().filter_map(|name| name.strip_prefix("meshspan-")) {
            if !allowed.contains(&used) {
                findings.push(format!("crates/{room} must not depend on crates/{used}"));
            }
        }
        for (library, rooms) in RESERVED {
            if dependencies.contains(*library) && !rooms.contains(&room) {
                findings.push(format!(
                    "crates/{room} must not use {library}: that is for {}",
                    rooms.join(", ")
                ));
            }
        }
    }
    findings
}

fn impurities(room: &str, direct: &BTreeSet<String>, reachable: &BTreeSet<String>) -> Vec<Finding> {
    let excepted = EXCEPTIONS
        .iter()
        .find(|(name, _)| *name == room)
        .map_or(&[][..], |(_, excepted)| excepted);
    let found = IMPURE
        .iter()
        .filter(|library| direct.contains(**library) || (reachable.contains(**library) && !excepted.contains(library)));
    found
        .map(|library| format!("crates/{room} is pure and must not lead to {library}"))
        .collect()
}

fn package(room: &str) -> String {
    format!("meshspan-{room}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn edges_are_checked() {
        let good = [("meshspan-world".to_owned(), names(&["meshspan-model", "serde"]))].into();
        assert!(findings(&good).is_empty());
        let bad = [
            ("meshspan-model".to_owned(), names(&["meshspan-store", "sqlx"])),
            ("meshspan-attic".to_owned(), names(&[])),
        ]
        .into();
        assert_eq!(findings(&bad).len(), 3);
    }

    #[test]
    fn an_exception_covers_what_comes_along_but_not_a_direct_use() {
        assert_eq!(impurities("world", &names(&[]), &names(&["tokio"])).len(), 1);
        assert!(impurities("envoy", &names(&[]), &names(&["tokio"])).is_empty());
        assert_eq!(impurities("envoy", &names(&["tokio"]), &names(&["tokio"])).len(), 1);
    }
}
