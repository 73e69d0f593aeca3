//! What a zone's control plane makes of a set: the resources of each proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_envoy::{Encoded, ProxyOptions};
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_world::view::{
    ClassKey, Destination, DestinationKey, DestinationPolicies, Ingress, Outbound, SidecarView,
};
use meshspan_world::{Changes, Settings, VipRange, World, Write};
use time::{Duration, OffsetDateTime};

use crate::names::ZONE;

const OPTIONS: ProxyOptions = ProxyOptions {
    socket_mark: 4660,
    ipv6: true,
    system_ca: None,
};

type ByDestination = BTreeMap<DestinationKey, Arc<DestinationPolicies>>;

/// A world, its store, and what it last said.
pub struct ControlPlane {
    world: World,
    store: BTreeMap<ResourceKey, Arc<Resource>>,
    destinations: BTreeMap<DestinationKey, Arc<Destination>>,
    sidecars: BTreeMap<(String, String), Arc<SidecarView>>,
    policies: BTreeMap<(String, ClassKey), ByDestination>,
    now: OffsetDateTime,
}

impl ControlPlane {
    /// Takes a set and derives until nothing changes.
    ///
    /// # Errors
    /// A resource that is valid and yet not understood.
    pub fn of(resources: Vec<Resource>) -> Result<Self, String> {
        let settings = Settings {
            zone: ZONE.to_owned(),
            federated: true,
            mesh_service_vips: VipRange::parse("241.0.0.0/8").unwrap(),
            mesh_external_service_vips: VipRange::parse("242.0.0.0/8").unwrap(),
            mesh_multi_zone_service_vips: VipRange::parse("243.0.0.0/8").unwrap(),
            deletion_grace_period: Duration::hours(1),
        };
        let mut control_plane = Self {
            world: World::new(settings),
            store: BTreeMap::new(),
            destinations: BTreeMap::new(),
            sidecars: BTreeMap::new(),
            policies: BTreeMap::new(),
            now: OffsetDateTime::UNIX_EPOCH + Duration::days(20_000),
        };
        for resource in resources {
            control_plane.put(resource);
        }
        control_plane.settle()?;
        Ok(control_plane)
    }

    fn put(&mut self, mut resource: Resource) {
        let key = resource.key();
        resource.creation_time = self.now;
        resource.status = self.store.get(&key).and_then(|old| old.status.clone());
        self.write(key, Some(resource));
    }

    fn write(&mut self, key: ResourceKey, resource: Option<Resource>) {
        let resource = resource.map(Arc::new);
        self.world.apply(&key, resource.as_ref());
        match resource {
            Some(resource) => self.store.insert(key, resource),
            None => self.store.remove(&key),
        };
    }

    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..20 {
            let changes = self.world.derive(self.now);
            if let Some(problem) = changes.problems.first() {
                return Err(format!("{} is not understood: {}", problem.key, problem.violations));
            }
            let writes = self.take(changes);
            if writes.is_empty() {
                return Ok(());
            }
            for write in writes {
                match write {
                    Write::Put(resource) => self.put(resource),
                    Write::Delete(key) => self.write(key, None),
                    Write::Status(key, status) => {
                        let mut resource = (**self.store.get(&key).unwrap()).clone();
                        resource.status = Some(status);
                        self.write(key, Some(resource));
                    }
                }
            }
        }
        Err("derivation does not come to rest".to_owned())
    }

    fn take(&mut self, changes: Changes) -> Vec<Write> {
        replace(&mut self.destinations, changes.destinations);
        replace(&mut self.sidecars, changes.sidecars);
        for (key, changed) in changes.policies {
            match changed {
                Some(changed) => replace(self.policies.entry(key).or_default(), changed),
                None => {
                    self.policies.remove(&key);
                }
            }
        }
        changes.writes
    }

    /// Everything that each proxy gets, by its mesh and name; certificates left out.
    pub fn proxies(&self) -> BTreeMap<String, Vec<Encoded>> {
        let sidecars = self
            .sidecars
            .iter()
            .map(|((mesh, name), view)| (format!("{mesh}/{name}"), self.sidecar(view)));
        let ingresses = self
            .store
            .values()
            .filter(|resource| resource.kind == Kind::ZoneIngress);
        let own = ingresses.filter(|resource| resource.zone() == ZONE);
        sidecars
            .chain(own.map(|resource| (resource.name.clone(), self.ingress(resource))))
            .collect()
    }

    fn sidecar(&self, view: &SidecarView) -> Vec<Encoded> {
        let mesh = &view.sidecar.mesh;
        let nothing = ByDestination::new();
        let policies = self
            .policies
            .get(&(mesh.clone(), view.class.clone()))
            .unwrap_or(&nothing);
        let about = |key: &DestinationKey| policies.get(key).cloned().unwrap_or_default();
        let mut resources = Resources::default();
        let mut sidecar = view.sidecar.clone();
        let mut reached = BTreeSet::new();
        if view.all_destinations {
            for (key, destination) in self.destinations.iter().filter(|(key, _)| key.service.mesh == *mesh) {
                reached.insert(key.clone());
                if let Some(address) = destination.vip {
                    resources.add(meshspan_envoy::outbound_listener(&Outbound {
                        address,
                        port: destination.port,
                        bind: false,
                        destination: destination.clone(),
                        policies: about(key),
                        fallbacks: Vec::new(),
                        source: None,
                    }));
                }
            }
        }
        for outbound in &view.outbounds {
            let Some(destination) = self.destinations.get(&outbound.destination) else {
                continue;
            };
            let Some(address) = outbound.address.or(destination.vip) else {
                continue;
            };
            reached.extend(outbound.destinations().cloned());
            reached.extend(about(&outbound.destination).route_destinations().cloned());
            sidecar.outbounds.push(Outbound {
                address,
                port: outbound.port,
                bind: outbound.bind,
                destination: destination.clone(),
                policies: about(&outbound.destination),
                fallbacks: outbound.fallbacks.clone(),
                source: Some(view.sidecar.source.clone()),
            });
        }
        for key in &reached {
            let Some(destination) = self.destinations.get(key) else {
                continue;
            };
            let policies = about(key);
            resources.add(meshspan_envoy::destination_cluster(destination, &policies));
            resources.add(meshspan_envoy::destination_endpoints(destination, &policies));
            meshspan_envoy::outbound_clusters(destination, &policies)
                .into_iter()
                .for_each(|cluster| resources.add(cluster));
        }
        meshspan_envoy::sidecar(&sidecar, &OPTIONS)
            .into_iter()
            .for_each(|resource| resources.add(resource));
        resources.0
    }

    fn ingress(&self, resource: &Resource) -> Vec<Encoded> {
        meshspan_envoy::ingress(&Ingress {
            name: resource.name.clone(),
            zone: ZONE.to_owned(),
            ingress: Arc::new(resource.parse().unwrap()),
            destinations: self
                .destinations
                .values()
                .filter(|one| one.is_behind_ingress())
                .cloned()
                .collect(),
        })
    }
}

/// Resources of one proxy, one of each name and type.
#[derive(Default)]
struct Resources(Vec<Encoded>);

impl Resources {
    fn add(&mut self, new: Encoded) {
        let is_new = |old: &Encoded| (old.resource_type, &old.name) != (new.resource_type, &new.name);
        if self.0.iter().all(is_new) {
            self.0.push(new);
        }
    }
}

fn replace<K: Ord, V>(all: &mut BTreeMap<K, V>, changes: BTreeMap<K, Option<V>>) {
    for (key, value) in changes {
        match value {
            Some(value) => all.insert(key, value),
            None => all.remove(&key),
        };
    }
}
