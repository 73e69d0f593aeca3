//! The resources of one sidecar: those that no other has, or, for an answer to somebody who asks, all of them.

use std::collections::{BTreeMap, BTreeSet};

use meshspan_envoy::{Encoded, ProxyOptions, ResourceType};
use meshspan_model::policy::ClientInputs;
use meshspan_world::Inspected;
use meshspan_world::view::{DestinationKey, Outbound, OutboundRef, SidecarView, Source};

use crate::engine::pools::{Entry, Projection};

/// The destinations that a sidecar has among its own resources: those that it names, and those to which routes lead from
/// there. Whatever it names counts, also what is not there yet.
pub(super) fn destinations<'a>(
    view: &SidecarView,
    lookup: impl Fn(&DestinationKey) -> Option<Entry<'a>>,
) -> BTreeSet<DestinationKey> {
    let mut found: BTreeSet<_> = view.named().cloned().collect();
    for outbound in &view.outbounds {
        if let Some(entry) = lookup(&outbound.destination) {
            found.extend(entry.policies.route_destinations().cloned());
        }
    }
    found
}

/// The sidecar's own half, secrets left out, and how many resources of it were encoded.
pub(super) fn of_pool<'a>(
    view: &SidecarView,
    options: &ProxyOptions,
    lookup: impl Fn(&DestinationKey) -> Option<Entry<'a>>,
    says_source: bool,
) -> (Vec<Encoded>, usize) {
    let (mut resources, mut count) = (Vec::new(), 0);
    let mut sidecar = view.sidecar.clone();
    for outbound in &view.outbounds {
        let Some(entry) = lookup(&outbound.destination) else {
            continue;
        };
        let routed = entry.policies.route_destinations();
        for behind in routed.chain(&outbound.fallbacks).filter_map(&lookup) {
            resources.extend(behind.projection.without_listener().cloned());
        }
        resources.extend(of_destination(outbound, entry.projection).cloned());
        match with_listener(outbound, &entry, &view.sidecar.source) {
            Some(with_listener) => sidecar.outbounds.push(with_listener),
            None if says_source => {}
            None => {
                let listener = listener_with_source(&entry, &view.sidecar.source);
                count += usize::from(listener.is_some());
                resources.extend(listener);
            }
        }
    }
    let encoded = meshspan_envoy::sidecar(&sidecar, options);
    count += encoded.len();
    resources.extend(encoded);
    (resources, count)
}

/// Everything that a sidecar is served, secrets left out, by type and name: projected again from what the world says of it.
pub(in crate::engine) fn resources(inspected: &Inspected, options: &ProxyOptions, says_source: bool) -> Vec<Encoded> {
    let projected: BTreeMap<_, _> = wanted(inspected)
        .into_iter()
        .filter_map(|key| {
            let (destination, policies) = inspected.destinations.get(key)?;
            Some((key, (destination, policies, Projection::new(destination, policies))))
        })
        .collect();
    let lookup = |key: &DestinationKey| {
        let (destination, policies, projection) = projected.get(key)?;
        Some(Entry {
            destination,
            policies,
            projection,
        })
    };
    let shared = projected.keys().filter(|_| inspected.view.all_destinations);
    let shared = shared.filter_map(|key| lookup(key)).flat_map(|entry| {
        let own = listener_with_source(&entry, &inspected.view.sidecar.source).filter(|_| !says_source);
        entry.projection.all().cloned().chain(own).collect::<Vec<_>>()
    });
    let by_name: BTreeMap<(ResourceType, _), Encoded> = shared
        .chain(of_pool(&inspected.view, options, lookup, says_source).0)
        .map(|resource| ((resource.resource_type, resource.name.clone()), resource))
        .collect();
    by_name.into_values().collect()
}

/// The destinations that a sidecar is served.
fn wanted(inspected: &Inspected) -> BTreeSet<&DestinationKey> {
    if inspected.view.all_destinations {
        return inspected.destinations.keys().collect();
    }
    let named = inspected.view.named();
    let routed = inspected.view.outbounds.iter().flat_map(|outbound| {
        let found = inspected.destinations.get(&outbound.destination);
        found
            .into_iter()
            .flat_map(|(_, policies)| policies.route_destinations())
    });
    named.chain(routed).collect()
}

/// The resources of the destination itself. One that is reached at an address of its own needs no listener at the VIP.
fn of_destination<'a>(outbound: &OutboundRef, projection: &'a Projection) -> impl Iterator<Item = &'a Encoded> {
    let at_vip = outbound.address.is_none();
    projection
        .all()
        .filter(move |encoded| at_vip || encoded.resource_type != ResourceType::Listener)
}

/// The listener at an address of its own.
fn with_listener(outbound: &OutboundRef, entry: &Entry<'_>, source: &Source) -> Option<Outbound> {
    Some(Outbound {
        address: outbound.address?,
        port: outbound.port,
        bind: outbound.bind,
        destination: entry.destination.clone(),
        policies: entry.policies.clone(),
        fallbacks: outbound.fallbacks.clone(),
        source: Some(source.clone()),
    })
}

/// The listener at the VIP with what the proxy is called written into it, instead of the shared one of that name, which
/// takes it from the node; `None` if no policy asks for that.
pub(super) fn listener_with_source(entry: &Entry<'_>, source: &Source) -> Option<Encoded> {
    let address = entry.destination.vip.filter(|_| {
        entry
            .policies
            .kinds()
            .any(|kind| kind.info().client == ClientInputs::Name)
    })?;
    Some(meshspan_envoy::outbound_listener(&Outbound {
        address,
        port: entry.destination.port,
        bind: false,
        destination: entry.destination.clone(),
        policies: entry.policies.clone(),
        fallbacks: Vec::new(),
        source: Some(source.clone()),
    }))
}
