//! Zone egress: the way out of a zone (`spec/dataplane.md` §3.4). To services outside the mesh it ends mutual TLS, asks who may
//! leave, and speaks what the service speaks; to other zones it forwards by server name, without ending TLS.

mod external;

use meshspan_world::view::{Destination, Egress, EgressRoute};

use crate::destination::{list_the_last_alone, load_assignment};
use crate::encode::Encoded;
use crate::names;
use crate::sidecar::ProxyOptions;
use crate::zone_proxy::{self, ZoneListener, onwards};

/// What all egresses share of a destination that lies in other zones: its cluster and endpoints. Empty for others.
pub fn egress_shared(destination: &Destination) -> Vec<Encoded> {
    let Some(EgressRoute::Zones(zones)) = &destination.egress else {
        return Vec::new();
    };
    // All zones are equally far from here: the client has left its own.
    let mut assignment = load_assignment(names::destination(&destination.key), zones.iter());
    for locality in &mut assignment.endpoints {
        locality.priority = 0;
    }
    list_the_last_alone(&mut assignment);
    vec![zone_proxy::cluster(destination), Encoded::endpoints(&assignment)]
}

/// What is an egress's own: its listener, and the way to services outside the mesh with their certificates.
pub fn egress(egress: &Egress, options: &ProxyOptions) -> Vec<Encoded> {
    let mut resources = vec![egress_listener(egress)];
    for destination in &egress.destinations {
        if let Some(EgressRoute::External(external)) = &destination.egress {
            resources.extend(external::resources(destination, external, options));
        }
    }
    resources
}

fn egress_listener(egress: &Egress) -> Encoded {
    let name = names::egress_listener(&egress.name);
    let destinations = egress.destinations.iter().map(AsRef::as_ref);
    let chains = zone_proxy::chains(destinations, |destination| match destination.egress.as_ref()? {
        EgressRoute::Zones(_) => Some(onwards(&name, destination)),
        EgressRoute::External(external) => Some(external::chain(destination, external)),
    });
    let networking = &egress.egress.networking;
    ZoneListener {
        name: name.clone(),
        proxy: &egress.name,
        zone: &egress.zone,
        address: &networking.address,
        port: networking.port,
    }
    .with(chains)
}
