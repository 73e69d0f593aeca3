//! What fleets of zone proxies keep: the resources of their members, who is connected, and who follows what all of them share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_model::ProxyKind;

use crate::proxy_key::ProxyKey;

/// Proxies of one kind that belong to no mesh; `R` is their payload.
pub(super) struct ZoneProxies<R> {
    kind: ProxyKind,
    resources: BTreeMap<String, Arc<R>>,
    connected: BTreeSet<ProxyKey>,
    /// Connected ones that have a shared half.
    following: BTreeSet<ProxyKey>,
}

impl<R> ZoneProxies<R> {
    pub(super) fn new(kind: ProxyKind) -> Self {
        Self {
            kind,
            resources: BTreeMap::new(),
            connected: BTreeSet::new(),
            following: BTreeSet::new(),
        }
    }

    /// Takes resources that changed, and adds those whose own half has to be projected again.
    pub(super) fn apply(&mut self, changes: BTreeMap<String, Option<Arc<R>>>, stale: &mut BTreeSet<ProxyKey>) {
        for (name, resource) in changes {
            let id = ProxyKey::new(self.kind, "", name);
            match resource {
                Some(resource) => {
                    self.resources.insert(id.name.clone(), resource);
                }
                None => {
                    self.resources.remove(&id.name);
                    self.following.remove(&id);
                }
            }
            if self.connected.contains(&id) {
                stale.insert(id);
            }
        }
    }

    pub(super) fn resource(&self, id: &ProxyKey) -> Option<&Arc<R>> {
        self.resources.get(&id.name)
    }

    pub(super) fn connected(&self) -> &BTreeSet<ProxyKey> {
        &self.connected
    }

    pub(super) fn following(&self) -> &BTreeSet<ProxyKey> {
        &self.following
    }

    /// From now on the proxy has a shared half; true if it had none.
    pub(super) fn follow(&mut self, id: &ProxyKey) -> bool {
        self.following.insert(id.clone())
    }

    pub(super) fn connect(&mut self, id: &ProxyKey) {
        self.connected.insert(id.clone());
    }

    pub(super) fn disconnect(&mut self, id: &ProxyKey) {
        self.connected.remove(id);
        self.following.remove(id);
    }
}
