//! A connected proxy: what it was given, and what of that changed since.

use std::collections::{BTreeMap, BTreeSet};

use meshspan_envoy::{Encoded, ProxyOptions};
use meshspan_xds::{Changes, ProxyFeed, Resource, ResourceSet, ResourceType, Snapshot};

use super::unopened_logs::UnopenedLogs;
use crate::engine::pools::{Names, put};
use crate::engine::work::{Work, count};

/// What a proxy shows and trusts in its mesh. Both come about together, for they have to fit each other.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::engine) struct Identity {
    pub(in crate::engine) certificate: Resource,
    pub(in crate::engine) trust: Resource,
}

/// A connected proxy.
pub(super) struct Stream {
    pub(super) number: u64,
    pub(super) feed: ProxyFeed,
    pub(super) options: ProxyOptions,
    own: ResourceSet,
    /// By mesh.
    identities: BTreeMap<String, Identity>,
    changed: Names,
    /// Nothing was published that later changes could build on.
    fresh: bool,
    /// Nothing is published until it is known what the proxy is to show in these meshes.
    awaits: BTreeSet<String>,
    logs: UnopenedLogs,
}

impl Stream {
    pub(super) fn new(number: u64, feed: ProxyFeed, options: ProxyOptions) -> Self {
        Self {
            number,
            feed,
            options,
            own: ResourceSet::new(),
            identities: BTreeMap::new(),
            changed: Names::new(),
            fresh: true,
            awaits: BTreeSet::new(),
            logs: UnopenedLogs::default(),
        }
    }

    /// Leaves out access logs to files that the proxy cannot open; true if some are new.
    pub(super) fn leave_out_logs(&mut self, files: BTreeSet<String>) -> bool {
        self.logs.add(files)
    }

    /// The shared half is another one now.
    pub(super) fn replace_shared(&mut self) {
        self.fresh = true;
    }

    pub(super) fn has_identity(&self, mesh: &str) -> bool {
        self.identities.contains_key(mesh)
    }

    /// Shows what an older stream of the proxy showed.
    pub(super) fn take_identities(&mut self, older: Self) {
        for (mesh, identity) in older.identities {
            self.set_identity(&mesh, Some(identity));
        }
    }

    /// Replaces what the proxy shows and trusts in a mesh; true if that is something else than before.
    pub(super) fn set_identity(&mut self, mesh: &str, identity: Option<Identity>) -> bool {
        if self.identities.get(mesh) == identity.as_ref() {
            return false;
        }
        let before = match identity {
            Some(identity) => self.identities.insert(mesh.to_owned(), identity),
            None => self.identities.remove(mesh),
        };
        let mut after = ResourceSet::new();
        self.add_secrets(&mut after);
        let secret = ResourceType::Secret;
        for gone in before.iter().flat_map(secrets) {
            if after.get(secret, gone.name()).is_none() && self.own.remove(secret, gone.name()) {
                self.changed.insert((secret, gone.name().clone()));
            }
        }
        for resource in after.iter(secret) {
            let known = self.own.get(secret, resource.name());
            if known.is_none_or(|known| known.version() != resource.version()) {
                self.changed.insert((secret, resource.name().clone()));
                self.own.insert(secret, resource.clone());
            }
        }
        true
    }

    /// Publishes nothing before [`Stream::go_on`], if the proxy has nothing to show in the mesh.
    pub(super) fn await_identity(&mut self, mesh: &str) {
        if !self.has_identity(mesh) {
            self.awaits.insert(mesh.to_owned());
        }
    }

    /// True if the stream was held up.
    pub(super) fn go_on(&mut self, mesh: &str) -> bool {
        self.awaits.remove(mesh)
    }

    /// The identity can be sent now.
    pub(super) fn identity_made(&mut self, mesh: &str) {
        let secrets = self.identities.get(mesh).into_iter().flat_map(secrets);
        self.changed
            .extend(secrets.map(|secret| (ResourceType::Secret, secret.name().clone())));
    }

    fn add_secrets(&self, set: &mut ResourceSet) {
        for resource in self.identities.values().flat_map(secrets) {
            set.insert(ResourceType::Secret, resource);
        }
    }

    /// Replaces all of the own half but what [`Stream::set_identity`] gave.
    pub(super) fn replace_own(&mut self, resources: &[Encoded], work: &Work) {
        let before = std::mem::take(&mut self.own);
        let mut after = ResourceSet::new();
        for encoded in resources {
            put(&mut after, &mut Names::new(), encoded, work);
        }
        self.add_secrets(&mut after);
        for ty in ResourceType::ALL {
            for resource in before.iter(ty) {
                let now = after.get(ty, resource.name());
                if now.is_none_or(|now| now.version() != resource.version()) {
                    self.changed.insert((ty, resource.name().clone()));
                }
            }
            for resource in after.iter(ty) {
                if before.get(ty, resource.name()).is_none() {
                    self.changed.insert((ty, resource.name().clone()));
                }
            }
        }
        self.own = after;
    }

    /// Hands over what changed, if anything did.
    pub(super) fn publish(&mut self, shared: ResourceSet, shared_changes: Option<&Names>, work: &Work) {
        self.changed.extend(shared_changes.into_iter().flatten().cloned());
        if !self.awaits.is_empty() {
            return;
        }
        let own = self.logs.left_out(&shared, &self.own);
        let changed = std::mem::take(&mut self.changed);
        let changes = if std::mem::take(&mut self.fresh) || own.is_some() {
            work.published_whole.inc();
            Changes::All
        } else {
            work.published.inc_by(count(changed.len()));
            Changes::Named(changed)
        };
        if !changes.is_empty() {
            let own = own.unwrap_or_else(|| self.own.clone());
            self.feed.publish(Snapshot { shared, own }, changes);
        }
    }
}

fn secrets(identity: &Identity) -> [Resource; 2] {
    [identity.trust.clone(), identity.certificate.clone()]
}
