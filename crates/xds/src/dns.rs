//! The DNS records of one agent stream as differences.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::proto::agent::{DnsRecord, DnsUpdate};

/// Addresses by name; names in lower case, without the trailing dot. The order of the addresses counts.
pub type DnsTable = BTreeMap<Arc<str>, Vec<IpAddr>>;

/// What one agent has been told, from which the next update follows. Proxies with equal tables share one `Arc`.
#[derive(Clone, Debug)]
pub struct DnsDiff {
    sent: Option<Arc<DnsTable>>,
    ttl_seconds: u32,
}

impl DnsDiff {
    /// The state at the start of a stream: the agent knows nothing. `ttl_seconds` goes into every update.
    pub const fn new(ttl_seconds: u32) -> Self {
        Self {
            sent: None,
            ttl_seconds,
        }
    }

    /// The update that brings the agent to `table`: everything at first, then only differences, `None` when there are
    /// none. The caller must send what it gets, or start a new stream.
    pub fn update(&mut self, table: Arc<DnsTable>) -> Option<DnsUpdate> {
        let sent = self.sent.replace(table.clone());
        let update = DnsUpdate {
            full: sent.is_none(),
            records: changed_records(sent.as_deref(), &table),
            removed_names: sent
                .as_deref()
                .map(|sent| removed_names(sent, &table))
                .unwrap_or_default(),
            ttl_seconds: self.ttl_seconds,
        };
        (update.full || !update.records.is_empty() || !update.removed_names.is_empty()).then_some(update)
    }
}

fn changed_records(sent: Option<&DnsTable>, table: &DnsTable) -> Vec<DnsRecord> {
    let unchanged = |name: &Arc<str>, addresses: &Vec<IpAddr>| sent.and_then(|sent| sent.get(name)) == Some(addresses);
    table
        .iter()
        .filter(|(name, addresses)| !unchanged(name, addresses))
        .map(|(name, addresses)| DnsRecord {
            name: name.to_string(),
            addresses: addresses.iter().map(IpAddr::to_string).collect(),
        })
        .collect()
}

fn removed_names(sent: &DnsTable, table: &DnsTable) -> Vec<String> {
    sent.keys()
        .filter(|name| !table.contains_key(*name))
        .map(|name| name.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn table(records: &[(&str, &[&str])]) -> Arc<DnsTable> {
        let parse = |addresses: &[&str]| addresses.iter().map(|a| a.parse().unwrap()).collect();
        Arc::new(
            records
                .iter()
                .map(|(name, addresses)| ((*name).into(), parse(addresses)))
                .collect(),
        )
    }

    #[test]
    fn the_first_update_is_full_even_without_a_record() {
        let update = DnsDiff::new(30).update(table(&[])).unwrap();
        assert_eq!(
            update,
            DnsUpdate {
                full: true,
                records: vec![],
                removed_names: vec![],
                ttl_seconds: 30
            }
        );
    }

    #[test]
    fn later_updates_hold_only_differences() {
        let mut diff = DnsDiff::new(30);
        diff.update(table(&[
            ("a.mesh", &["10.0.0.1"]),
            ("b.mesh", &["10.0.0.2"]),
            ("c.mesh", &["10.0.0.3"]),
        ]));
        let next = table(&[
            ("a.mesh", &["10.0.0.1"]),
            ("b.mesh", &["10.0.0.9", "fd00::9"]),
            ("d.mesh", &["10.0.0.4"]),
        ]);
        let update = diff.update(next.clone()).unwrap();
        assert!(!update.full);
        let records: Vec<_> = update
            .records
            .iter()
            .map(|r| (r.name.as_str(), r.addresses.join(",")))
            .collect();
        assert_eq!(
            records,
            [
                ("b.mesh", "10.0.0.9,fd00::9".to_owned()),
                ("d.mesh", "10.0.0.4".to_owned())
            ]
        );
        assert_eq!(update.removed_names, ["c.mesh"]);

        assert_eq!(diff.update(next), None);
    }
}
