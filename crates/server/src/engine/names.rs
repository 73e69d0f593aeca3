//! What applications of a mesh may resolve, and which listeners serve the addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use meshspan_world::view::{DestinationKey, DnsTable};

/// The names of one mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshNames {
    /// Addresses by name.
    pub records: Arc<DnsTable>,
    /// Names by address.
    by_address: Arc<BTreeMap<IpAddr, Vec<Arc<str>>>>,
    /// The addresses of listeners at VIPs, by the name of the listener.
    listeners: BTreeMap<Arc<str>, IpAddr>,
}

impl MeshNames {
    /// True if there is nothing to resolve.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.listeners.is_empty()
    }

    /// The address at which a listener takes traffic, if it is that of a service.
    pub fn address(&self, listener: &str) -> Option<IpAddr> {
        self.listeners.get(listener).copied()
    }

    /// The names of an address.
    pub fn names(&self, address: IpAddr) -> &[Arc<str>] {
        self.by_address.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Takes the records of the mesh.
    pub fn set_records(&mut self, records: Arc<DnsTable>) {
        let mut by_address: BTreeMap<IpAddr, Vec<Arc<str>>> = BTreeMap::new();
        for (name, addresses) in &*records {
            for address in addresses {
                by_address.entry(*address).or_default().push(name.clone());
            }
        }
        self.records = records;
        self.by_address = Arc::new(by_address);
    }

    /// Takes the VIP of a destination, `None` if it has none or is gone.
    pub fn set_listener(&mut self, key: &DestinationKey, address: Option<IpAddr>) {
        let listener = listener(key);
        match address {
            Some(address) => self.listeners.insert(listener.into(), address),
            None => self.listeners.remove(listener.as_str()),
        };
    }
}

/// The name of the listener at the VIP of a destination.
pub(super) fn listener(key: &DestinationKey) -> String {
    meshspan_envoy::names::destination(key)
}
