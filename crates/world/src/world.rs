//! The world itself: takes changes, marks what depends on them, derives it, and hands out what came out different.

mod apply;
mod derive;
mod inspect;
mod problems;

pub use inspect::Inspected;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meshspan_model::kinds::mesh::Mesh;
use meshspan_model::kinds::zone_egress::ZoneEgress;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_model::policy::PolicyKind;
use meshspan_model::{Kind, Resource, ResourceKey, Spec, Violations};
use serde_json::Value;
use time::OffsetDateTime;

use crate::hostnames::Generator;
use crate::hosts::{Hosts, Unresolved};
use crate::mesh_state::MeshState;
use crate::policies::ClassChanges;
use crate::settings::Settings;
use crate::view::{ClassKey, Destination, DestinationKey, DnsChanges, SidecarView};
use crate::vips::VipPools;
use crate::zone_proxies::ZoneProxies;

/// Something to store.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Labels and spec of a resource; its status stays.
    Put(Resource),
    /// The status of a resource.
    Status(ResourceKey, Value),
    /// Remove it.
    Delete(ResourceKey),
}

/// A stored resource that cannot be used; it is left out and harms nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Which.
    pub key: ResourceKey,
    /// What is wrong with it.
    pub violations: Violations,
}

/// What one derivation brought. Maps hold what changed only; `None` means gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// To be stored.
    pub writes: Vec<Write>,
    /// Destinations of all meshes.
    pub destinations: BTreeMap<DestinationKey, Option<Arc<Destination>>>,
    /// Sidecars by (mesh, name).
    pub sidecars: BTreeMap<(String, String), Option<Arc<SidecarView>>>,
    /// What policies say about destinations, by (mesh, class); `None` for classes without members.
    pub policies: BTreeMap<(String, ClassKey), Option<ClassChanges>>,
    /// Zone ingresses of this zone by core name.
    pub ingresses: BTreeMap<String, Option<Arc<ZoneIngress>>>,
    /// Zone egresses of this zone by core name.
    pub egresses: BTreeMap<String, Option<Arc<ZoneEgress>>>,
    /// Meshes whose spec changed.
    pub meshes: BTreeMap<String, Option<Arc<Mesh>>>,
    /// Addresses of host names, by mesh.
    pub dns: BTreeMap<String, DnsChanges>,
    /// All host names whose addresses are needed, if that set changed; the answers go to [`World::resolved`].
    pub host_names: Option<BTreeSet<String>>,
    /// Stored resources that cannot be used.
    pub problems: Vec<Problem>,
    /// Proxies of which [`World::problems_of`] may say something else than before.
    pub judged_anew: BTreeSet<ResourceKey>,
    /// When to derive again even if nothing changes: a grace period ends.
    pub deadline: Option<OffsetDateTime>,
}

/// A zone ingress of any zone.
#[derive(Clone, Debug)]
struct IngressEntry {
    resource: Arc<Resource>,
    zone: String,
    /// With addresses where the resource has resolved names.
    spec: Arc<ZoneIngress>,
    /// Host names in it that do not resolve.
    unresolved: Vec<Unresolved>,
}

/// A zone egress of this zone. Its insight may come before it, or stay without it.
#[derive(Clone, Debug, Default)]
struct EgressEntry {
    /// The resource, and its typed form with addresses where it has resolved names.
    stored: Option<(Arc<Resource>, Arc<ZoneEgress>)>,
    unresolved: Vec<Unresolved>,
    /// The proxy is there, and its Envoy listens.
    serves: bool,
}

/// Everything a zone control plane knows, and what follows from it.
#[derive(Clone, Debug)]
pub struct World {
    settings: Settings,
    meshes: BTreeMap<String, MeshState>,
    ingresses: BTreeMap<String, IngressEntry>,
    egresses: BTreeMap<String, EgressEntry>,
    hosts: Hosts,
    /// Public addresses of all zones' ingresses.
    ingress_addresses: ZoneProxies,
    /// The own zone's egresses.
    egress_addresses: ZoneProxies,
    generators: BTreeMap<String, Arc<Generator>>,
    vips: VipPools,
    /// (mesh, service) whose grace period ends then.
    deadlines: BTreeSet<(OffsetDateTime, String, String)>,
    pending: Changes,
}

impl World {
    /// An empty world.
    pub fn new(settings: Settings) -> Self {
        Self {
            vips: VipPools::new(|kind| settings.vips(kind)),
            settings,
            meshes: BTreeMap::new(),
            ingresses: BTreeMap::new(),
            egresses: BTreeMap::new(),
            hosts: Hosts::default(),
            ingress_addresses: ZoneProxies::default(),
            egress_addresses: ZoneProxies::default(),
            generators: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            pending: Changes::default(),
        }
    }

    /// Takes a change of a stored resource, `None` for a deleted one, and marks what depends on it. Cheap; several
    /// changes may be applied before one [`World::derive`].
    pub fn apply(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        self.judge_anew(key);
        match key.kind {
            Kind::Mesh => self.apply_mesh(key, after),
            Kind::Dataplane => self.apply_dataplane(key, after),
            Kind::DataplaneInsight => self.apply_insight(key, after),
            Kind::MeshMultiZoneServiceInsight => self.apply_reported(key, after),
            Kind::ZoneIngress => self.apply_ingress(key, after),
            Kind::ZoneEgress => self.apply_egress(key, after),
            Kind::ZoneEgressInsight => self.apply_egress_insight(key, after),
            Kind::Secret => self.apply_secret(key, after),
            Kind::HostnameGenerator => self.apply_generator(key, after),
            kind => {
                if let Some(service) = kind.service() {
                    self.apply_service(service, key, after);
                } else if let Some(policy) = PolicyKind::of(kind) {
                    self.apply_policy(policy, key, after);
                }
            }
        }
    }

    /// Takes what a host name of [`Changes::host_names`] resolves to, or why it does not; then its last address stays. True
    /// if that is news.
    pub fn resolved(&mut self, name: &str, answer: Result<IpAddr, String>) -> bool {
        let users = self.hosts.resolved(name, answer);
        let is_news = !users.is_empty();
        for key in users {
            let resource = match key.kind {
                Kind::Dataplane => {
                    let mesh = self.meshes.get(&key.mesh);
                    mesh.and_then(|mesh| mesh.dataplanes.get(&key.name))
                        .map(|entry| entry.resource.clone())
                }
                Kind::ZoneEgress => {
                    let entry = self.egresses.get(&key.name);
                    entry
                        .and_then(|entry| entry.stored.as_ref())
                        .map(|(resource, _)| resource.clone())
                }
                _ => self.ingresses.get(&key.name).map(|entry| entry.resource.clone()),
            };
            if let Some(resource) = resource {
                self.apply(&key, Some(&resource));
            }
        }
        is_news
    }

    /// The typed payload; a resource that does not parse counts as absent.
    fn typed<T: Spec>(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) -> Option<(Arc<Resource>, T)> {
        let resource = after?;
        match resource.parse::<T>() {
            Ok(spec) => Some((resource.clone(), spec)),
            Err(violations) => {
                self.pending.problems.push(Problem {
                    key: key.clone(),
                    violations,
                });
                None
            }
        }
    }

    fn mesh(&mut self, name: &str) -> &mut MeshState {
        self.meshes.entry(name.to_owned()).or_default()
    }
}
