//! Turns views into Envoy resources, once for all proxies that share them, and publishes what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_envoy::{Encoded, ProxyOptions};
use meshspan_model::Kind;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_world::view::{ClassKey, Destination, DestinationKey, Ingress, Outbound, SidecarView};
use meshspan_world::{ClassChanges, Inspected};
use meshspan_xds::{Changes, ProxyFeed, Resource, ResourceSet, ResourceType, Snapshot};

use crate::proxy_key::{ProxyKey, ProxyKind};

mod inspect;
mod pool;
mod unopened_logs;

use pool::MeshPool;
use unopened_logs::UnopenedLogs;

type Names = BTreeSet<(ResourceType, Arc<str>)>;

/// What a proxy shows and trusts.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) certificate: Resource,
    pub(super) trust_pem: String,
}

/// A connected proxy.
struct Proxy {
    stream: u64,
    feed: ProxyFeed,
    options: ProxyOptions,
    own: ResourceSet,
    identity: Option<Identity>,
    changed: Names,
    /// Nothing was published on this stream yet.
    fresh: bool,
    logs: UnopenedLogs,
}

/// All that is projected in a zone.
pub(super) struct Projector {
    zone: String,
    meshes: BTreeMap<String, MeshPool>,
    views: BTreeMap<ProxyKey, Arc<SidecarView>>,
    ingresses: BTreeMap<String, Arc<ZoneIngress>>,
    /// Clusters and endpoints of zone ingresses, shared by all of them.
    ingress_shared: ResourceSet,
    ingress_changed: Names,
    ingress_destinations: BTreeMap<DestinationKey, Arc<Destination>>,
    proxies: BTreeMap<ProxyKey, Proxy>,
    /// Connected proxies whose own half must be made again.
    stale: BTreeSet<ProxyKey>,
    /// Sidecars that do not share their outbound half, by the destinations in it.
    limited: BTreeMap<DestinationKey, BTreeSet<ProxyKey>>,
    /// The same sidecars, by the destinations that only their routes lead to.
    routed: BTreeMap<DestinationKey, BTreeSet<ProxyKey>>,
    identities_changed: BTreeSet<ProxyKey>,
    /// Why inbounds are not served, by sidecar; of those where there is something to say.
    problems: BTreeMap<ProxyKey, Vec<String>>,
}

impl Projector {
    pub(super) fn new(zone: String) -> Self {
        Self {
            zone,
            meshes: BTreeMap::new(),
            views: BTreeMap::new(),
            ingresses: BTreeMap::new(),
            ingress_shared: ResourceSet::new(),
            ingress_changed: Names::new(),
            ingress_destinations: BTreeMap::new(),
            proxies: BTreeMap::new(),
            stale: BTreeSet::new(),
            limited: BTreeMap::new(),
            routed: BTreeMap::new(),
            identities_changed: BTreeSet::new(),
            problems: BTreeMap::new(),
        }
    }

    pub(super) fn connect(&mut self, id: ProxyKey, stream: u64, feed: ProxyFeed, options: ProxyOptions) {
        let identity = self.proxies.remove(&id).and_then(|old| {
            old.feed
                .close(tonic::Status::aborted("a newer stream of the same proxy took over"));
            old.identity
        });
        let proxy = Proxy {
            stream,
            feed,
            options,
            own: ResourceSet::new(),
            identity,
            changed: Names::new(),
            fresh: true,
            logs: UnopenedLogs::default(),
        };
        self.stale.insert(id.clone());
        self.identities_changed.insert(id.clone());
        self.proxies.insert(id, proxy);
    }

    pub(super) fn disconnect(&mut self, id: &ProxyKey, stream: u64) {
        if self.proxies.get(id).is_some_and(|proxy| proxy.stream == stream) {
            self.proxies.remove(id);
            self.stale.remove(id);
            self.identities_changed.insert(id.clone());
        }
    }

    /// From now on leaves out access logs to files that the proxy cannot open.
    pub(super) fn leave_out_logs(&mut self, id: &ProxyKey, stream: u64, files: BTreeSet<String>) {
        if let Some(proxy) = self.proxies.get_mut(id).filter(|proxy| proxy.stream == stream)
            && proxy.logs.add(files)
        {
            self.stale.insert(id.clone());
        }
    }

    pub(super) fn view(&self, id: &ProxyKey) -> Option<Arc<SidecarView>> {
        self.views.get(id).cloned()
    }

    pub(super) fn is_connected(&self, id: &ProxyKey) -> bool {
        self.proxies.contains_key(id)
    }

    /// All resources of a sidecar but its secrets, made anew of what the world says of it.
    pub(super) fn inspect(&self, id: &ProxyKey, inspected: &Inspected) -> Vec<Encoded> {
        let unknown = ProxyOptions {
            socket_mark: 0,
            ipv6: true,
        };
        let options = self.proxies.get(id).map_or(unknown, |proxy| proxy.options);
        inspect::resources(inspected, &options)
    }

    /// Why inbounds are not served, by sidecar.
    pub(super) fn problems(&self) -> &BTreeMap<ProxyKey, Vec<String>> {
        &self.problems
    }

    /// Connected sidecars of a mesh.
    pub(super) fn connected_in<'a>(&'a self, mesh: &'a str) -> impl Iterator<Item = &'a ProxyKey> {
        of_mesh(&self.proxies, ProxyKind::Sidecar, mesh).map(|(id, _)| id)
    }

    /// Proxies that came, went or changed their tags since the last call.
    pub(super) fn take_changed_identities(&mut self) -> BTreeSet<ProxyKey> {
        std::mem::take(&mut self.identities_changed)
            .into_iter()
            .filter(|id| id.kind == ProxyKind::Sidecar)
            .collect()
    }

    pub(super) fn has_identity(&self, id: &ProxyKey) -> bool {
        self.proxies.get(id).is_some_and(|proxy| proxy.identity.is_some())
    }

    pub(super) fn set_identity(&mut self, id: &ProxyKey, identity: Option<Identity>) {
        if let Some(proxy) = self.proxies.get_mut(id).filter(|proxy| proxy.identity != identity) {
            proxy.identity = identity;
            self.stale.insert(id.clone());
        }
    }

    /// Takes what derivation brought.
    pub(super) fn apply(
        &mut self,
        destinations: BTreeMap<DestinationKey, Option<Arc<Destination>>>,
        policies: BTreeMap<(String, ClassKey), Option<ClassChanges>>,
        sidecars: BTreeMap<(String, String), Option<Arc<SidecarView>>>,
        ingresses: BTreeMap<String, Option<Arc<ZoneIngress>>>,
    ) {
        let mut listeners_stale = false;
        for (key, destination) in destinations {
            listeners_stale |= self.apply_to_ingresses(&key, destination.as_ref());
            let named = self.limited.get(&key).into_iter().flatten();
            let limited = named.chain(self.routed.get(&key).into_iter().flatten());
            self.stale
                .extend(limited.filter(|id| self.proxies.contains_key(*id)).cloned());
            let mesh = key.service.mesh.clone();
            self.meshes.entry(mesh).or_default().apply_destination(key, destination);
        }
        for ((mesh, class), changes) in policies {
            self.apply_class(mesh, &class, changes);
        }
        for ((mesh, name), view) in sidecars {
            self.apply_sidecar(ProxyKey::sidecar(mesh, name), view);
        }
        for (name, ingress) in ingresses {
            let is_there = ingress.is_some();
            let before = match ingress {
                Some(ingress) => self.ingresses.insert(name.clone(), ingress),
                None => self.ingresses.remove(&name),
            };
            if let Some(proxy) = self.proxies.get_mut(&ProxyKey::new(ProxyKind::ZoneIngress, "", name)) {
                // What changed while its resource was away was not told to it.
                proxy.fresh |= before.is_some() != is_there;
            }
            listeners_stale = true;
        }
        if listeners_stale {
            self.stale
                .extend(of_mesh(&self.proxies, ProxyKind::ZoneIngress, "").map(|(id, _)| id.clone()));
        }
    }

    fn apply_class(&mut self, mesh: String, class: &ClassKey, changes: Option<ClassChanges>) {
        for key in changes.iter().flat_map(BTreeMap::keys) {
            // Routes may lead to destinations that the proxy does not name itself, so all of its class are made again.
            let users = self.limited.get(key).into_iter().flatten();
            let of_class = users.filter(|id| {
                self.proxies.contains_key(*id) && self.views.get(*id).is_some_and(|view| view.class == *class)
            });
            self.stale.extend(of_class.cloned());
        }
        self.meshes.entry(mesh).or_default().apply_class(class, changes);
    }

    fn apply_sidecar(&mut self, id: ProxyKey, view: Option<Arc<SidecarView>>) {
        let problems = view
            .as_ref()
            .map(|view| meshspan_envoy::sidecar_problems(&view.sidecar.dataplane));
        match problems.filter(|problems| !problems.is_empty()) {
            Some(problems) => self.problems.insert(id.clone(), problems),
            None => self.problems.remove(&id),
        };
        let before = match &view {
            Some(view) => self.views.insert(id.clone(), view.clone()),
            None => self.views.remove(&id),
        };
        for key in before.iter().flat_map(|before| before.named()) {
            if let Some(users) = self.limited.get_mut(key) {
                users.remove(&id);
                if users.is_empty() {
                    self.limited.remove(key);
                }
            }
        }
        for key in view.iter().flat_map(|view| view.named()) {
            self.limited.entry(key.clone()).or_default().insert(id.clone());
        }
        if let Some(proxy) = self.proxies.get_mut(&id) {
            // Which shared half it has, and whether it has one at all, is not among the names that change.
            let shares = |view: &Arc<SidecarView>| view.all_destinations.then(|| view.class.clone());
            proxy.fresh |= before.as_ref().map(shares) != view.as_ref().map(shares);
            self.stale.insert(id.clone());
        }
        self.identities_changed.insert(id);
    }

    /// True if the listeners of ingresses must be made again: a destination came, went or changed its server name.
    fn apply_to_ingresses(&mut self, key: &DestinationKey, destination: Option<&Arc<Destination>>) -> bool {
        // Other zones enter for what has a place here: every multi-zone service, and the services of this zone.
        let served = destination.filter(|destination| {
            destination.tls.is_some()
                && (key.service.kind == Kind::MeshMultiZoneService
                    || destination.localities.iter().any(|locality| !locality.through_ingress))
        });
        match served {
            Some(destination) => {
                for encoded in [
                    meshspan_envoy::ingress_cluster(destination),
                    meshspan_envoy::ingress_endpoints(destination),
                ] {
                    put(&mut self.ingress_shared, &mut self.ingress_changed, encoded);
                }
                let before = self.ingress_destinations.insert(key.clone(), destination.clone());
                let sni = |destination: &Arc<Destination>| destination.tls.as_ref().map(|tls| tls.sni.clone());
                before.as_ref().map(sni) != Some(sni(destination))
            }
            None => {
                let Some(before) = self.ingress_destinations.remove(key) else {
                    return false;
                };
                for encoded in [
                    meshspan_envoy::ingress_cluster(&before),
                    meshspan_envoy::ingress_endpoints(&before),
                ] {
                    take(&mut self.ingress_shared, &mut self.ingress_changed, &encoded);
                }
                true
            }
        }
    }

    /// Publishes to each stream what changed for it; proxies for which nothing did are not looked at.
    pub(super) fn publish(&mut self) {
        let mut due = std::mem::take(&mut self.stale);
        for id in &due {
            self.remake(id);
        }
        let ingress_changed = std::mem::take(&mut self.ingress_changed);
        if !ingress_changed.is_empty() {
            due.extend(of_mesh(&self.proxies, ProxyKind::ZoneIngress, "").map(|(id, _)| id.clone()));
        }
        let mut mesh_changed = BTreeMap::new();
        for (name, pool) in &mut self.meshes {
            let changed = pool.take_changed();
            if !changed.is_empty() {
                let shares = |id: &ProxyKey| {
                    let view = self.views.get(id).filter(|view| view.all_destinations);
                    view.is_some_and(|view| changed.contains_key(&view.class))
                };
                due.extend(
                    of_mesh(&self.proxies, ProxyKind::Sidecar, name)
                        .map(|(id, _)| id)
                        .filter(|id| shares(id))
                        .cloned(),
                );
                mesh_changed.insert(name.clone(), changed);
            }
        }
        let nothing = Names::new();
        for id in due {
            let Some(proxy) = self.proxies.get_mut(&id) else {
                continue;
            };
            let pool = self.meshes.get(&id.mesh);
            let (shared, changed) = match (self.views.get(&id), pool) {
                _ if id.kind == ProxyKind::ZoneIngress && self.ingresses.contains_key(&id.name) => {
                    (self.ingress_shared.clone(), &ingress_changed)
                }
                (Some(view), Some(pool)) if view.all_destinations => {
                    let changed = mesh_changed.get(&id.mesh).and_then(|classes| classes.get(&view.class));
                    (pool.shared(&view.class), changed.unwrap_or(&nothing))
                }
                (Some(_), _) => (ResourceSet::new(), &nothing),
                // Its resource is not stored (any more): it keeps what it has.
                (None, _) => continue,
            };
            proxy.publish(shared, changed);
        }
        self.meshes.retain(|_, pool| !pool.is_empty());
    }

    /// Makes the own half of a proxy again.
    fn remake(&mut self, id: &ProxyKey) {
        let Some(proxy) = self.proxies.get_mut(id) else { return };
        let own = if id.kind == ProxyKind::ZoneIngress {
            let Some(ingress) = self.ingresses.get(&id.name) else {
                return;
            };
            let ingress = Ingress {
                name: id.name.clone(),
                zone: self.zone.clone(),
                ingress: ingress.clone(),
                destinations: self.ingress_destinations.values().cloned().collect(),
            };
            vec![meshspan_envoy::ingress_listener(&ingress)]
        } else {
            let Some(view) = self.views.get(id) else { return };
            let pool = self.meshes.get(&id.mesh);
            for users in self.routed.values_mut() {
                users.remove(id);
            }
            for key in routed_to(view, pool) {
                self.routed.entry(key).or_default().insert(id.clone());
            }
            self.routed.retain(|_, users| !users.is_empty());
            own_half(id, view, pool, proxy)
        };
        proxy.replace_own(own);
    }
}

/// Proxies of a kind in a mesh.
fn of_mesh<'a>(
    proxies: &'a BTreeMap<ProxyKey, Proxy>,
    kind: ProxyKind,
    mesh: &'a str,
) -> impl Iterator<Item = (&'a ProxyKey, &'a Proxy)> {
    let first = ProxyKey::new(kind, mesh, "");
    proxies
        .range(first..)
        .take_while(move |(id, _)| id.kind == kind && id.mesh == mesh)
}

/// The destinations to which routes of a sidecar's own outbounds lead.
fn routed_to(view: &SidecarView, pool: Option<&MeshPool>) -> BTreeSet<DestinationKey> {
    let seen = view.named().filter_map(|key| pool?.seen(&view.class, key));
    seen.flat_map(|seen| seen.policies.route_destinations().cloned().collect::<Vec<_>>())
        .collect()
}

fn own_half(id: &ProxyKey, view: &SidecarView, pool: Option<&MeshPool>, proxy: &Proxy) -> Vec<Encoded> {
    let mut sidecar = view.sidecar.clone();
    let mut resources = Vec::new();
    let seen = |key: &DestinationKey| pool.and_then(|pool| pool.seen(&view.class, key));
    for outbound in &view.outbounds {
        let Some(found) = seen(&outbound.destination) else {
            continue;
        };
        for routed in found.policies.route_destinations().filter_map(seen) {
            resources.extend(routed.made.without_listener().cloned());
        }
        for behind in outbound.fallbacks.iter().filter_map(seen) {
            resources.extend(behind.made.without_listener().cloned());
        }
        match outbound.address {
            None => resources.extend(found.made.all().cloned()),
            Some(address) => {
                resources.extend(found.made.without_listener().cloned());
                sidecar.outbounds.push(Outbound {
                    address,
                    port: outbound.port,
                    bind: outbound.bind,
                    destination: found.destination.clone(),
                    policies: found.policies.clone(),
                    fallbacks: outbound.fallbacks.clone(),
                });
            }
        }
    }
    resources.extend(meshspan_envoy::sidecar(&sidecar, &proxy.options));
    if let Some(identity) = &proxy.identity {
        resources.push(meshspan_envoy::secrets::trust_bundle(&id.mesh, &identity.trust_pem));
    }
    resources
}

impl Proxy {
    fn replace_own(&mut self, resources: Vec<Encoded>) {
        let before = std::mem::take(&mut self.own);
        for encoded in resources {
            put(&mut self.own, &mut Names::new(), encoded);
        }
        if let Some(identity) = &self.identity {
            self.own.insert(ResourceType::Secret, identity.certificate.clone());
        }
        for ty in ResourceType::ALL {
            for resource in before.iter(ty) {
                if self
                    .own
                    .get(ty, resource.name())
                    .is_none_or(|after| after.version() != resource.version())
                {
                    self.changed.insert((ty, resource.name().clone()));
                }
            }
            for resource in self.own.iter(ty) {
                if before.get(ty, resource.name()).is_none() {
                    self.changed.insert((ty, resource.name().clone()));
                }
            }
        }
    }

    fn publish(&mut self, shared: ResourceSet, shared_changed: &Names) {
        let own = self.logs.left_out(&shared, &self.own);
        let changes = if self.fresh || own.is_some() {
            Changes::All
        } else {
            Changes::Named(self.changed.union(shared_changed).cloned().collect())
        };
        self.changed.clear();
        self.fresh = false;
        if !changes.is_empty() {
            self.feed.publish(
                Snapshot {
                    shared,
                    own: own.unwrap_or_else(|| self.own.clone()),
                },
                changes,
            );
        }
    }
}

fn type_of(encoded: &Encoded) -> ResourceType {
    match encoded.resource_type {
        meshspan_envoy::ResourceType::Cluster => ResourceType::Cluster,
        meshspan_envoy::ResourceType::Endpoint => ResourceType::Endpoint,
        meshspan_envoy::ResourceType::Listener => ResourceType::Listener,
        meshspan_envoy::ResourceType::Secret => ResourceType::Secret,
    }
}

/// Adds or replaces a resource and remembers its name, unless it is there already.
fn put(set: &mut ResourceSet, changed: &mut Names, encoded: Encoded) {
    let ty = type_of(&encoded);
    if set
        .get(ty, &encoded.name)
        .is_none_or(|old| old.version() != &encoded.version)
    {
        changed.insert((ty, encoded.name.clone()));
        set.insert(ty, Resource::new(encoded.name, encoded.version, encoded.body));
    }
}

fn take(set: &mut ResourceSet, changed: &mut Names, encoded: &Encoded) {
    let ty = type_of(encoded);
    if set.remove(ty, &encoded.name) {
        changed.insert((ty, encoded.name.clone()));
    }
}
