//! Fleets: one a kind of proxy, in a file of its own. A fleet knows which pools a proxy of its kind follows and how the
//! proxy's own half comes about; streams, and what was sent on them, are the projector's. No fleet knows another.

mod egress;
mod ingress;
mod sidecar;
mod zone_proxies;

use std::collections::BTreeSet;

use meshspan_envoy::{Encoded, ProxyOptions};
use meshspan_world::view::Source;
use meshspan_xds::ResourceSet;

use super::pools::{Names, PoolChanges, Pools};
use crate::proxy_key::ProxyKey;

pub(super) use egress::Egresses;
pub(super) use ingress::Ingresses;
pub(super) use sidecar::{Sidecars, resources as sidecar_resources};

/// What the projector asks of each kind of proxy.
pub(super) trait Fleet {
    /// A stream of a proxy began; `source` is what its node says that access logs call it.
    fn connected(&mut self, id: &ProxyKey, source: Option<Source>);

    /// A proxy has no stream any more.
    fn disconnected(&mut self, id: &ProxyKey);

    /// Projects what is the proxy's own. `None` if its resource is not stored (any more): it keeps what it has.
    fn own_half(&mut self, id: &ProxyKey, options: &ProxyOptions, pools: &Pools) -> Option<OwnHalf>;

    /// What the proxy shares with others; `None` if its resource is not stored.
    fn shared_half(&self, id: &ProxyKey, pools: &Pools) -> Option<ResourceSet>;

    /// The names that changed in the half that the proxy shares, if any did.
    fn shared_changes<'a>(&self, id: &ProxyKey, changes: &'a PoolChanges) -> Option<&'a Names>;

    /// Adds the connected proxies that follow a pool of which something changed.
    fn followers(&self, changes: &PoolChanges, followers: &mut BTreeSet<ProxyKey>);
}

/// A proxy's own half.
pub(super) struct OwnHalf {
    pub(super) resources: Vec<Encoded>,
    /// How many of them were encoded for it.
    pub(super) encoded: usize,
    /// The proxy shares another half than before, of which the changes do not speak.
    pub(super) other_shared_half: bool,
}
