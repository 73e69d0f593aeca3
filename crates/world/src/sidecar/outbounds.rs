//! Where the application of a proxy may go that does not reach every destination.

use std::collections::BTreeMap;
use std::net::IpAddr;

use meshspan_model::kinds::dataplane::Outbound;
use meshspan_model::kinds::mesh_service::{MeshService, SERVICE_TAG};
use meshspan_model::labels::{TAG_PROTOCOL, TAG_SERVICE, TAG_ZONE};

use crate::mesh_state::{DataplaneEntry, MeshState};
use crate::services::{Reference, ServiceEntry, ServiceKey};
use crate::view::OutboundRef;

pub(super) fn outbounds(mesh: &MeshState, entry: &DataplaneEntry, own_zone: &str) -> Vec<OutboundRef> {
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
            for (key, port) in resolve(mesh, entry, own_zone, &wanted)
                .into_iter()
                .flat_map(|(_, service)| service.destination_keys())
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
        let Some((_, service)) = resolve(mesh, entry, own_zone, &wanted).into_iter().next() else {
            continue;
        };
        let mut keys = service.destination_keys().into_iter();
        let port = keys.find(|(_, port)| *port == backend.port);
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
    let candidates = mesh.services.answering(&Reference::to_tags(outbound)?);
    let mut found: Vec<_> = candidates
        .into_iter()
        .filter_map(|(key, entry)| Some((key, entry.as_mesh_service()?)))
        .filter(|(_, service)| zone.as_ref().is_none_or(|zone| *zone == service.zone))
        .filter_map(|(key, service)| {
            let narrowness = has_tags(&service.spec, &wanted)?;
            let order = (
                service.zone != own_zone,
                &service.zone,
                narrowness,
                service.resource.creation_time,
            );
            Some((order, key))
        })
        .collect();
    found.sort();
    found.dedup_by_key(|((_, zone, ..), _)| *zone);
    let port_of = |key: &ServiceKey| {
        let ports = mesh.services.get(key)?.destination_keys();
        let same = ports.iter().find(|(_, port)| *port == outbound.port);
        same.or(ports.first()).map(|(key, _)| key.clone())
    };
    let mut destinations = found.into_iter().filter_map(|(_, key)| port_of(key));
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

/// The services that a reference means; oldest first. By name it means the display name in the proxy's own mesh and,
/// for MeshServices, its own zone and namespace (`spec/resources.md` §2.2).
fn resolve<'a>(
    mesh: &'a MeshState,
    entry: &DataplaneEntry,
    own_zone: &str,
    wanted: &Wanted<'_>,
) -> Vec<(&'a ServiceKey, &'a ServiceEntry)> {
    let Some(reference) = Reference::to_service(wanted.kind, wanted.name, wanted.labels) else {
        return Vec::new();
    };
    let namespace = wanted
        .namespace
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or_else(|| entry.resource.namespace());
    let fits = |service: &ServiceEntry| {
        let labels = &service.resource().labels;
        let has_labels = wanted.labels.iter().all(|(key, value)| labels.get(key) == Some(value));
        let is_near = service
            .as_mesh_service()
            .is_none_or(|service| service.zone == own_zone && service.resource.namespace() == namespace);
        has_labels && (!wanted.labels.is_empty() || is_near)
    };
    let mut found = mesh.services.answering(&reference);
    found.retain(|(_, service)| fits(service));
    found
}
