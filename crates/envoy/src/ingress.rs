//! Zone ingress: routes mesh TLS of other zones by server name, without ending it (`spec/dataplane.md` §3.4).
//!
//! Its clusters carry the names of the sidecars' but are others: no TLS of their own, and endpoints of this zone only.

use std::collections::BTreeSet;

use meshspan_world::view::{Destination, Ingress, Reach};

use crate::destination::{list_the_last_alone, load_assignment};
use crate::encode::Encoded;
use crate::names;
use crate::zone_proxy::{self, ZoneListener, onwards};

/// Everything that an ingress needs, from the functions below; names are unique by type.
pub fn ingress(ingress: &Ingress) -> Vec<Encoded> {
    let mut seen = BTreeSet::new();
    let destinations = ingress
        .destinations
        .iter()
        .filter(|destination| seen.insert(&destination.key));
    let behind = destinations.flat_map(|destination| [ingress_cluster(destination), ingress_endpoints(destination)]);
    [ingress_listener(ingress)].into_iter().chain(behind).collect()
}

/// One destination in an ingress. Depends on nothing but the destination's name.
pub fn ingress_cluster(destination: &Destination) -> Encoded {
    zone_proxy::cluster(destination)
}

/// The destination's endpoints in this zone. Localities behind another ingress are left out: passing on what came from another
/// zone would make loops.
pub fn ingress_endpoints(destination: &Destination) -> Encoded {
    let local = destination
        .localities
        .iter()
        .filter(|locality| locality.reach == Reach::Direct);
    let mut assignment = load_assignment(names::destination(&destination.key), local);
    list_the_last_alone(&mut assignment);
    Encoded::endpoints(&assignment)
}

/// The listener: one chain for each destination with TLS.
pub fn ingress_listener(ingress: &Ingress) -> Encoded {
    let name = names::ingress_listener(&ingress.name);
    let destinations = ingress.destinations.iter().map(AsRef::as_ref);
    let chains = zone_proxy::chains(destinations, |destination| Some(onwards(&name, destination)));
    let networking = &ingress.ingress.networking;
    ZoneListener {
        name: name.clone(),
        proxy: &ingress.name,
        zone: &ingress.zone,
        address: &networking.address,
        port: networking.port,
    }
    .with(chains)
}
