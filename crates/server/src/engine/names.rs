//! What applications of a mesh may resolve, and which listeners serve the addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use meshspan_world::view::{DestinationKey, DnsChanges};
use rpds::RedBlackTreeMapSync;

use crate::published::{Changed, Following, Published};

/// The names of one mesh; cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshNames {
    /// Addresses by name.
    records: RedBlackTreeMapSync<Arc<str>, Vec<IpAddr>>,
    /// Names by address.
    by_address: RedBlackTreeMapSync<IpAddr, BTreeSet<Arc<str>>>,
    /// The addresses of listeners at VIPs, by the name of the listener.
    listeners: RedBlackTreeMapSync<Arc<str>, IpAddr>,
}

/// What changed in [`MeshNames`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameChanges {
    /// Names whose addresses changed.
    pub names: BTreeSet<Arc<str>>,
    /// Listeners whose addresses changed.
    pub listeners: BTreeSet<Arc<str>>,
}

/// Publishes the names of one mesh.
pub(super) type NamesPublisher = Published<MeshNames, NameChanges>;
/// Follows them.
pub type NamesFollower = Following<MeshNames, NameChanges>;

impl Changed for NameChanges {
    fn merge(&mut self, later: &Self) {
        self.names.extend(later.names.iter().cloned());
        self.listeners.extend(later.listeners.iter().cloned());
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.listeners.is_empty()
    }
}

impl MeshNames {
    /// True if there is nothing to resolve.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.listeners.is_empty()
    }

    /// The addresses of a name, if the mesh has it.
    pub fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.records.get(name).map(Vec::as_slice)
    }

    /// The address at which a listener takes traffic, if it is that of a service.
    pub fn address(&self, listener: &str) -> Option<IpAddr> {
        self.listeners.get(listener).copied()
    }

    /// The names of an address.
    pub fn names(&self, address: IpAddr) -> impl Iterator<Item = &Arc<str>> {
        self.by_address.get(&address).into_iter().flatten()
    }

    /// Takes changed records.
    pub fn set_records(&mut self, changed: &DnsChanges, changes: &mut NameChanges) {
        for (name, addresses) in changed {
            for address in self.records.get(name).cloned().unwrap_or_default() {
                self.edit_names(address, |names| {
                    names.remove(name);
                });
            }
            match addresses {
                Some(addresses) => {
                    self.records.insert_mut(name.clone(), addresses.clone());
                    for address in addresses {
                        self.edit_names(*address, |names| {
                            names.insert(name.clone());
                        });
                    }
                }
                None => {
                    self.records.remove_mut(name);
                }
            }
            changes.names.insert(name.clone());
        }
    }

    fn edit_names(&mut self, address: IpAddr, edit: impl FnOnce(&mut BTreeSet<Arc<str>>)) {
        let mut names = self.by_address.get(&address).cloned().unwrap_or_default();
        edit(&mut names);
        if names.is_empty() {
            self.by_address.remove_mut(&address);
        } else {
            self.by_address.insert_mut(address, names);
        }
    }

    /// Takes the VIP of a destination, `None` if it has none or is gone.
    pub fn set_listener(&mut self, key: &DestinationKey, address: Option<IpAddr>, changes: &mut NameChanges) {
        let listener = listener(key);
        if self.address(&listener) == address {
            // Most changes are of endpoints.
            return;
        }
        let listener: Arc<str> = listener.into();
        match address {
            Some(address) => self.listeners.insert_mut(listener.clone(), address),
            None => {
                self.listeners.remove_mut(&listener);
            }
        }
        changes.listeners.insert(listener);
    }
}

/// The name of the listener at the VIP of a destination.
fn listener(key: &DestinationKey) -> String {
    meshspan_envoy::names::destination(key)
}
