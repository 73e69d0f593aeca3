//! Host names that stand where addresses are needed: who uses them, and what they resolve to.
//!
//! The world cannot resolve; whoever runs it does, and tells. Until then a resource with a name has no address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use meshspan_model::ResourceKey;

/// Names in use and their addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    addresses: BTreeMap<String, IpAddr>,
    users: BTreeMap<String, BTreeSet<ResourceKey>>,
    used: BTreeMap<ResourceKey, BTreeSet<String>>,
}

impl Hosts {
    /// Notes which names a resource uses; what parses as an address is none. True if the set of all names changed.
    pub(crate) fn set_used<'a>(&mut self, key: &ResourceKey, names: impl Iterator<Item = &'a str>) -> bool {
        let names: BTreeSet<String> = names
            .filter(|name| !name.is_empty() && name.parse::<IpAddr>().is_err())
            .map(str::to_owned)
            .collect();
        let before = self.used.remove(key).unwrap_or_default();
        let mut changed = false;
        for name in before.difference(&names) {
            if let Some(users) = self.users.get_mut(name) {
                users.remove(key);
                if users.is_empty() {
                    self.users.remove(name);
                    self.addresses.remove(name);
                    changed = true;
                }
            }
        }
        for name in names.difference(&before) {
            let users = self.users.entry(name.clone()).or_default();
            changed |= users.is_empty();
            users.insert(key.clone());
        }
        if !names.is_empty() {
            self.used.insert(key.clone(), names);
        }
        changed
    }

    /// All names in use.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.users.keys().cloned().collect()
    }

    /// Notes what a name resolves to. Returns who uses it, if that is news.
    pub(crate) fn resolved(&mut self, name: &str, address: Option<IpAddr>) -> Vec<ResourceKey> {
        let Some(users) = self.users.get(name) else {
            return Vec::new();
        };
        let before = match address {
            Some(address) => self.addresses.insert(name.to_owned(), address),
            None => self.addresses.remove(name),
        };
        if before == address {
            Vec::new()
        } else {
            users.iter().cloned().collect()
        }
    }

    /// Puts the address of a known name in its place.
    pub(crate) fn substitute(&self, text: &mut String) {
        if let Some(address) = self.addresses.get(text.as_str()) {
            *text = address.to_string();
        }
    }
}
