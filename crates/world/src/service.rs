//! MeshServices: which proxies they select, their state, identities and status (`spec/resources.md` §2.7, §7).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use meshspan_model::Kind;
use meshspan_model::Resource;
use meshspan_model::kinds::dataplane::{Dataplane, Inbound, InboundState};
use meshspan_model::kinds::mesh_service::{
    DataplaneProxies, MeshService, MeshServiceStatus, Port, SERVICE_TAG, ServiceIdentityRef, State, TlsReadiness,
    TlsStatus, Vip,
};
use meshspan_model::labels::TAG_SERVICE;

use crate::mesh_state::{DataplaneEntry, MeshState, ServiceEntry};
use crate::service_conditions;
use crate::view::Endpoint;
use crate::vips::VipRange;

/// What the world knows of a service beyond its resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Derived {
    pub(crate) state: State,
    pub(crate) identities: Vec<ServiceIdentityRef>,
    pub(crate) tls_ready: bool,
    pub(crate) vip: Option<IpAddr>,
    pub(crate) proxies: DataplaneProxies,
}

/// True if a MeshService selects a Dataplane. An empty selector selects nothing.
pub(crate) fn selects(service: &MeshService, entry: &DataplaneEntry) -> bool {
    service.selects(&entry.resource.name, &entry.resource.labels, &entry.spec)
}

/// The inbounds of a Dataplane that a port means.
pub(crate) fn inbounds_of_port<'a>(
    dataplane: &'a Dataplane,
    port: &Port,
) -> impl Iterator<Item = (usize, &'a Inbound)> {
    let target = port.target();
    dataplane
        .networking
        .inbound
        .iter()
        .enumerate()
        .filter(move |(_, inbound)| target.is(inbound))
}

/// The endpoints of a local service's port, ordered by address and port; unready ones included.
pub(crate) fn local_endpoints(mesh: &MeshState, service: &ServiceEntry, port: &Port) -> Vec<Endpoint> {
    let mut endpoints = BTreeMap::new();
    for name in &service.matched {
        let Some(entry) = mesh.dataplanes.get(name) else {
            continue;
        };
        for (index, inbound) in inbounds_of_port(&entry.spec, port) {
            if inbound.state == InboundState::Ignored {
                continue;
            }
            let Ok(address) = entry.spec.peer_address(inbound).parse::<IpAddr>() else {
                continue;
            };
            let ready = mesh.serves(name, inbound);
            let tags = entry.tags.get(index).cloned().unwrap_or_default();
            let endpoint = Endpoint {
                address,
                port: inbound.port,
                ready,
                tags,
            };
            add_endpoint(&mut endpoints, endpoint);
        }
    }
    endpoints.into_values().collect()
}

/// Adds an endpoint. Two Dataplanes with one address would be one endpoint; it is ready if either says so.
pub(crate) fn add_endpoint(endpoints: &mut BTreeMap<(IpAddr, u32), Endpoint>, new: Endpoint) {
    let known = endpoints.entry((new.address, new.port)).or_insert_with(|| new.clone());
    known.ready |= new.ready;
}

/// State, identities and counts of a local service.
pub(crate) fn derive_local(mesh: &MeshState, service: &ServiceEntry, vip: Option<IpAddr>) -> Derived {
    let mut proxies = DataplaneProxies::default();
    let mut identities = BTreeSet::new();
    let mut all_have_certificates = true;
    for name in &service.matched {
        let Some(entry) = mesh.dataplanes.get(name) else {
            continue;
        };
        let proxy = mesh.proxies.get(name);
        proxies.total += 1;
        proxies.connected += u32::from(proxy.is_some_and(|proxy| proxy.online));
        all_have_certificates &= proxy.is_some_and(|proxy| proxy.has_certificate);
        let answers = |port: &Port| inbounds_of_port(&entry.spec, port).any(|(_, inbound)| mesh.serves(name, inbound));
        proxies.healthy += u32::from(service.spec.ports.iter().all(answers));
        for inbound in &entry.spec.networking.inbound {
            if let Some(value) = inbound.tags.get(TAG_SERVICE) {
                identities.insert(ServiceIdentityRef {
                    identity_type: SERVICE_TAG.to_owned(),
                    value: value.clone(),
                });
            }
        }
    }
    // A service whose proxies are all gone keeps its identities, so that clients keep trusting what comes back.
    let identities = if identities.is_empty() {
        service.spec.identities.clone()
    } else {
        identities.into_iter().collect()
    };
    let has_mtls = mesh.mesh.as_ref().is_some_and(|mesh| mesh.enabled_backend().is_some());
    let was_ready = service.status.tls.status == Some(TlsReadiness::Ready);
    Derived {
        state: if proxies.healthy > 0 {
            State::Available
        } else {
            State::Unavailable
        },
        identities,
        tls_ready: has_mtls && (was_ready || all_have_certificates),
        vip,
        proxies,
    }
}

/// State and identities of another zone's service: what its zone says.
pub(crate) fn derive_remote(service: &ServiceEntry, vip: Option<IpAddr>) -> Derived {
    Derived {
        state: service.spec.state.unwrap_or_default(),
        identities: service.spec.identities.clone(),
        tls_ready: true,
        vip,
        proxies: DataplaneProxies::default(),
    }
}

/// The status to store; `hostnames` come from [`crate::hostnames::Hostnames::of`].
pub(crate) fn status(service: &ServiceEntry, mesh: &MeshState, range: VipRange) -> MeshServiceStatus {
    let derived = &service.derived;
    let (addresses, hostname_generators) = mesh.hostnames.of(&(Kind::MeshService, service.resource.name.clone()));
    let tls = if !service.local {
        service.status.tls
    } else {
        TlsStatus {
            status: Some(if derived.tls_ready {
                TlsReadiness::Ready
            } else {
                TlsReadiness::NotReady
            }),
        }
    };
    MeshServiceStatus {
        addresses,
        vips: vips(derived.vip, &service.status.vips),
        tls,
        hostname_generators,
        dataplane_proxies: derived.proxies,
        conditions: service_conditions::of(mesh, service, range),
    }
}

/// The VIPs to store: the one in use; addresses that others put there, such as a ClusterIP, stay behind it.
pub(crate) fn vips(vip: Option<IpAddr>, stored: &[Vip]) -> Vec<Vip> {
    let own = vip.map(|ip| Vip { ip: ip.to_string() });
    let others = stored
        .iter()
        .skip(1)
        .filter(|other| own.as_ref() != Some(*other))
        .cloned();
    own.clone().into_iter().chain(others).collect()
}

/// The address that a status holds.
pub(crate) fn stored_vip(vips: &[Vip]) -> Option<IpAddr> {
    vips.first().and_then(|vip| vip.ip.parse().ok())
}

/// A local service's resource with what the zone computes into its spec; `None` if nothing changes.
pub(crate) fn with_computed(service: &ServiceEntry) -> Option<Resource> {
    let mut spec = (*service.spec).clone();
    spec.state = Some(service.derived.state);
    spec.identities.clone_from(&service.derived.identities);
    if spec == *service.spec {
        return None;
    }
    let mut resource = (*service.resource).clone();
    resource.spec = meshspan_model::Spec::to_value(&spec);
    Some(resource)
}
