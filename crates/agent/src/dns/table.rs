//! Names of the mesh and their addresses, as last told by the control plane.
//!
//! Names below [`MESH_DOMAIN`] are the mesh's alone: one that is not in the table does not exist, and nobody else is asked. Host names
//! that a user's HostnameGenerator puts elsewhere are known by the table alone, because other names of their domain may be anybody's.

use arc_swap::ArcSwap;
use meshspan_xds::dns_parts::{digests, part_of};
use meshspan_xds::proto::agent::DnsUpdate;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The domain of all host names that a mesh starts with (`mzsvc.mesh.local`, `svc.<zone>.mesh.local`, `extsvc.mesh.local`), known before
/// the first table arrives.
const MESH_DOMAIN: &str = "mesh.local";

/// The table in force. One writer (the agent stream) replaces it as a whole; lookups never wait.
#[derive(Debug)]
pub(crate) struct Table {
    current: ArcSwap<Records>,
    synced: watch::Sender<bool>,
}

#[derive(Debug, Default, Clone)]
struct Records {
    ttl_seconds: u32,
    /// By the name's labels from the last to the first, so that what is below a domain lies together.
    by_labels: BTreeMap<String, Arc<[IpAddr]>>,
}

/// What a name is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// A name of the mesh.
    Known(Found),
    /// A domain of the mesh, with names below it and without addresses of its own.
    Domain,
    /// A name of the mesh domain that the mesh does not have.
    Missing,
    /// A name of the mesh domain, while the table is not known.
    NotYet,
    /// Not the mesh's.
    Foreign,
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
        if !update.replaced_parts.is_empty() {
            let replaced = |labels_of: &String| update.replaced_parts.contains(&part_of(&labels(labels_of)));
            records.by_labels.retain(|labels_of, _| !replaced(labels_of));
        }
        for name in update.removed_names {
            records.by_labels.remove(&labels(&canonical(&name)));
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
            records.by_labels.insert(labels(&canonical(&record.name)), addresses);
        }
        tracing::debug!(names = records.by_labels.len(), "DNS records updated");
        self.current.store(Arc::new(records));
        self.synced.send_replace(true);
    }

    /// What is known, for a control plane that need not send it again; empty if nothing is.
    pub(crate) fn digests(&self) -> Vec<u64> {
        if !self.is_synced() {
            return Vec::new();
        }
        let records = self.current.load();
        let names: Vec<_> = records
            .by_labels
            .iter()
            .map(|(key, addresses)| (labels(key), addresses))
            .collect();
        digests(names.iter().map(|(name, addresses)| (name.as_str(), &***addresses)))
    }

    /// Looks a name up, whatever its case and with or without the final dot. Clients append the domains of their `search` list to names
    /// that they think incomplete: a mesh name with one of them is the mesh name.
    pub(crate) fn lookup(&self, name: &str, search: &[String]) -> Lookup {
        let name = canonical(name);
        let meant = search.iter().filter_map(|domain| {
            let name = name.strip_suffix(domain.as_str())?.strip_suffix('.')?;
            // A name of one label is not more likely to be meant than the whole.
            name.contains('.').then_some(name)
        });
        let records = self.current.load();
        let mut in_mesh_domain = None;
        for name in std::iter::once(name.as_str()).chain(meant) {
            let labels = labels(name);
            if let Some(addresses) = records.by_labels.get(&labels) {
                return Lookup::Known(Found {
                    addresses: addresses.clone(),
                    ttl_seconds: records.ttl_seconds,
                });
            }
            if is_in(name, MESH_DOMAIN) {
                in_mesh_domain = Some(labels);
            }
        }
        match in_mesh_domain {
            None => Lookup::Foreign,
            Some(_) if !self.is_synced() => Lookup::NotYet,
            Some(labels) if records.has_names_below(&labels) => Lookup::Domain,
            Some(_) => Lookup::Missing,
        }
    }
}

#[cfg(test)]
impl Table {
    /// The addresses of a mesh name.
    pub(crate) fn addresses(&self, name: &str) -> Option<Vec<String>> {
        match self.lookup(name, &[]) {
            Lookup::Known(found) => Some(found.addresses.iter().map(IpAddr::to_string).collect()),
            _ => None,
        }
    }
}

impl Records {
    fn has_names_below(&self, labels: &str) -> bool {
        let below = format!("{labels}.");
        let next = self.by_labels.range(below.clone()..).next();
        next.is_some_and(|(labels, _)| labels.starts_with(&below))
    }
}

fn is_in(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// `c.b.a` for `a.b.c`, and the other way round.
fn labels(name: &str) -> String {
    name.rsplit('.').collect::<Vec<_>>().join(".")
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
            replaced_parts: Vec::new(),
        }
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
        assert_eq!(table.addresses("a.mesh.local"), None);
        assert_eq!(table.addresses("B.Mesh.local.").unwrap(), ["243.0.0.3", "fd00::3"]);
        table.apply(update(true, &[], &[]));
        assert_eq!(table.addresses("b.mesh.local"), None);
    }

    #[test]
    fn parts_are_replaced_and_others_stay() {
        let table = Table::new();
        assert_eq!(table.digests(), Vec::<u64>::new());
        let records: [(&str, &[&str]); 3] = [
            ("a.mesh.local", &["243.0.0.1"]),
            ("b.mesh.local", &["243.0.0.2"]),
            ("c.mesh.local", &["243.0.0.3"]),
        ];
        table.apply(update(true, &records, &[]));
        let ours: Vec<IpAddr> = vec!["243.0.0.1".parse().unwrap()];
        let theirs = digests([("a.mesh.local", ours.as_slice())].into_iter());
        let mut differ = meshspan_xds::dns_parts::different(&theirs, &table.digests()).unwrap();
        differ.sort_unstable();
        let mut expected = vec![part_of("b.mesh.local"), part_of("c.mesh.local")];
        expected.sort_unstable();
        assert_eq!(differ, expected, "as the control plane computes it");
        table.apply(DnsUpdate {
            replaced_parts: differ,
            ..update(false, &[("c.mesh.local", &["243.0.0.9"])], &[])
        });
        assert_eq!(table.addresses("a.mesh.local").unwrap(), ["243.0.0.1"]);
        assert_eq!(table.addresses("b.mesh.local"), None);
        assert_eq!(table.addresses("c.mesh.local").unwrap(), ["243.0.0.9"]);
    }

    #[test]
    fn an_address_that_does_not_parse_is_left_out() {
        let table = Table::new();
        table.apply(update(true, &[("a.mesh.local", &["243.0.0.1", "nonsense"])], &[]));
        assert_eq!(table.addresses("a.mesh.local").unwrap(), ["243.0.0.1"]);
    }

    #[test]
    fn the_mesh_domain_is_the_tables_alone() {
        let table = Table::new();
        assert_eq!(table.lookup("redis.mzsvc.mesh.local", &[]), Lookup::NotYet);
        assert_eq!(table.lookup("mesh.local", &[]), Lookup::NotYet);
        assert_eq!(table.lookup("notmesh.local", &[]), Lookup::Foreign);
        table.apply(update(
            true,
            &[
                ("redis.mzsvc.mesh.local", &["243.0.0.1"]),
                ("db.corp.example", &["243.0.0.2"]),
            ],
            &[],
        ));
        assert_eq!(table.lookup("other.mzsvc.mesh.local", &[]), Lookup::Missing);
        assert_eq!(table.lookup("x.redis.mzsvc.mesh.local", &[]), Lookup::Missing);
        assert_eq!(table.lookup("MZSVC.mesh.local.", &[]), Lookup::Domain);
        assert_eq!(table.lookup("zsvc.mesh.local", &[]), Lookup::Missing);
        assert_eq!(table.lookup("other.corp.example", &[]), Lookup::Foreign);
    }

    #[test]
    fn a_search_domain_behind_a_mesh_name_is_not_part_of_it() {
        let table = Table::new();
        let search = ["svc.corp.example".to_owned(), "corp.example".to_owned()];
        let lookup = |name: &str| table.lookup(name, &search);
        assert_eq!(lookup("redis.mzsvc.mesh.local.corp.example"), Lookup::NotYet);
        table.apply(update(
            true,
            &[
                ("redis.mzsvc.mesh.local", &["243.0.0.1"]),
                ("db.other.example", &["243.0.0.2"]),
                ("short", &["243.0.0.3"]),
            ],
            &[],
        ));
        for name in [
            "redis.mzsvc.mesh.local.corp.example",
            "Redis.mzsvc.mesh.local.svc.CORP.example.",
            "db.other.example.corp.example",
        ] {
            assert!(matches!(lookup(name), Lookup::Known(_)), "{name}");
        }
        assert_eq!(lookup("nothing.mzsvc.mesh.local.corp.example"), Lookup::Missing);
        assert_eq!(lookup("redis.mzsvc.mesh.local.elsewhere.example"), Lookup::Foreign);
        assert_eq!(lookup("short.corp.example"), Lookup::Foreign);
        assert_eq!(lookup("www.corp.example"), Lookup::Foreign);
    }
}
