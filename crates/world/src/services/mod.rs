//! The services of a mesh: what clients name and dial, whatever kind of resource says so.
//!
//! All of them are in one map, [`Services`]. What a kind knows beyond what all have in common is its variant of
//! [`ServiceEntry`], one file each; nothing outside of this folder tells kinds apart.

mod external;
mod mesh_service;
mod mesh_service_conditions;
mod multi_zone;
mod multi_zone_conditions;
mod reach;
mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meshspan_model::kinds::mesh_service::{Address, HostnameGeneratorStatus, Vip, section};
use meshspan_model::{Resource, ResourceKey, ServiceIdentity, ServiceKind, Violations};
use serde_json::Value;
use time::OffsetDateTime;

pub(crate) use external::ExternalEntry;
pub(crate) use mesh_service::{MeshServiceEntry, inbounds_of_port, selects};
pub(crate) use multi_zone::MultiZoneEntry;
pub(crate) use reference::Reference;

use crate::mesh_state::MeshState;
use crate::view::{Destination, DestinationKey};
use crate::vips::VipRange;
use crate::zone_proxies::ZoneProxies;

/// A service of a mesh, by kind and core name. Kinds are ordered so that one depends on those before it only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ServiceKey {
    pub(crate) kind: ServiceKind,
    pub(crate) name: String,
}

impl ServiceKey {
    pub(crate) fn new(kind: ServiceKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }

    pub(crate) fn resource(&self, mesh: &str) -> ResourceKey {
        ResourceKey::new(self.kind.kind(), mesh, self.name.as_str())
    }
}

/// A service, typed.
#[derive(Clone, Debug)]
pub(crate) enum ServiceEntry {
    MeshService(MeshServiceEntry),
    MultiZone(MultiZoneEntry),
    External(ExternalEntry),
}

/// What others refer to in a service: they are to be derived again if it changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Face {
    pub(crate) target: meshspan_policy::Service,
    pub(crate) references: BTreeSet<Reference>,
}

/// What deriving a service depends on beside its mesh.
pub(crate) struct Context<'a> {
    pub(crate) zone: &'a str,
    pub(crate) federated: bool,
    /// Zone ingresses of all zones.
    pub(crate) ingresses: &'a ZoneProxies,
    /// Zone egresses of the own zone.
    pub(crate) egresses: &'a ZoneProxies,
    /// Where the virtual IPs of its kind lie.
    pub(crate) range: VipRange,
}

/// What deriving a service brought.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) destinations: BTreeMap<DestinationKey, Destination>,
    /// The service with what the zone computes into its spec, if that is news.
    pub(crate) put: Option<Resource>,
    /// Its status, if that is news.
    pub(crate) status: Option<Value>,
    /// What the global is to know of it, if that is news.
    pub(crate) insight: Option<Resource>,
    /// Services that depend on it; of later kinds only.
    pub(crate) dependents: Vec<ServiceKey>,
}

/// The parts of a status that every kind of service has.
pub(crate) struct Names {
    pub(crate) addresses: Vec<Address>,
    pub(crate) hostname_generators: Vec<HostnameGeneratorStatus>,
}

impl ServiceEntry {
    /// The typed form of a resource; `old` is what it replaces.
    ///
    /// # Errors
    /// The resource does not fit its kind.
    pub(crate) fn load(
        kind: ServiceKind,
        resource: Arc<Resource>,
        old: Option<&Self>,
        mesh: &MeshState,
        own_zone: &str,
    ) -> Result<Self, Violations> {
        Ok(match kind {
            ServiceKind::MeshService => {
                let old = old.and_then(Self::as_mesh_service);
                Self::MeshService(MeshServiceEntry::load(resource, old, mesh, own_zone)?)
            }
            ServiceKind::MeshMultiZoneService => {
                let old = old.and_then(Self::as_multi_zone);
                Self::MultiZone(MultiZoneEntry::load(resource, old, mesh)?)
            }
            ServiceKind::MeshExternalService => {
                let old = old.and_then(Self::as_external);
                Self::External(ExternalEntry::load(resource, old)?)
            }
        })
    }

    pub(crate) fn resource(&self) -> &Arc<Resource> {
        match self {
            Self::MeshService(entry) => &entry.resource,
            Self::MultiZone(entry) => &entry.resource,
            Self::External(entry) => &entry.resource,
        }
    }

    pub(crate) fn kind(&self) -> ServiceKind {
        match self {
            Self::MeshService(_) => ServiceKind::MeshService,
            Self::MultiZone(_) => ServiceKind::MeshMultiZoneService,
            Self::External(_) => ServiceKind::MeshExternalService,
        }
    }

    /// The identity by which all zones know it; a local service carries the own zone even without the label.
    pub(crate) fn identity(&self) -> ServiceIdentity {
        match self {
            Self::MeshService(entry) => entry.identity(),
            Self::MultiZone(_) | Self::External(_) => ServiceIdentity::of(self.kind(), self.resource()),
        }
    }

    /// Names and numbers of its ports.
    pub(crate) fn ports(&self) -> Vec<(&str, u32)> {
        match self {
            Self::MeshService(entry) => {
                let ports = entry.spec.ports.iter();
                ports.map(|port| (port.name.as_str(), port.port)).collect()
            }
            Self::MultiZone(entry) => {
                let ports = entry.spec.ports.iter();
                ports.map(|port| (port.name.as_str(), port.port)).collect()
            }
            Self::External(entry) => vec![("", entry.spec.matched.port)],
        }
    }

    /// Its destinations' keys, with the numbers that clients use.
    pub(crate) fn destination_keys(&self) -> Vec<(DestinationKey, u32)> {
        let service = self.identity();
        let key = |(name, port): (&str, u32)| {
            let key = DestinationKey {
                service: service.clone(),
                section: section(name, port),
            };
            (key, port)
        };
        self.ports().into_iter().map(key).collect()
    }

    pub(crate) fn vip(&self) -> Option<IpAddr> {
        match self {
            Self::MeshService(entry) => entry.derived.vip,
            Self::MultiZone(entry) => entry.vip,
            Self::External(entry) => entry.vip,
        }
    }

    /// The address in its status.
    pub(crate) fn stored_vip(&self) -> Option<IpAddr> {
        let vip = match self {
            Self::MeshService(entry) => entry.status.vips.first(),
            Self::MultiZone(entry) => entry.status.vips.first(),
            Self::External(entry) => Some(&entry.status.vip),
        };
        vip.and_then(|vip| vip.ip.parse().ok())
    }

    pub(crate) fn face(&self) -> Face {
        let resource = self.resource();
        let ports = self
            .ports()
            .into_iter()
            .map(|(name, port)| meshspan_policy::ServicePort {
                name: name.to_owned(),
                port,
            });
        Face {
            target: meshspan_policy::Service {
                identity: self.identity(),
                labels: resource.labels.clone(),
                ports: ports.collect(),
                creation_time: resource.creation_time,
            },
            references: reference::answered_by(self),
        }
    }

    /// Enters the indexes of its kind.
    pub(crate) fn index(&self, mesh: &mut MeshState) {
        match self {
            Self::MeshService(entry) => entry.index(mesh),
            Self::MultiZone(entry) => entry.index(mesh),
            Self::External(entry) => entry.index(mesh),
        }
    }

    /// Leaves the indexes of its kind.
    pub(crate) fn deindex(&self, mesh: &mut MeshState) {
        match self {
            Self::MeshService(entry) => entry.deindex(mesh),
            Self::MultiZone(entry) => entry.deindex(mesh),
            Self::External(entry) => entry.deindex(mesh),
        }
    }

    pub(crate) fn as_mesh_service(&self) -> Option<&MeshServiceEntry> {
        match self {
            Self::MeshService(entry) => Some(entry),
            Self::MultiZone(_) | Self::External(_) => None,
        }
    }

    pub(crate) fn as_multi_zone(&self) -> Option<&MultiZoneEntry> {
        match self {
            Self::MultiZone(entry) => Some(entry),
            Self::MeshService(_) | Self::External(_) => None,
        }
    }

    fn as_external(&self) -> Option<&ExternalEntry> {
        match self {
            Self::External(entry) => Some(entry),
            Self::MeshService(_) | Self::MultiZone(_) => None,
        }
    }
}

/// Derives a service that is there, with this virtual IP.
pub(crate) fn derive(mesh: &mut MeshState, key: &ServiceKey, vip: Option<IpAddr>, context: &Context<'_>) -> Outcome {
    match key.kind {
        ServiceKind::MeshService => mesh_service::derive(mesh, &key.name, vip, context),
        ServiceKind::MeshMultiZoneService => multi_zone::derive(mesh, &key.name, vip, context),
        ServiceKind::MeshExternalService => external::derive(mesh, &key.name, vip, context),
    }
}

/// All services of a mesh.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    of_kind: BTreeMap<ServiceKind, BTreeMap<String, ServiceEntry>>,
    answering: BTreeMap<Reference, BTreeSet<ServiceKey>>,
}

impl Services {
    pub(crate) fn get(&self, key: &ServiceKey) -> Option<&ServiceEntry> {
        self.of_kind.get(&key.kind)?.get(&key.name)
    }

    fn get_mut(&mut self, kind: ServiceKind, name: &str) -> Option<&mut ServiceEntry> {
        self.of_kind.get_mut(&kind)?.get_mut(name)
    }

    pub(crate) fn insert(&mut self, key: &ServiceKey, entry: ServiceEntry, face: &Face) {
        for reference in &face.references {
            self.answering.entry(reference.clone()).or_default().insert(key.clone());
        }
        self.of_kind
            .entry(key.kind)
            .or_default()
            .insert(key.name.clone(), entry);
    }

    /// Takes a service out, which had this face.
    pub(crate) fn remove(&mut self, key: &ServiceKey, face: &Face) {
        for reference in &face.references {
            if let Some(keys) = self.answering.get_mut(reference) {
                keys.remove(key);
                if keys.is_empty() {
                    self.answering.remove(reference);
                }
            }
        }
        if let Some(of_kind) = self.of_kind.get_mut(&key.kind) {
            of_kind.remove(&key.name);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ServiceKey, &ServiceEntry)> {
        let of_kind = self.of_kind.iter();
        of_kind.flat_map(|(kind, services)| {
            services
                .iter()
                .map(|(name, entry)| (ServiceKey::new(*kind, name), entry))
        })
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = ServiceKey> + '_ {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn mesh_service(&self, name: &str) -> Option<&MeshServiceEntry> {
        let services = self.of_kind.get(&ServiceKind::MeshService)?;
        services.get(name)?.as_mesh_service()
    }

    pub(crate) fn mesh_service_mut(&mut self, name: &str) -> Option<&mut MeshServiceEntry> {
        match self.get_mut(ServiceKind::MeshService, name)? {
            ServiceEntry::MeshService(entry) => Some(entry),
            ServiceEntry::MultiZone(_) | ServiceEntry::External(_) => None,
        }
    }

    pub(crate) fn mesh_services(&self) -> impl Iterator<Item = (&String, &MeshServiceEntry)> {
        let services = self.of_kind.get(&ServiceKind::MeshService).into_iter().flatten();
        services.filter_map(|(name, entry)| Some((name, entry.as_mesh_service()?)))
    }

    pub(crate) fn multi_zone(&self, name: &str) -> Option<&MultiZoneEntry> {
        let services = self.of_kind.get(&ServiceKind::MeshMultiZoneService)?;
        services.get(name)?.as_multi_zone()
    }

    pub(crate) fn multi_zone_mut(&mut self, name: &str) -> Option<&mut MultiZoneEntry> {
        match self.get_mut(ServiceKind::MeshMultiZoneService, name)? {
            ServiceEntry::MultiZone(entry) => Some(entry),
            ServiceEntry::MeshService(_) | ServiceEntry::External(_) => None,
        }
    }

    fn external(&self, name: &str) -> Option<&ExternalEntry> {
        let services = self.of_kind.get(&ServiceKind::MeshExternalService)?;
        services.get(name)?.as_external()
    }

    fn external_mut(&mut self, name: &str) -> Option<&mut ExternalEntry> {
        match self.get_mut(ServiceKind::MeshExternalService, name)? {
            ServiceEntry::External(entry) => Some(entry),
            ServiceEntry::MeshService(_) | ServiceEntry::MultiZone(_) => None,
        }
    }

    /// Services that answer to a reference, oldest first.
    pub(crate) fn answering(&self, reference: &Reference) -> Vec<(&ServiceKey, &ServiceEntry)> {
        let keys = self.answering.get(reference).into_iter().flatten();
        let mut found: Vec<_> = keys.filter_map(|key| Some((key, self.get(key)?))).collect();
        found.sort_by_key(|(key, entry)| (age(entry), *key));
        found
    }
}

fn age(entry: &ServiceEntry) -> OffsetDateTime {
    entry.resource().creation_time
}

/// The VIPs to store: the one in use; addresses that others put there, such as a ClusterIP, stay behind it.
fn vips(vip: Option<IpAddr>, stored: &[Vip]) -> Vec<Vip> {
    let own = vip.map(|ip| Vip { ip: ip.to_string() });
    let others = stored
        .iter()
        .skip(1)
        .filter(|other| own.as_ref() != Some(*other))
        .cloned();
    own.clone().into_iter().chain(others).collect()
}

fn names(mesh: &MeshState, key: &ServiceKey) -> Names {
    let (addresses, hostname_generators) = mesh.hostnames.of(key);
    Names {
        addresses,
        hostname_generators,
    }
}

/// A status as it was stored; an empty one if it does not parse, since the control plane writes it anew.
fn stored_status<T: serde::de::DeserializeOwned + Default>(resource: &Resource) -> T {
    let status = resource.status.as_ref();
    status
        .and_then(|status| serde_json::from_value(status.clone()).ok())
        .unwrap_or_default()
}

/// A status as it is to be stored.
fn status_value<T: serde::Serialize>(status: &T) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}
