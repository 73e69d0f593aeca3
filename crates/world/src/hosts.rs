//! Host names that stand where addresses are needed: who uses them, and what they resolve to.
//!
//! The world cannot resolve; whoever runs it does, and passes the answers in. Until then a resource with a name has no
//! address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use meshspan_model::ResourceKey;

/// Names in use and their addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    answers: BTreeMap<String, Answer>,
    users: BTreeMap<String, BTreeSet<ResourceKey>>,
    used: BTreeMap<ResourceKey, BTreeSet<String>>,
}

/// What is known of a name; nothing while it is asked for the first time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answer {
    /// The last address that it had.
    address: Option<IpAddr>,
    /// Why it cannot be resolved now.
    failure: Option<String>,
}

/// A name that a resource uses and that does not resolve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unresolved {
    pub(crate) name: String,
    pub(crate) reason: String,
    /// The address that it had, which is used until it has another.
    pub(crate) last: Option<IpAddr>,
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
                    self.answers.remove(name);
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

    /// Notes what a name resolves to, or why it does not; then its last address stays. Returns who uses it, if that is
    /// news.
    pub(crate) fn resolved(&mut self, name: &str, answer: Result<IpAddr, String>) -> Vec<ResourceKey> {
        let Some(users) = self.users.get(name) else {
            return Vec::new();
        };
        let known = self.answers.entry(name.to_owned()).or_default();
        let new = match answer {
            Ok(address) => Answer {
                address: Some(address),
                failure: None,
            },
            Err(reason) => Answer {
                address: known.address,
                failure: Some(reason),
            },
        };
        if *known == new {
            return Vec::new();
        }
        *known = new;
        users.iter().cloned().collect()
    }

    /// Puts the address of a known name in its place.
    pub(crate) fn substitute(&self, text: &mut String) {
        let answer = self.answers.get(text.as_str());
        if let Some(address) = answer.and_then(|answer| answer.address) {
            *text = address.to_string();
        }
    }

    /// The names of a resource that do not resolve.
    pub(crate) fn unresolved(&self, key: &ResourceKey) -> Vec<Unresolved> {
        let names = self.used.get(key).into_iter().flatten();
        names
            .filter_map(|name| {
                let answer = self.answers.get(name)?;
                Some(Unresolved {
                    name: name.clone(),
                    reason: answer.failure.clone()?,
                    last: answer.address,
                })
            })
            .collect()
    }

    /// Resources with names that do not resolve.
    pub(crate) fn with_unresolved(&self) -> BTreeSet<&ResourceKey> {
        let failed = self.answers.iter().filter(|(_, answer)| answer.failure.is_some());
        failed.filter_map(|(name, _)| self.users.get(name)).flatten().collect()
    }
}

impl Unresolved {
    /// What fails and what follows for those who would connect there, with the remedy.
    pub(crate) fn problem(&self) -> String {
        let Self { name, reason, last } = self;
        let consequence = match last {
            Some(address) => format!("its last address {address} is used"),
            None => "nobody can connect there".to_owned(),
        };
        format!(
            "the address \"{name}\" does not resolve on the host of this control plane ({reason}), {consequence}: enter it in \
             DNS or in the hosts file, or set an IP address"
        )
    }
}
