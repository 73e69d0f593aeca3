//! What the world keeps of one mesh: its resources, typed, and the indexes that find who depends on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meshspan_model::kinds::dataplane::{Dataplane, Inbound};
use meshspan_model::kinds::dataplane_insight::{DataplaneInsight, is_online};
use meshspan_model::kinds::mesh::Mesh;
use meshspan_model::kinds::mesh_multi_zone_service_insight::MeshMultiZoneServiceInsight;
use meshspan_model::kinds::presence::Presence;
use meshspan_model::labels::TAG_SERVICE;
use meshspan_model::{Resource, ServiceKind};
use meshspan_policy::Proxy;

use crate::dirty::Dirty;
use crate::dns::Dns;
use crate::hostnames::Hostnames;
use crate::hosts::Unresolved;
use crate::policies::Policies;
use crate::services::{Reference, ServiceEntry, ServiceKey, Services};
use crate::view::{Destination, DestinationKey, SidecarView};

/// One mesh. Resources may arrive before their Mesh does; nothing is derived until it is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct MeshState {
    pub(crate) mesh: Option<Arc<Mesh>>,
    pub(crate) dataplanes: BTreeMap<String, DataplaneEntry>,
    pub(crate) proxies: BTreeMap<String, ProxyState>,
    /// Addresses of Dataplanes that lie in a range of virtual IPs, where none should.
    pub(crate) addresses_in_vip_ranges: BTreeMap<String, IpAddr>,
    pub(crate) services: Services,
    /// What the zone last reported to its global of each MeshMultiZoneService, by the service's core name.
    pub(crate) reported: BTreeMap<String, MeshMultiZoneServiceInsight>,
    pub(crate) policies: Policies,
    /// Data of Secrets, for certificates of services outside the mesh.
    pub(crate) secrets: BTreeMap<String, Arc<Resource>>,
    pub(crate) hostnames: Hostnames,
    pub(crate) index: Index,
    pub(crate) dirty: Dirty,
    /// What was handed out, to compare with and to find what is gone.
    pub(crate) sidecars: BTreeMap<String, Arc<SidecarView>>,
    pub(crate) destinations: BTreeMap<ServiceKey, BTreeMap<DestinationKey, Arc<Destination>>>,
    /// Keys of all of these.
    pub(crate) destination_keys: BTreeSet<DestinationKey>,
    pub(crate) dns: Dns,
}

/// Who depends on whom, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// Dataplanes by the `kuma.io/service` of an inbound.
    pub(crate) dataplanes_by_service: BTreeMap<String, BTreeSet<String>>,
    /// Dataplanes, gateways among them, by the `kuma.io/service` tags in their identities.
    pub(crate) dataplanes_by_identity: BTreeMap<String, BTreeSet<String>>,
    /// Those of these tags for which no MeshService can be generated.
    pub(crate) misnamed: BTreeSet<String>,
    /// Local MeshServices that select by `kuma.io/service`.
    pub(crate) services_by_tag: BTreeMap<String, BTreeSet<String>>,
    /// Local MeshServices that select otherwise.
    pub(crate) services_otherwise: BTreeSet<String>,
    /// MeshServices by zone.
    pub(crate) services_by_zone: BTreeMap<String, BTreeSet<String>>,
    /// MeshMultiZoneServices by the first pair of their matchLabels.
    pub(crate) multi_zone_by_label: BTreeMap<(String, String), BTreeSet<String>>,
    /// Local MeshServices that nobody else may reach than services with these `kuma.io/service` tags, by tag.
    pub(crate) services_by_client: BTreeMap<String, BTreeSet<String>>,
    /// MeshExternalServices by the Secrets that they name.
    pub(crate) secret_users: BTreeMap<String, BTreeSet<String>>,
    /// Dataplanes with explicit outbounds or a limited set of reachable backends, by what these refer to.
    pub(crate) referrers: BTreeMap<Reference, BTreeSet<String>>,
}

#[derive(Clone, Debug)]
pub(crate) struct DataplaneEntry {
    pub(crate) resource: Arc<Resource>,
    pub(crate) spec: Arc<Dataplane>,
    /// As policies see it.
    pub(crate) proxy: Arc<Proxy>,
    /// Tags of each inbound, and labels of the proxy where it has no such tag.
    pub(crate) tags: Vec<Arc<BTreeMap<String, String>>>,
    /// Host names in it that do not resolve.
    pub(crate) unresolved: Vec<Unresolved>,
}

impl DataplaneEntry {
    pub(crate) fn new(resource: Arc<Resource>, spec: Dataplane, unresolved: Vec<Unresolved>, own_zone: &str) -> Self {
        Self {
            unresolved,
            proxy: Arc::new(Proxy::of(&resource, &spec, own_zone)),
            tags: spec
                .networking
                .inbound
                .iter()
                .map(|inbound| {
                    let mut tags = resource.labels.clone();
                    tags.extend(inbound.tags.clone());
                    Arc::new(tags)
                })
                .collect(),
            resource,
            spec: Arc::new(spec),
        }
    }

    /// Why nobody can connect to an inbound: its address is a name that does not resolve and never did.
    pub(crate) fn without_address(&self, inbound: &Inbound) -> Option<&Unresolved> {
        let address = self.spec.peer_address(inbound);
        self.unresolved.iter().find(|unresolved| unresolved.name == address)
    }
}

/// What the insight of a proxy says. One without an insight has never been there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxyState {
    /// Connected now. Says nothing about whether it serves: streams end for many reasons.
    pub(crate) online: bool,
    /// Whether it is there, and what its Envoy listens for.
    pub(crate) presence: Presence,
    /// Has a certificate.
    pub(crate) has_certificate: bool,
}

impl ProxyState {
    pub(crate) fn of(insight: &DataplaneInsight) -> Self {
        Self {
            online: is_online(&insight.subscriptions),
            presence: Presence {
                // For people.
                reason: String::new(),
                ..insight.presence.clone()
            },
            has_certificate: insight
                .mtls
                .as_ref()
                .is_some_and(|mtls| !mtls.issued_backend.is_empty()),
        }
    }
}

impl MeshState {
    /// Takes a service that policies may refer to.
    pub(crate) fn set_target(&mut self, service: meshspan_policy::Service) {
        self.policies.set_target(service);
        self.dirty.policies = true;
    }

    /// Takes the removal of one.
    pub(crate) fn remove_target(&mut self, service: &meshspan_model::ServiceIdentity) {
        self.policies.remove_target(service);
        self.dirty.policies = true;
    }

    /// Whether traffic may go to an inbound of this Dataplane: it is ready, its proxy is there, Envoy listens, and nothing
    /// says that its address cannot be found.
    pub(crate) fn serves(&self, dataplane: &str, inbound: &Inbound) -> bool {
        let listens = |proxy: &ProxyState| proxy.presence.takes_traffic() && proxy.presence.listens(&inbound.section());
        let lost = |entry: &DataplaneEntry| entry.without_address(inbound).is_some();
        inbound.is_ready()
            && self.proxies.get(dataplane).is_some_and(listens)
            && !self.dataplanes.get(dataplane).is_some_and(lost)
    }

    /// Names of the MeshMultiZoneServices whose selector fits these labels.
    pub(crate) fn multi_zone_matching(&self, labels: &BTreeMap<String, String>) -> BTreeSet<String> {
        let candidates = labels
            .iter()
            .filter_map(|(key, value)| self.index.multi_zone_by_label.get(&(key.clone(), value.clone())));
        let fits = |name: &&String| {
            self.services
                .multi_zone(name)
                .is_some_and(|entry| entry.spec.selector.mesh_service.matches(labels))
        };
        candidates.flatten().filter(fits).cloned().collect()
    }

    /// Marks the MeshMultiZoneServices that a MeshService with these labels belongs to, after `edit` put it into or
    /// took it out of what they match.
    pub(crate) fn mark_multi_zone_of(
        &mut self,
        labels: &BTreeMap<String, String>,
        edit: impl Fn(&mut BTreeSet<String>),
    ) {
        for name in self.multi_zone_matching(labels) {
            if let Some(entry) = self.services.multi_zone_mut(&name) {
                edit(&mut entry.matched);
            }
            let key = ServiceKey::new(ServiceKind::MeshMultiZoneService, name);
            self.dirty.services.insert(key);
        }
    }

    /// Marks the Dataplanes that refer to a service.
    pub(crate) fn mark_referrers(&mut self, references: &BTreeSet<Reference>) {
        for reference in references {
            let referrers = self.index.referrers.get(reference).into_iter().flatten();
            self.dirty.sidecars.extend(referrers.cloned());
        }
    }

    /// Marks services that are reached through egresses, now or once that is so.
    pub(crate) fn mark_behind_egress(&mut self) {
        let through_egress = self.mesh.as_ref().is_some_and(|mesh| mesh.leaves_through_egress());
        let behind = |entry: &ServiceEntry| through_egress || entry.kind() == ServiceKind::MeshExternalService;
        let keys = self
            .services
            .iter()
            .filter(|(_, entry)| behind(entry))
            .map(|(key, _)| key);
        self.dirty.services.extend(keys);
    }

    /// Whether anybody in the mesh has this `kuma.io/service` tag, as far as this zone knows.
    pub(crate) fn knows_client(&self, tag: &str) -> bool {
        let of_service = Reference::Tag(TAG_SERVICE.to_owned(), tag.to_owned());
        self.index.dataplanes_by_identity.contains_key(tag) || !self.services.answering(&of_service).is_empty()
    }

    /// Marks services of which the clients with this tag are the only ones, for they came or went.
    pub(crate) fn mark_services_of_client(&mut self, tag: &str) {
        let services = self.index.services_by_client.get(tag).cloned().unwrap_or_default();
        self.mark_mesh_services(services);
    }

    /// Marks MeshServices.
    pub(crate) fn mark_mesh_services(&mut self, names: impl IntoIterator<Item = String>) {
        let keys = names
            .into_iter()
            .map(|name| ServiceKey::new(ServiceKind::MeshService, name));
        self.dirty.services.extend(keys);
    }

    /// Local MeshServices whose selector may fit a Dataplane with these `kuma.io/service` values.
    pub(crate) fn services_that_may_select(&self, tags: &BTreeSet<String>) -> Vec<String> {
        let by_tag = tags
            .iter()
            .filter_map(|tag| self.index.services_by_tag.get(tag))
            .flatten();
        by_tag.chain(&self.index.services_otherwise).cloned().collect()
    }
}

/// Adds to an index of sets.
pub(crate) fn insert<K: Ord>(index: &mut BTreeMap<K, BTreeSet<String>>, key: K, name: &str) {
    index.entry(key).or_default().insert(name.to_owned());
}

/// Removes from an index of sets, leaving no empty set behind.
pub(crate) fn remove<K: Ord>(index: &mut BTreeMap<K, BTreeSet<String>>, key: &K, name: &str) {
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}
