//! How endpoints are reached (`spec/dataplane.md` §3.1).

use std::collections::BTreeSet;
use std::sync::Arc;

use meshspan_model::kinds::mesh_service::{SPIFFE_ID, ServiceIdentityRef};

use crate::view::{Endpoint, Locality, Reach};
use crate::zone_proxies::ZoneProxies;

/// Universal zones have no namespace of their own.
pub(super) const NO_SYSTEM_NAMESPACE: &str = "";
/// Priority of the own zone.
pub(super) const LOCAL: u32 = 0;
/// Priority of all other zones.
const REMOTE: u32 = 1;

/// The endpoints of another zone: its ingresses.
pub(super) fn through_ingress(zone: &str, available: bool, ingresses: &ZoneProxies) -> Locality {
    Locality {
        zone: zone.to_owned(),
        priority: REMOTE,
        reach: Reach::Ingress,
        endpoints: endpoints(zone, available, ingresses),
    }
}

/// The endpoints of what lies behind the own zone's egresses.
pub(super) fn through_egress(zone: &str, egresses: &ZoneProxies) -> Locality {
    Locality {
        zone: zone.to_owned(),
        priority: LOCAL,
        reach: Reach::Egress,
        endpoints: endpoints(zone, true, egresses),
    }
}

fn endpoints(zone: &str, ready: bool, proxies: &ZoneProxies) -> Vec<Endpoint> {
    let endpoints: BTreeSet<_> = proxies
        .of_zone(zone)
        .map(|(address, port)| Endpoint {
            address,
            port,
            ready,
            tags: Arc::default(),
        })
        .collect();
    endpoints.into_iter().collect()
}

/// SPIFFE ids of the identities of a service (`spec/dataplane.md` §3.5).
pub(super) fn spiffe_ids(mesh: &str, identities: &[ServiceIdentityRef]) -> BTreeSet<String> {
    let id = |identity: &ServiceIdentityRef| match identity.identity_type.as_str() {
        SPIFFE_ID => identity.value.clone(),
        _ => format!("spiffe://{mesh}/{}", identity.value),
    };
    identities.iter().map(id).collect()
}
