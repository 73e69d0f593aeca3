//! The part of a proxy's configuration that it does not share: its inbounds, and where its application may go.

use std::collections::BTreeMap;
use std::net::IpAddr;

use meshspan_model::Kind;
use meshspan_model::kinds::dataplane::{Dataplane, Outbound};
use meshspan_model::kinds::mesh::TlsMode;
use meshspan_model::kinds::mesh_service::{MeshService, SERVICE_TAG};
use meshspan_model::labels::{TAG_PROTOCOL, TAG_SERVICE, TAG_ZONE};

use crate::destination::identity_of;
use crate::hostnames::ServiceName;
use crate::mesh_state::{DataplaneEntry, MeshState};
use crate::policies::OfProxy;
use crate::settings::Settings;
use crate::view::{DestinationKey, InboundTls, OutboundRef, Sidecar, SidecarView, Source};

/// True if a Dataplane does not simply reach every destination by VIP.
pub(crate) fn is_limited(dataplane: &Dataplane) -> bool {
    dataplane
        .networking
        .transparent_proxying
        .as_ref()
        .is_none_or(|transparent| transparent.reachable_backends.is_some())
}

/// What access logs call a proxy.
pub(crate) fn source(entry: &DataplaneEntry) -> Source {
    let networking = &entry.spec.networking;
    let service = networking.inbound.first().map_or("", |inbound| inbound.service());
    Source {
        service: match service {
            "" => entry.resource.display_name().to_owned(),
            service => service.to_owned(),
        },
        address: networking.address.clone(),
    }
}

/// The view of a sidecar; `None` while the Mesh is unknown.
pub(crate) fn view(
    mesh: &MeshState,
    entry: &DataplaneEntry,
    policies: OfProxy,
    settings: &Settings,
) -> Option<SidecarView> {
    let own_zone = settings.zone.as_str();
    let spec = mesh.mesh.as_ref()?;
    let inbound_tls = match spec.enabled_backend().map(|backend| backend.mode) {
        None => InboundTls::Off,
        Some(TlsMode::Strict) => InboundTls::Strict,
        Some(TlsMode::Permissive) => InboundTls::Permissive,
    };
    let sidecar = Sidecar {
        mesh: entry.resource.mesh.clone(),
        name: entry.resource.name.clone(),
        dataplane: entry.spec.clone(),
        zone: own_zone.to_owned(),
        inbound_tls,
        inbound_policies: policies.inbounds,
        passthrough_confs: policies.passthrough,
        source: source(entry),
        passthrough: spec.passthrough(),
        vip_ranges: settings.vip_ranges(),
        outbounds: Vec::new(),
    };
    let limited = is_limited(&entry.spec);
    let outbounds = if limited {
        outbounds(mesh, entry, own_zone)
    } else {
        Vec::new()
    };
    Some(SidecarView {
        sidecar,
        all_destinations: !limited,
        class: policies.class,
        outbounds,
    })
}

fn outbounds(mesh: &MeshState, entry: &DataplaneEntry, own_zone: &str) -> Vec<OutboundRef> {
    let networking = &entry.spec.networking;
    if let Some(backends) = networking
        .transparent_proxying
        .as_ref()
        .and_then(|transparent| transparent.reachable_backends.as_ref())
    {
        let mut found = BTreeMap::new();
        for reference in &backends.refs {
            let wanted = Wanted {
                kind: &reference.kind,
                name: &reference.name,
                namespace: Some(&reference.namespace),
                labels: &reference.labels,
            };
            for (key, port) in resolve(mesh, entry, own_zone, &wanted, All::Yes)
                .into_iter()
                .flat_map(|service| ports_of(mesh, &service))
            {
                if reference.port.is_none_or(|wanted| wanted == port) {
                    found.insert(
                        key.clone(),
                        OutboundRef {
                            address: None,
                            port,
                            bind: false,
                            destination: key,
                            fallbacks: Vec::new(),
                        },
                    );
                }
            }
        }
        return found.into_values().collect();
    }
    let mut result = Vec::new();
    for outbound in &networking.outbound {
        let Some(backend) = &outbound.backend_ref else {
            result.extend(by_tags(mesh, own_zone, outbound));
            continue;
        };
        let wanted = Wanted {
            kind: &backend.kind,
            name: &backend.name,
            namespace: None,
            labels: &backend.labels,
        };
        let Some(service) = resolve(mesh, entry, own_zone, &wanted, All::No).into_iter().next() else {
            continue;
        };
        let port = ports_of(mesh, &service)
            .into_iter()
            .find(|(_, port)| *port == backend.port);
        if let (Some((destination, _)), Ok(address)) = (port, outbound.listen_address().parse::<IpAddr>()) {
            result.push(OutboundRef {
                address: Some(address),
                port: outbound.port,
                bind: true,
                destination,
                fallbacks: Vec::new(),
            });
        }
    }
    result
}

/// An outbound by tags, which knows no zones and no ports of services: it leads to the MeshServices of these tags, that of the
/// own zone first, and there to the port of the same number, else to the first.
fn by_tags(mesh: &MeshState, own_zone: &str, outbound: &Outbound) -> Option<OutboundRef> {
    let mut wanted = outbound.tags.clone();
    wanted.remove(TAG_PROTOCOL);
    let zone = wanted.remove(TAG_ZONE);
    let mut found: Vec<_> = mesh
        .services
        .iter()
        .filter(|(_, service)| zone.as_ref().is_none_or(|zone| *zone == service.zone))
        .filter_map(|(name, service)| {
            let narrowness = has_tags(&service.spec, &wanted)?;
            let order = (
                service.zone != own_zone,
                &service.zone,
                narrowness,
                service.resource.creation_time,
            );
            Some((order, name))
        })
        .collect();
    found.sort();
    found.dedup_by_key(|((_, zone, ..), _)| *zone);
    let port_of = |name: &String| {
        let ports = ports_of(mesh, &(Kind::MeshService, name.clone()));
        let same = ports.iter().find(|(_, port)| *port == outbound.port);
        same.or(ports.first()).map(|(key, _)| key.clone())
    };
    let mut destinations = found.into_iter().filter_map(|(_, name)| port_of(name));
    Some(OutboundRef {
        address: Some(outbound.listen_address().parse().ok()?),
        port: outbound.port,
        bind: true,
        destination: destinations.next()?,
        fallbacks: destinations.collect(),
    })
}

/// Whether all instances of a service have these tags; with how many tags it selects them, since more tags mean fewer
/// instances. One that selects otherwise has the tag by which its instances are identified.
fn has_tags(service: &MeshService, wanted: &BTreeMap<String, String>) -> Option<usize> {
    if let Some(selected) = &service.selector.dataplane_tags {
        let has_all = wanted.iter().all(|(key, value)| selected.get(key) == Some(value));
        return has_all.then_some(selected.len());
    }
    let is_identity = |(key, value): (&String, &String)| {
        let mut identities = service.identities.iter();
        key == TAG_SERVICE && identities.any(|id| id.identity_type == SERVICE_TAG && id.value == *value)
    };
    wanted.iter().all(is_identity).then_some(usize::MAX)
}

/// A reference to a service; by labels if there are any, else by name.
struct Wanted<'a> {
    kind: &'a str,
    name: &'a str,
    /// `None` means the proxy's own.
    namespace: Option<&'a str>,
    labels: &'a BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum All {
    Yes,
    No,
}

/// The services that a reference means; oldest first. By name it means the display name in the proxy's own mesh and,
/// for MeshServices, its own zone and namespace (`spec/resources.md` §2.2).
fn resolve(
    mesh: &MeshState,
    entry: &DataplaneEntry,
    own_zone: &str,
    wanted: &Wanted<'_>,
    all: All,
) -> Vec<ServiceName> {
    let namespace = wanted
        .namespace
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or_else(|| entry.resource.namespace());
    let by_labels =
        |labels: &BTreeMap<String, String>| wanted.labels.iter().all(|(key, value)| labels.get(key) == Some(value));
    let mut found = Vec::new();
    match wanted.kind {
        "MeshService" => {
            for (name, service) in &mesh.services {
                let resource = &service.resource;
                let fits = if wanted.labels.is_empty() {
                    resource.display_name() == wanted.name
                        && service.zone == own_zone
                        && resource.namespace() == namespace
                } else {
                    by_labels(&resource.labels)
                };
                if fits {
                    found.push((resource.creation_time, (Kind::MeshService, name.clone())));
                }
            }
        }
        "MeshMultiZoneService" => {
            for (name, service) in &mesh.multi_zone {
                let resource = &service.resource;
                let fits = if wanted.labels.is_empty() {
                    resource.display_name() == wanted.name
                } else {
                    by_labels(&resource.labels)
                };
                if fits {
                    found.push((resource.creation_time, (Kind::MeshMultiZoneService, name.clone())));
                }
            }
        }
        _ => {}
    }
    found.sort();
    found.truncate(if all == All::Yes { usize::MAX } else { 1 });
    found.into_iter().map(|(_, name)| name).collect()
}

fn ports_of(mesh: &MeshState, (kind, name): &ServiceName) -> Vec<(DestinationKey, u32)> {
    match kind {
        Kind::MeshService => mesh.services.get(name).map_or_else(Vec::new, |service| {
            let key = |section| DestinationKey {
                service: identity_of(service),
                section,
            };
            service
                .spec
                .ports
                .iter()
                .map(|port| (key(port.section()), port.port))
                .collect()
        }),
        _ => mesh.multi_zone.get(name).map_or_else(Vec::new, |service| {
            let key = |section| DestinationKey {
                service: service.resource.identity(),
                section,
            };
            service
                .spec
                .ports
                .iter()
                .map(|port| (key(port.section()), port.port))
                .collect()
        }),
    }
}
