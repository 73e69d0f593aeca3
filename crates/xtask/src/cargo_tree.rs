//! The packages that are really built, from `cargo tree`: `cargo metadata` also lists optional packages that no feature turns on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// A package of the graph.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// As in its `Cargo.toml`.
    pub name: String,
    /// Without the leading `v`.
    pub version: String,
    /// SPDX expression; empty if the package states none.
    pub licence: String,
}

/// All packages that the workspace builds, for tests and build scripts as well.
pub fn packages(root: &Path) -> Result<BTreeSet<Package>, String> {
    let tree = cargo_tree(
        root,
        &[
            "--workspace",
            "--edges",
            "normal,build,dev",
            "--prefix",
            "none",
            "--format",
            "{p}\t{l}",
        ],
    )?;
    Ok(tree.lines().filter_map(package).collect())
}

/// Names of all packages, however indirect, that end up in the library of `package`.
pub fn reachable(root: &Path, package: &str) -> Result<BTreeSet<String>, String> {
    let tree = cargo_tree(
        root,
        &[
            "--package",
            package,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ],
    )?;
    Ok(tree.lines().skip(1).filter_map(name).map(str::to_owned).collect())
}

/// What each crate of the workspace itself depends on, tests and build scripts left out.
pub fn direct(root: &Path) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let tree = cargo_tree(
        root,
        &[
            "--workspace",
            "--edges",
            "normal",
            "--depth",
            "1",
            "--prefix",
            "depth",
            "--format",
            "{p}",
        ],
    )?;
    Ok(direct_of(&tree))
}

fn cargo_tree(root: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("cargo")
        .args(["tree", "--locked", "--quiet"])
        .args(arguments)
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "cargo tree: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("cargo tree printed no text: {error}"))
}

/// `0meshspan-world v0.1.0 (/path)`, followed by its dependencies at depth 1, and so on.
fn direct_of(tree: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in tree.lines() {
        if let Some(name) = line.strip_prefix('0').and_then(name) {
            name.clone_into(&mut current);
            edges.entry(current.clone()).or_default();
        } else if let Some(name) = line.strip_prefix('1').and_then(name) {
            edges.entry(current.clone()).or_default().insert(name.to_owned());
        }
    }
    edges
}

/// `serde v1.0.228 (*)` → `serde`
fn name(line: &str) -> Option<&str> {
    line.split_whitespace().next()
}

/// `tokio v1.54.0\tMIT (*)`; the mark says that the package was shown before.
fn package(line: &str) -> Option<Package> {
    let (package, licence) = line.split_once('\t')?;
    let mut words = package.split_whitespace();
    Some(Package {
        name: words.next()?.to_owned(),
        version: words.next()?.trim_start_matches('v').to_owned(),
        licence: licence.trim_end_matches("(*)").trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_read_with_or_without_the_mark() {
        let tokio = Package {
            name: "tokio".into(),
            version: "1.54.0".into(),
            licence: "MIT".into(),
        };
        assert_eq!(package("tokio v1.54.0\tMIT"), Some(tokio.clone()));
        assert_eq!(package("tokio v1.54.0\tMIT (*)"), Some(tokio));
        assert_eq!(
            package("serde_derive v1.0.0 (proc-macro)\tMIT OR Apache-2.0").map(|p| p.licence),
            Some("MIT OR Apache-2.0".into())
        );
        assert_eq!(package(""), None);
    }

    #[test]
    fn edges_belong_to_the_crate_above_them() {
        let edges = direct_of(
            "0meshspan-model v0.1.0 (/x)\n1serde v1.0.0\n\n0meshspan-world v0.1.0 (/x)\n1meshspan-model v0.1.0 (/x)\n",
        );
        assert_eq!(edges.len(), 2);
        assert!(edges.get("meshspan-model").is_some_and(|used| used.contains("serde")));
        assert!(
            edges
                .get("meshspan-world")
                .is_some_and(|used| used.contains("meshspan-model"))
        );
    }
}
