//! What we build from others: `deny.toml` over the packages that are really built.
//!
//! Advisories need a database from the network and stay with cargo-deny.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::cargo_tree::{self, Package};
use crate::deny_toml::{self, Rules};
use crate::{Finding, licence};

/// Checks licences, bans and double versions.
pub fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let text = std::fs::read_to_string(root.join("deny.toml")).map_err(|error| format!("deny.toml: {error}"))?;
    Ok(findings(&cargo_tree::packages(root)?, &deny_toml::parse(&text)))
}

fn findings(packages: &BTreeSet<Package>, rules: &Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Package { name, version, licence } in packages {
        versions.entry(name).or_default().insert(version);
        if rules.banned.contains(name) {
            findings.push(format!(
                "{name} {version} is built and deny.toml bans it: `cargo tree -i {name}` shows who wants it"
            ));
        }
        if !licence::is_allowed(licence, &rules.licences) {
            findings.push(format!(
                "{name} {version} has the licence {licence:?}, which deny.toml does not allow"
            ));
        }
    }
    for (name, versions) in versions {
        if rules.single_version.contains(name) && versions.len() > 1 {
            let versions: Vec<&str> = versions.into_iter().collect();
            findings.push(format!(
                "{name} is built in the versions {}: `cargo tree -d` shows why",
                versions.join(", ")
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, licence: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            licence: licence.into(),
        }
    }

    #[test]
    fn each_rule_is_applied() {
        let rules = Rules {
            licences: ["MIT".to_owned()].into(),
            banned: ["ring".to_owned()].into(),
            single_version: ["tokio".to_owned()].into(),
        };
        let good = [
            package("tokio", "1.0.0", "MIT"),
            package("syn", "1.0.0", "MIT"),
            package("syn", "2.0.0", "MIT"),
        ];
        assert!(findings(&good.into(), &rules).is_empty());
        let bad = [
            package("ring", "0.17.0", "MIT"),
            package("tokio", "0.3.0", "MIT"),
            package("tokio", "1.0.0", "MIT"),
            package("gpl", "1.0.0", "GPL-3.0"),
        ];
        assert_eq!(findings(&bad.into(), &rules).len(), 3);
    }
}
