//! All resources of one sidecar, made anew for an answer instead of a stream.

use std::collections::BTreeMap;

use meshspan_envoy::{Encoded, ProxyOptions, ResourceType};
use meshspan_world::Inspected;
use meshspan_world::view::{DestinationKey, Outbound};

use super::pool::Made;

/// What the sidecar is served, without secrets, by type and name.
pub(super) fn resources(inspected: &Inspected, options: &ProxyOptions) -> Vec<Encoded> {
    let made = |key: &DestinationKey| {
        let (destination, policies) = inspected.destinations.get(key)?;
        Some((destination, policies, Made::new(destination, policies)))
    };
    let mut sidecar = inspected.view.sidecar.clone();
    let mut resources = Vec::new();
    if inspected.view.all_destinations {
        let all = inspected.destinations.keys().filter_map(made);
        resources.extend(all.flat_map(|(_, _, made)| made.all().cloned().collect::<Vec<_>>()));
    }
    for outbound in &inspected.view.outbounds {
        let Some((destination, policies, found)) = made(&outbound.destination) else {
            continue;
        };
        for (_, _, routed) in policies.route_destinations().filter_map(made) {
            resources.extend(routed.without_listener().cloned());
        }
        for (_, _, behind) in outbound.fallbacks.iter().filter_map(made) {
            resources.extend(behind.without_listener().cloned());
        }
        match outbound.address {
            None => resources.extend(found.all().cloned()),
            Some(address) => {
                resources.extend(found.without_listener().cloned());
                sidecar.outbounds.push(Outbound {
                    address,
                    port: outbound.port,
                    bind: outbound.bind,
                    destination: destination.clone(),
                    policies: policies.clone(),
                    fallbacks: outbound.fallbacks.clone(),
                });
            }
        }
    }
    resources.extend(meshspan_envoy::sidecar(&sidecar, options));
    let by_name: BTreeMap<(ResourceType, _), Encoded> = resources
        .into_iter()
        .map(|resource| ((resource.resource_type, resource.name.clone()), resource))
        .collect();
    by_name.into_values().collect()
}
