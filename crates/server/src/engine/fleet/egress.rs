//! The fleet of zone egresses. All of them share the clusters of other zones behind them; the listener and the ways out of the
//! mesh are one egress's own, and so are its identities: one in each mesh with services outside of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_envoy::ProxyOptions;
use meshspan_model::ProxyKind;
use meshspan_model::kinds::zone_egress::ZoneEgress;
use meshspan_world::view::{Egress, Source};
use meshspan_xds::ResourceSet;

use super::zone_proxies::ZoneProxies;
use super::{Fleet, OwnHalf};
use crate::engine::holder::Holder;
use crate::engine::pools::{Names, PoolChanges, Pools};
use crate::proxy_key::ProxyKey;

/// The egresses of this zone.
pub(in crate::engine) struct Egresses {
    zone: String,
    proxies: ZoneProxies<ZoneEgress>,
    /// Those that came since the last [`Egresses::take_changed`].
    came: BTreeSet<ProxyKey>,
    /// Identities that came or went since then.
    changed: BTreeSet<Holder>,
}

impl Egresses {
    pub(in crate::engine) fn new(zone: String) -> Self {
        Self {
            zone,
            proxies: ZoneProxies::new(ProxyKind::ZoneEgress),
            came: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Takes what derivation brought, and adds those whose own half has to be projected again.
    pub(in crate::engine) fn apply(
        &mut self,
        changes: BTreeMap<String, Option<Arc<ZoneEgress>>>,
        pools: &mut Pools,
        stale: &mut BTreeSet<ProxyKey>,
    ) {
        self.proxies.apply(changes, stale);
        if pools.egress.take_own_changed() {
            stale.extend(self.proxies.connected().iter().cloned());
        }
        for mesh in pools.egress.take_meshes_changed() {
            let holders = self.holders_in(&mesh);
            self.changed.extend(holders);
        }
    }

    /// Connected egresses, as holders of an identity in a mesh.
    pub(in crate::engine) fn holders_in(&self, mesh: &str) -> Vec<Holder> {
        self.proxies
            .connected()
            .iter()
            .map(|id| Holder::in_mesh(id, mesh))
            .collect()
    }

    /// Identities that came or went since the last call.
    pub(in crate::engine) fn take_changed(&mut self, pools: &Pools) -> BTreeSet<Holder> {
        let mut changed = std::mem::take(&mut self.changed);
        for id in std::mem::take(&mut self.came) {
            changed.extend(pools.egress.meshes().map(|mesh| Holder::in_mesh(&id, mesh)));
        }
        changed
    }
}

impl Fleet for Egresses {
    fn connected(&mut self, id: &ProxyKey, _: Option<Source>) {
        self.proxies.connect(id);
        self.came.insert(id.clone());
    }

    fn disconnected(&mut self, id: &ProxyKey) {
        self.proxies.disconnect(id);
        self.came.insert(id.clone());
    }

    fn own_half(&mut self, id: &ProxyKey, options: &ProxyOptions, pools: &Pools) -> Option<OwnHalf> {
        let egress = Egress {
            name: id.name.clone(),
            zone: self.zone.clone(),
            egress: self.proxies.resource(id)?.clone(),
            destinations: pools.egress.destinations().cloned().collect(),
        };
        let resources = meshspan_envoy::egress(&egress, options);
        Some(OwnHalf {
            encoded: resources.len(),
            resources,
            other_shared_half: self.proxies.follow(id),
        })
    }

    fn shared_half(&self, id: &ProxyKey, pools: &Pools) -> Option<ResourceSet> {
        let is_stored = self.proxies.resource(id).is_some();
        is_stored.then(|| pools.egress.shared().clone())
    }

    fn shared_changes<'a>(&self, _: &ProxyKey, changes: &'a PoolChanges) -> Option<&'a Names> {
        Some(&changes.egress)
    }

    fn followers(&self, changes: &PoolChanges, followers: &mut BTreeSet<ProxyKey>) {
        if !changes.egress.is_empty() {
            followers.extend(self.proxies.following().iter().cloned());
        }
    }
}
