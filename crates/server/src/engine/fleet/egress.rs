//! The fleet of zone egresses. It has no members: no proxy of that type is let in (`ProxyKey::of_type`).

use std::collections::BTreeSet;

use meshspan_envoy::ProxyOptions;
use meshspan_xds::ResourceSet;

use super::{Fleet, OwnHalf};
use crate::engine::pools::{Names, PoolChanges, Pools};
use crate::proxy_key::ProxyKey;

/// The egresses of this zone.
pub(in crate::engine) struct Egresses;

impl Fleet for Egresses {
    fn connected(&mut self, _: &ProxyKey) {}

    fn disconnected(&mut self, _: &ProxyKey) {}

    fn own_half(&mut self, _: &ProxyKey, _: &ProxyOptions, _: &Pools) -> Option<OwnHalf> {
        None
    }

    fn shared_half(&self, _: &ProxyKey, _: &Pools) -> Option<ResourceSet> {
        None
    }

    fn shared_changes<'a>(&self, _: &ProxyKey, _: &'a PoolChanges) -> Option<&'a Names> {
        None
    }

    fn followers(&self, _: &PoolChanges, _: &mut BTreeSet<ProxyKey>) {}
}
