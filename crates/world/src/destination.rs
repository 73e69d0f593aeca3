//! Destinations: for each port of each service, where its traffic goes from this zone (`spec/dataplane.md` §3.1, §3.2).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_model::ServiceIdentity;
use meshspan_model::kinds::mesh::TlsMode;
use meshspan_model::kinds::mesh_service::{SPIFFE_ID, ServiceIdentityRef, State};

use crate::ingress_addresses::IngressAddresses;
use crate::mesh_state::{MeshState, MultiZoneEntry, ServiceEntry};
use crate::multi_zone::matching_port;
use crate::service::{add_endpoint, local_endpoints};
use crate::sni::sni;
use crate::view::{Destination, DestinationKey, Endpoint, Locality, PeerTls, Protocol};

/// Universal zones have no namespace of their own.
const NO_SYSTEM_NAMESPACE: &str = "";
/// Priority of the own zone.
const LOCAL: u32 = 0;
/// Priority of all other zones.
const REMOTE: u32 = 1;

/// The identity of a service as all zones know it; a local service carries the own zone even without the label.
pub(crate) fn identity_of(service: &ServiceEntry) -> ServiceIdentity {
    ServiceIdentity {
        zone: service.zone.clone(),
        ..service.resource.identity()
    }
}

/// One destination a port of a MeshService.
pub(crate) fn of_service(
    mesh: &MeshState,
    service: &ServiceEntry,
    own_zone: &str,
    ingresses: &IngressAddresses,
) -> BTreeMap<DestinationKey, Destination> {
    let Some(spec) = &mesh.mesh else { return BTreeMap::new() };
    let backend = spec.enabled_backend();
    let permissive = backend.is_some_and(|backend| backend.mode == TlsMode::Permissive);
    let identity = identity_of(service);
    let destination = |port: &meshspan_model::kinds::mesh_service::Port| {
        let key = DestinationKey {
            service: identity.clone(),
            section: port.section(),
        };
        let plain = backend.is_none() || (service.local && permissive && !service.derived.tls_ready);
        let localities = if service.local {
            vec![Locality {
                zone: service.zone.clone(),
                priority: LOCAL,
                through_ingress: false,
                endpoints: local_endpoints(mesh, service, port),
            }]
        } else if backend.is_some() {
            vec![through_ingress(&service.zone, true, ingresses)]
        } else {
            Vec::new()
        };
        let tls = PeerTls {
            spiffe_ids: spiffe_ids(&identity.mesh, &service.derived.identities),
            sni: sni(&identity, port.port, NO_SYSTEM_NAMESPACE),
        };
        let destination = Destination {
            key: key.clone(),
            zone: own_zone.to_owned(),
            port: port.port,
            vip: service.derived.vip,
            protocol: Protocol::parse(&port.app_protocol),
            tls: (!plain).then_some(tls),
            localities,
        };
        (key, destination)
    };
    service.spec.ports.iter().map(destination).collect()
}

/// One destination a port of a MeshMultiZoneService: the union of what matches, one locality a zone.
pub(crate) fn of_multi_zone(
    mesh: &MeshState,
    entry: &MultiZoneEntry,
    own_zone: &str,
    ingresses: &IngressAddresses,
) -> BTreeMap<DestinationKey, Destination> {
    let Some(spec) = &mesh.mesh else { return BTreeMap::new() };
    let has_mtls = spec.enabled_backend().is_some();
    let identity = entry.resource.identity();
    let mut destinations = BTreeMap::new();
    for port in &entry.spec.ports {
        let mut local = BTreeMap::new();
        let mut remote: BTreeMap<&str, bool> = BTreeMap::new();
        let mut spiffe = BTreeSet::new();
        for service in entry.matched.iter().filter_map(|name| mesh.services.get(name)) {
            let Some(service_port) = matching_port(&service.spec.ports, port) else {
                continue;
            };
            spiffe.extend(spiffe_ids(&identity.mesh, &service.derived.identities));
            if service.local {
                for endpoint in local_endpoints(mesh, service, service_port) {
                    add_endpoint(&mut local, endpoint);
                }
            } else if has_mtls {
                *remote.entry(&service.zone).or_default() |= service.derived.state == State::Available;
            }
        }
        let own = Locality {
            zone: own_zone.to_owned(),
            priority: LOCAL,
            through_ingress: false,
            endpoints: local.into_values().collect(),
        };
        let others = remote
            .into_iter()
            .map(|(zone, available)| through_ingress(zone, available, ingresses));
        let key = DestinationKey {
            service: identity.clone(),
            section: port.section(),
        };
        let destination = Destination {
            key: key.clone(),
            zone: own_zone.to_owned(),
            port: port.port,
            vip: entry.vip,
            protocol: Protocol::parse(&port.app_protocol),
            tls: has_mtls.then(|| PeerTls {
                spiffe_ids: spiffe,
                sni: sni(&identity, port.port, NO_SYSTEM_NAMESPACE),
            }),
            localities: std::iter::once(own)
                .chain(others)
                .filter(|locality| !locality.endpoints.is_empty())
                .collect(),
        };
        destinations.insert(key, destination);
    }
    destinations
}

fn through_ingress(zone: &str, available: bool, ingresses: &IngressAddresses) -> Locality {
    let endpoints: BTreeSet<_> = ingresses
        .of_zone(zone)
        .map(|(address, port)| Endpoint {
            address,
            port,
            ready: available,
            tags: Arc::default(),
        })
        .collect();
    Locality {
        zone: zone.to_owned(),
        priority: REMOTE,
        through_ingress: true,
        endpoints: endpoints.into_iter().collect(),
    }
}

fn spiffe_ids(mesh: &str, identities: &[ServiceIdentityRef]) -> BTreeSet<String> {
    let id = |identity: &ServiceIdentityRef| match identity.identity_type.as_str() {
        SPIFFE_ID => identity.value.clone(),
        _ => format!("spiffe://{mesh}/{}", identity.value),
    };
    identities.iter().map(id).collect()
}
