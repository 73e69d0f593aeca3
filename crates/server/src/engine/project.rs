//! Turns views into Envoy resources, once for all proxies that share them, and publishes what changed.
//!
//! What many share stands in [`Pools`], what differs by kind of proxy in the [fleets](super::fleet); here are the streams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_envoy::ProxyOptions;
use meshspan_model::kinds::zone_egress::ZoneEgress;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_world::ClassChanges;
use meshspan_world::view::{ClassKey, Destination, DestinationKey, SidecarView, Source};
use meshspan_xds::ProxyFeed;

use super::fleet::{Egresses, Fleet, Ingresses, Sidecars};
use super::holder::Holder;
use super::pools::Pools;
use super::work::Work;
use crate::proxy_key::ProxyKey;
use meshspan_model::ProxyKind;
use meshspan_model::kinds::zone_egress::EGRESS_SERVICE;
use meshspan_model::labels::TAG_SERVICE;

mod stream;
mod unopened_logs;

pub(super) use stream::Identity;
use stream::Stream;

/// All that is projected in a zone.
pub(super) struct Projector {
    work: Work,
    pools: Pools,
    fleets: Fleets,
    streams: BTreeMap<ProxyKey, Stream>,
    /// Connected proxies whose own half must be projected again.
    stale: BTreeSet<ProxyKey>,
    /// Connected proxies of which nothing but secrets changed.
    secrets_changed: BTreeSet<ProxyKey>,
}

/// One fleet a kind of proxy.
struct Fleets {
    sidecars: Sidecars,
    ingresses: Ingresses,
    egresses: Egresses,
}

impl Fleets {
    fn of(&mut self, kind: ProxyKind) -> &mut dyn Fleet {
        match kind {
            ProxyKind::Sidecar => &mut self.sidecars,
            ProxyKind::ZoneIngress => &mut self.ingresses,
            ProxyKind::ZoneEgress => &mut self.egresses,
        }
    }
}

impl Projector {
    pub(super) fn new(zone: String, work: Work) -> Self {
        Self {
            pools: Pools::new(work.clone()),
            work,
            fleets: Fleets {
                sidecars: Sidecars::default(),
                ingresses: Ingresses::new(zone.clone()),
                egresses: Egresses::new(zone),
            },
            streams: BTreeMap::new(),
            stale: BTreeSet::new(),
            secrets_changed: BTreeSet::new(),
        }
    }

    pub(super) fn connect(
        &mut self,
        id: ProxyKey,
        number: u64,
        feed: ProxyFeed,
        options: ProxyOptions,
        source: Option<Source>,
    ) {
        let mut stream = Stream::new(number, feed, options);
        if let Some(old) = self.streams.remove(&id) {
            old.feed
                .close(tonic::Status::aborted("a newer stream of the same proxy took over"));
            stream.take_identities(old);
        }
        self.fleets.of(id.kind).connected(&id, source);
        self.stale.insert(id.clone());
        self.streams.insert(id, stream);
    }

    pub(super) fn disconnect(&mut self, id: &ProxyKey, number: u64) {
        if self.streams.get(id).is_some_and(|stream| stream.number == number) {
            self.streams.remove(id);
            self.stale.remove(id);
            self.fleets.of(id.kind).disconnected(id);
        }
    }

    /// From now on leaves out access logs to files that the proxy cannot open.
    pub(super) fn leave_out_logs(&mut self, id: &ProxyKey, number: u64, files: BTreeSet<String>) {
        if let Some(stream) = self.streams.get_mut(id).filter(|stream| stream.number == number)
            && stream.leave_out_logs(files)
        {
            self.stale.insert(id.clone());
        }
    }

    /// How many proxies are connected.
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn sidecars(&self) -> &Sidecars {
        &self.fleets.sidecars
    }

    /// Holders of identities that came, went or changed since the last call.
    pub(super) fn take_changed_holders(&mut self) -> BTreeSet<Holder> {
        let mut holders = self.fleets.egresses.take_changed(&self.pools);
        holders.extend(self.fleets.sidecars.take_changed().iter().map(Holder::sidecar));
        holders
    }

    /// Connected proxies that may show an identity in a mesh.
    pub(super) fn holders_in(&self, mesh: &str) -> Vec<Holder> {
        let mut holders = self.fleets.egresses.holders_in(mesh);
        holders.extend(self.fleets.sidecars.connected_in(mesh).map(Holder::sidecar));
        holders
    }

    /// Whom the certificate of a holder is to name; `None` if it shows none.
    pub(super) fn identity_tags(&self, holder: &Holder) -> Option<BTreeMap<String, BTreeSet<String>>> {
        if !self.streams.contains_key(&holder.proxy) {
            return None;
        }
        match holder.proxy.kind {
            ProxyKind::Sidecar => {
                let view = self.fleets.sidecars.view(&holder.proxy)?;
                Some(view.sidecar.dataplane.tags())
            }
            ProxyKind::ZoneEgress => {
                let service = BTreeSet::from([EGRESS_SERVICE.to_owned()]);
                let tags = BTreeMap::from([(TAG_SERVICE.to_owned(), service)]);
                self.pools.egress.has_identity_in(&holder.mesh).then_some(tags)
            }
            // It passes TLS on without ending it.
            ProxyKind::ZoneIngress => None,
        }
    }

    /// What a connected proxy can do.
    pub(super) fn options(&self, id: &ProxyKey) -> Option<ProxyOptions> {
        self.streams.get(id).map(|stream| stream.options.clone())
    }

    pub(super) fn has_identity(&self, holder: &Holder) -> bool {
        let stream = self.streams.get(&holder.proxy);
        stream.is_some_and(|stream| stream.has_identity(&holder.mesh))
    }

    /// What the proxy is to show is being found out: one that has nothing to show is sent nothing until then.
    pub(super) fn await_identity(&mut self, holder: &Holder) {
        if let Some(stream) = self.streams.get_mut(&holder.proxy) {
            stream.await_identity(&holder.mesh);
        }
    }

    /// The proxy shows what it showed before, or nothing.
    pub(super) fn keep_identity(&mut self, holder: &Holder) {
        if let Some(stream) = self.streams.get_mut(&holder.proxy)
            && stream.go_on(&holder.mesh)
        {
            self.secrets_changed.insert(holder.proxy.clone());
        }
    }

    /// Decides what the proxy is to show.
    pub(super) fn set_identity(&mut self, holder: &Holder, identity: Option<Identity>) {
        if let Some(stream) = self.streams.get_mut(&holder.proxy) {
            let changed = stream.set_identity(&holder.mesh, identity);
            if stream.go_on(&holder.mesh) || changed {
                self.secrets_changed.insert(holder.proxy.clone());
            }
        }
    }

    /// What the proxy is to show can be sent now.
    pub(super) fn identity_made(&mut self, holder: &Holder) {
        if let Some(stream) = self.streams.get_mut(&holder.proxy) {
            stream.identity_made(&holder.mesh);
            self.secrets_changed.insert(holder.proxy.clone());
        }
    }

    /// Takes what derivation brought.
    pub(super) fn apply(
        &mut self,
        destinations: &BTreeMap<DestinationKey, Option<Arc<Destination>>>,
        policies: BTreeMap<(String, ClassKey), Option<ClassChanges>>,
        sidecars: BTreeMap<(String, String), Option<Arc<SidecarView>>>,
        ingresses: BTreeMap<String, Option<Arc<ZoneIngress>>>,
        egresses: BTreeMap<String, Option<Arc<ZoneEgress>>>,
    ) {
        let Self {
            pools, fleets, stale, ..
        } = self;
        for (key, destination) in destinations {
            pools.apply_destination(key, destination.as_ref());
        }
        fleets.sidecars.apply_destinations(destinations, stale);
        fleets.sidecars.apply_classes(&policies, stale);
        for ((mesh, class), changes) in policies {
            pools.apply_class(&mesh, &class, changes);
        }
        for ((mesh, name), view) in sidecars {
            fleets.sidecars.apply(ProxyKey::sidecar(mesh, name), view, stale);
        }
        fleets.ingresses.apply(ingresses, pools, stale);
        fleets.egresses.apply(egresses, pools, stale);
    }

    /// Publishes to each stream what changed for it; proxies for which nothing did are not looked at.
    pub(super) fn publish(&mut self) {
        let mut affected = std::mem::take(&mut self.secrets_changed);
        for id in std::mem::take(&mut self.stale) {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            if let Some(half) = self.fleets.of(id.kind).own_half(&id, &stream.options, &self.pools) {
                self.work.own_halves.inc();
                self.work.encoded(half.encoded);
                stream.replace_own(&half.resources, &self.work);
                if half.other_shared_half {
                    stream.replace_shared();
                }
            }
            affected.insert(id);
        }
        let changes = self.pools.take_changed();
        for kind in ProxyKind::ALL {
            self.fleets.of(*kind).followers(&changes, &mut affected);
        }
        for id in affected {
            let fleet = self.fleets.of(id.kind);
            if let Some(stream) = self.streams.get_mut(&id)
                && let Some(shared) = fleet.shared_half(&id, &self.pools)
            {
                stream.publish(shared, fleet.shared_changes(&id, &changes), &self.work);
            }
        }
    }
}
