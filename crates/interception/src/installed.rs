//! What is on the host already: reading `iptables-save`, finding rules of ours in it, removing exactly those.

use std::collections::BTreeMap;

use crate::rule::{CHAIN_PREFIX, COMMENT_PREFIX, RuleSet, Table, TableRules};

/// Rules and chains of ours in one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// Rules in foreign chains.
    rules: Vec<ForeignRule>,
    /// Our chains.
    chains: Vec<OurChain>,
}

/// A rule of ours in a chain of somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ForeignRule {
    chain: String,
    /// Counted from 1.
    position: usize,
    /// What follows the name of the chain.
    specification: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct OurChain {
    name: String,
    specifications: Vec<String>,
}

impl Installed {
    /// Finds what is ours in the text of the save program: chains by their name, rules in other chains by their jump, their comment, or,
    /// for rules without comments, by being equal to a rule of `plan`.
    pub fn find(saved: &str, table: Table, plan: &RuleSet) -> Self {
        let planned: Vec<(&str, String)> = plan
            .tables
            .iter()
            .filter(|planned| planned.table == table)
            .flat_map(|planned| &planned.rules)
            .map(|rule| (rule.chain, rule.clone().without_comment().specification()))
            .collect();
        let mut found = Self::default();
        let mut positions: BTreeMap<&str, usize> = BTreeMap::new();
        for line in table_lines(saved, table) {
            if let Some(chain) = line.strip_prefix(':') {
                let name = chain.split(' ').next().unwrap_or_default();
                if name.starts_with(CHAIN_PREFIX) {
                    found.chains.push(OurChain {
                        name: name.to_owned(),
                        specifications: Vec::new(),
                    });
                }
                continue;
            }
            let Some((chain, specification)) = line.strip_prefix("-A ").and_then(|rule| rule.split_once(' ')) else {
                continue;
            };
            let position = positions.entry(chain).or_default();
            *position += 1;
            if let Some(ours) = found.chains.iter_mut().find(|ours| ours.name == chain) {
                ours.specifications.push(specification.to_owned());
            } else if is_ours(specification)
                || planned
                    .iter()
                    .any(|(planned, rule)| *planned == chain && rule == specification)
            {
                found.rules.push(ForeignRule {
                    chain: chain.to_owned(),
                    position: *position,
                    specification: specification.to_owned(),
                });
            }
        }
        found
    }

    /// Whether nothing of ours is there.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.chains.is_empty()
    }

    /// The transaction that removes everything of ours and nothing else.
    pub fn removal(&self, table: Table) -> String {
        let mut text = self.cleared(table, &|_| false);
        text.push_str("COMMIT\n");
        text
    }

    /// The transaction that puts `new` in the place of what is there.
    pub fn replacement(&self, new: &TableRules) -> String {
        let mut text = self.cleared(new.table, &|chain| new.chains.contains(&chain));
        let new = new.to_string();
        // The first line of `new` opens the table again.
        text.push_str(new.split_once('\n').map_or("", |(_, rest)| rest));
        text
    }

    /// The transaction that turns what is there into what was there `before`.
    pub fn restoration(&self, table: Table, before: &Self) -> String {
        let mut text = self.cleared(table, &|chain| before.chains.iter().any(|old| old.name == chain));
        for chain in &before.chains {
            text.push_str(&format!(":{} - [0:0]\n", chain.name));
        }
        for chain in &before.chains {
            for specification in &chain.specifications {
                text.push_str(&format!("-A {} {specification}\n", chain.name));
            }
        }
        // From the first position to the last: each finds before it what was before it.
        for rule in &before.rules {
            text.push_str(&format!("-I {} {} {}\n", rule.chain, rule.position, rule.specification));
        }
        text.push_str("COMMIT\n");
        text
    }

    /// Opens the table and removes what is there, but for the names of chains that are to be kept.
    fn cleared(&self, table: Table, keep: &dyn Fn(&str) -> bool) -> String {
        let mut text = format!("*{}\n", table.name());
        for rule in &self.rules {
            text.push_str(&format!("-D {} {}\n", rule.chain, rule.specification));
        }
        for chain in &self.chains {
            text.push_str(&format!("-F {}\n", chain.name));
        }
        for chain in self.chains.iter().filter(|chain| !keep(&chain.name)) {
            text.push_str(&format!("-X {}\n", chain.name));
        }
        text
    }
}

fn is_ours(rule: &str) -> bool {
    rule.contains(&format!("--comment \"{COMMENT_PREFIX}"))
        || rule.contains(&format!("--comment {COMMENT_PREFIX}"))
        || rule.contains(&format!("-j {CHAIN_PREFIX}"))
}

/// The lines between `*table` and `COMMIT`.
fn table_lines(saved: &str, table: Table) -> impl Iterator<Item = &str> {
    saved
        .lines()
        .skip_while(move |line| line.strip_prefix('*') != Some(table.name()))
        .skip(1)
        .take_while(|line| *line != "COMMIT")
}

/// Number of rules in all tables.
pub fn count_rules(saved: &str) -> usize {
    saved.lines().filter(|line| line.starts_with("-A ")).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use crate::rule::Family;

    const SAVED: &str = "\
# Generated by iptables-nft-save
*raw
:OUTPUT ACCEPT [0:0]
-A OUTPUT -p udp -m udp --dport 53 -j CT --zone 7
COMMIT
*nat
:OUTPUT ACCEPT [0:0]
:KUMA_MESH_OUTBOUND - [0:0]
:DOCKER_OUTPUT - [0:0]
-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
-A OUTPUT -p udp -m comment --comment \"kuma/mesh/transparent/proxy/dns\" -j REDIRECT --to-ports 15053
-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND
-A KUMA_MESH_OUTBOUND -j RETURN
COMMIT
";

    #[test]
    fn only_ours_is_removed() {
        let none = RuleSet {
            family: Family::Ipv4,
            tables: Vec::new(),
        };
        assert!(Installed::find(SAVED, Table::Raw, &none).is_empty());
        assert!(Installed::find(SAVED, Table::Mangle, &none).is_empty());
        let ours = Installed::find(SAVED, Table::Nat, &none);
        assert_eq!(
            ours.removal(Table::Nat),
            "*nat\n\
             -D OUTPUT -p udp -m comment --comment \"kuma/mesh/transparent/proxy/dns\" -j REDIRECT --to-ports 15053\n\
             -D OUTPUT -p tcp -j KUMA_MESH_OUTBOUND\n\
             -F KUMA_MESH_OUTBOUND\n-X KUMA_MESH_OUTBOUND\nCOMMIT\n"
        );
        assert_eq!(count_rules(SAVED), 5);
    }

    #[test]
    fn what_was_there_comes_back_to_its_place() {
        let none = RuleSet {
            family: Family::Ipv4,
            tables: Vec::new(),
        };
        let before = Installed::find(SAVED, Table::Nat, &none);
        let now = "*nat\n:OUTPUT ACCEPT [0:0]\n:KUMA_MESH_NEW - [0:0]\n-A OUTPUT -p tcp -j KUMA_MESH_NEW\nCOMMIT\n";
        assert_eq!(
            Installed::find(now, Table::Nat, &none).restoration(Table::Nat, &before),
            "*nat\n-D OUTPUT -p tcp -j KUMA_MESH_NEW\n-F KUMA_MESH_NEW\n-X KUMA_MESH_NEW\n\
             :KUMA_MESH_OUTBOUND - [0:0]\n-A KUMA_MESH_OUTBOUND -j RETURN\n\
             -I OUTPUT 2 -p udp -m comment --comment \"kuma/mesh/transparent/proxy/dns\" -j REDIRECT --to-ports 15053\n\
             -I OUTPUT 3 -p tcp -j KUMA_MESH_OUTBOUND\nCOMMIT\n"
        );
    }
}
