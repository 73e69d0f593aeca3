//! `deny.toml`, as far as it is enforced here where cargo-deny is not installed. Each entry must stand on a line of its own.

use std::collections::BTreeSet;

/// The rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// SPDX identifiers of licences that any package may have.
    pub licences: BTreeSet<String>,
    /// Packages that must not be built.
    pub banned: BTreeSet<String>,
    /// Packages of which there must be one version.
    pub single_version: BTreeSet<String>,
}

/// Reads the text of `deny.toml`.
pub fn parse(text: &str) -> Rules {
    let mut rules = Rules::default();
    let mut in_licences = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        match line {
            "allow = [" => in_licences = true,
            "]" => in_licences = false,
            _ if in_licences => rules.licences.extend(quoted(line)),
            _ if line.starts_with("{ crate = ") && line.contains("deny-multiple-versions = true") => {
                rules.single_version.extend(quoted(line));
            }
            _ if line.starts_with("{ crate = ") => rules.banned.extend(quoted(line)),
            _ => {}
        }
    }
    rules
}

/// The first quoted text of a line.
fn quoted(line: &str) -> Option<String> {
    line.split('"').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_this_repository_is_understood() {
        let rules = parse(include_str!("../../../deny.toml"));
        assert!(rules.licences.contains("Apache-2.0"), "{rules:?}");
        assert!(rules.banned.contains("ring"), "{rules:?}");
        assert!(rules.single_version.contains("tokio"), "{rules:?}");
        assert!(rules.banned.is_disjoint(&rules.single_version), "{rules:?}");
    }
}
