//! The fleet of zone ingresses. All of them share the clusters of what lies behind them; a listener is one ingress's own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_envoy::ProxyOptions;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_world::view::{Ingress, Source};
use meshspan_xds::ResourceSet;

use super::zone_proxies::ZoneProxies;
use super::{Fleet, OwnHalf};
use crate::engine::pools::{Names, PoolChanges, Pools};
use crate::proxy_key::ProxyKey;
use meshspan_model::ProxyKind;

/// The ingresses of this zone.
pub(in crate::engine) struct Ingresses {
    zone: String,
    proxies: ZoneProxies<ZoneIngress>,
}

impl Ingresses {
    pub(in crate::engine) fn new(zone: String) -> Self {
        Self {
            zone,
            proxies: ZoneProxies::new(ProxyKind::ZoneIngress),
        }
    }

    /// Takes what derivation brought, and adds those whose own half has to be projected again.
    pub(in crate::engine) fn apply(
        &mut self,
        changes: BTreeMap<String, Option<Arc<ZoneIngress>>>,
        pools: &mut Pools,
        stale: &mut BTreeSet<ProxyKey>,
    ) {
        self.proxies.apply(changes, stale);
        if pools.ingress.take_listeners_changed() {
            stale.extend(self.proxies.connected().iter().cloned());
        }
    }
}

impl Fleet for Ingresses {
    fn connected(&mut self, id: &ProxyKey, _: Option<Source>) {
        self.proxies.connect(id);
    }

    fn disconnected(&mut self, id: &ProxyKey) {
        self.proxies.disconnect(id);
    }

    fn own_half(&mut self, id: &ProxyKey, _: &ProxyOptions, pools: &Pools) -> Option<OwnHalf> {
        let ingress = Ingress {
            name: id.name.clone(),
            zone: self.zone.clone(),
            ingress: self.proxies.resource(id)?.clone(),
            destinations: pools.ingress.destinations().cloned().collect(),
        };
        Some(OwnHalf {
            resources: vec![meshspan_envoy::ingress_listener(&ingress)],
            encoded: 1,
            other_shared_half: self.proxies.follow(id),
        })
    }

    fn shared_half(&self, id: &ProxyKey, pools: &Pools) -> Option<ResourceSet> {
        let is_stored = self.proxies.resource(id).is_some();
        is_stored.then(|| pools.ingress.shared().clone())
    }

    fn shared_changes<'a>(&self, _: &ProxyKey, changes: &'a PoolChanges) -> Option<&'a Names> {
        Some(&changes.ingress)
    }

    fn followers(&self, changes: &PoolChanges, followers: &mut BTreeSet<ProxyKey>) {
        if !changes.ingress.is_empty() {
            followers.extend(self.proxies.following().iter().cloned());
        }
    }
}
