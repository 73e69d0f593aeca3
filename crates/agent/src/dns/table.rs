//! Names of the mesh and their addresses, as last told by the control plane.

use arc_swap::ArcSwap;
use meshspan_xds::proto::agent::DnsUpdate;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The table in force. One writer (the agent stream) replaces it as a whole; lookups never wait.
#[derive(Debug)]
pub(crate) struct Table {
    current: ArcSwap<Records>,
    synced: watch::Sender<bool>,
}

#[derive(Debug, Default, Clone)]
struct Records {
    ttl_seconds: u32,
    by_name: BTreeMap<String, Arc<[IpAddr]>>,
}

/// What the table knows about a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) addresses: Arc<[IpAddr]>,
    pub(crate) ttl_seconds: u32,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            current: ArcSwap::default(),
            synced: watch::Sender::new(false),
        }
    }

    /// True once an update was applied.
    pub(crate) fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Puts an update into force. Addresses that do not parse are reported and left out.
    pub(crate) fn apply(&self, update: DnsUpdate) {
        let mut records = if update.full {
            Records::default()
        } else {
            self.current.load().as_ref().clone()
        };
        records.ttl_seconds = update.ttl_seconds;
        for name in update.removed_names {
            records.by_name.remove(&canonical(&name));
        }
        for record in update.records {
            let addresses = record.addresses.iter().filter_map(|address| match address.parse() {
                Ok(address) => Some(address),
                Err(_) => {
                    tracing::warn!(
                        name = record.name,
                        address,
                        "the control plane sent a DNS record that is not an IP address"
                    );
                    None
                }
            });
            let addresses = addresses.collect();
            records.by_name.insert(canonical(&record.name), addresses);
        }
        tracing::debug!(names = records.by_name.len(), "DNS records updated");
        self.current.store(Arc::new(records));
        self.synced.send_replace(true);
    }

    /// Looks a name up, whatever its case and with or without the final dot.
    pub(crate) fn lookup(&self, name: &str) -> Option<Found> {
        let records = self.current.load();
        let addresses = records.by_name.get(&canonical(name))?.clone();
        Some(Found {
            addresses,
            ttl_seconds: records.ttl_seconds,
        })
    }
}

fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use meshspan_xds::proto::agent::DnsRecord;

    fn update(full: bool, records: &[(&str, &[&str])], removed: &[&str]) -> DnsUpdate {
        DnsUpdate {
            full,
            records: records
                .iter()
                .map(|(name, addresses)| DnsRecord {
                    name: (*name).to_owned(),
                    addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
                })
                .collect(),
            removed_names: removed.iter().map(|name| (*name).to_owned()).collect(),
            ttl_seconds: 5,
        }
    }

    fn addresses(table: &Table, name: &str) -> Option<Vec<String>> {
        table
            .lookup(name)
            .map(|found| found.addresses.iter().map(IpAddr::to_string).collect())
    }

    #[test]
    fn deltas_build_on_the_full_table() {
        let table = Table::new();
        assert!(!table.is_synced());
        table.apply(update(
            true,
            &[("a.mesh.local", &["243.0.0.1"]), ("b.mesh.local", &["243.0.0.2"])],
            &[],
        ));
        assert!(table.is_synced());
        table.apply(update(
            false,
            &[("b.mesh.local", &["243.0.0.3", "fd00::3"])],
            &["A.mesh.local."],
        ));
        assert_eq!(addresses(&table, "a.mesh.local"), None);
        assert_eq!(addresses(&table, "B.Mesh.local.").unwrap(), ["243.0.0.3", "fd00::3"]);
        table.apply(update(true, &[], &[]));
        assert_eq!(addresses(&table, "b.mesh.local"), None);
    }

    #[test]
    fn an_address_that_does_not_parse_is_left_out() {
        let table = Table::new();
        table.apply(update(true, &[("a.mesh.local", &["243.0.0.1", "nonsense"])], &[]));
        assert_eq!(addresses(&table, "a.mesh.local").unwrap(), ["243.0.0.1"]);
    }
}
