//! The fleet of zone ingresses. All of them share the clusters of what lies behind them; a listener is one ingress's own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_envoy::ProxyOptions;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_world::view::{Ingress, Source};
use meshspan_xds::ResourceSet;

use super::{Fleet, OwnHalf};
use crate::engine::pools::{Names, PoolChanges, Pools};
use crate::proxy_key::ProxyKey;
use meshspan_model::ProxyKind;

/// The ingresses of this zone.
pub(in crate::engine) struct Ingresses {
    zone: String,
    resources: BTreeMap<String, Arc<ZoneIngress>>,
    connected: BTreeSet<ProxyKey>,
    /// Connected ones that have a shared half.
    following: BTreeSet<ProxyKey>,
}

impl Ingresses {
    pub(in crate::engine) fn new(zone: String) -> Self {
        Self {
            zone,
            resources: BTreeMap::new(),
            connected: BTreeSet::new(),
            following: BTreeSet::new(),
        }
    }

    /// Takes what derivation brought, and adds those whose own half has to be projected again.
    pub(in crate::engine) fn apply(
        &mut self,
        changes: BTreeMap<String, Option<Arc<ZoneIngress>>>,
        pools: &mut Pools,
        stale: &mut BTreeSet<ProxyKey>,
    ) {
        for (name, resource) in changes {
            let id = ProxyKey::new(ProxyKind::ZoneIngress, "", name);
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
        if pools.ingress.take_listeners_changed() {
            stale.extend(self.connected.iter().cloned());
        }
    }
}

impl Fleet for Ingresses {
    fn connected(&mut self, id: &ProxyKey, _: Option<Source>) {
        self.connected.insert(id.clone());
    }

    fn disconnected(&mut self, id: &ProxyKey) {
        self.connected.remove(id);
        self.following.remove(id);
    }

    fn own_half(&mut self, id: &ProxyKey, _: &ProxyOptions, pools: &Pools) -> Option<OwnHalf> {
        let ingress = Ingress {
            name: id.name.clone(),
            zone: self.zone.clone(),
            ingress: self.resources.get(&id.name)?.clone(),
            destinations: pools.ingress.destinations().cloned().collect(),
        };
        Some(OwnHalf {
            resources: vec![meshspan_envoy::ingress_listener(&ingress)],
            encoded: 1,
            other_shared_half: self.following.insert(id.clone()),
        })
    }

    fn shared_half(&self, id: &ProxyKey, pools: &Pools) -> Option<ResourceSet> {
        let is_stored = self.resources.contains_key(&id.name);
        is_stored.then(|| pools.ingress.shared().clone())
    }

    fn shared_changes<'a>(&self, _: &ProxyKey, changes: &'a PoolChanges) -> Option<&'a Names> {
        Some(&changes.ingress)
    }

    fn followers(&self, changes: &PoolChanges, followers: &mut BTreeSet<ProxyKey>) {
        if !changes.ingress.is_empty() {
            followers.extend(self.following.iter().cloned());
        }
    }
}
