//! How endpoints are reached (`spec/dataplane.md` §3.1).

use std::collections::BTreeSet;
use std::sync::Arc;

use meshspan_model::kinds::mesh::Mesh;
use meshspan_model::kinds::mesh_service::{Condition, SPIFFE_ID, ServiceIdentityRef};

use super::Context;
use crate::mesh_state::MeshState;
use crate::view::{BEHIND_EGRESS, EgressRoute, Endpoint, Locality, Reach};
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

/// How traffic goes to other zones.
pub(super) struct Way {
    pub(super) localities: Vec<Locality>,
    pub(super) egress: Option<EgressRoute>,
}

/// Directly to the ingresses of other zones, or through the own zone's egresses if the mesh says so (`routing.zoneEgress`). Behind
/// an egress zones cannot be told apart: they are one locality.
pub(super) fn way_to_other_zones(mesh: &Mesh, zones: Vec<Locality>, context: &Context<'_>) -> Way {
    if zones.is_empty() || !mesh.leaves_through_egress() {
        return Way {
            localities: zones,
            egress: None,
        };
    }
    let available = zones
        .iter()
        .flat_map(|zone| &zone.endpoints)
        .any(|endpoint| endpoint.ready);
    let behind = Locality {
        zone: BEHIND_EGRESS.to_owned(),
        priority: REMOTE,
        reach: Reach::Egress,
        endpoints: endpoints(context.zone, available, context.egresses),
    };
    Way {
        localities: vec![behind],
        egress: Some(EgressRoute::Zones(zones)),
    }
}

/// Whether traffic to other zones can leave, where it leaves through egresses.
pub(super) fn egress_known(mesh: &MeshState, context: &Context<'_>) -> Option<Condition> {
    mesh.mesh.as_ref().filter(|mesh| mesh.leaves_through_egress())?;
    let zone = context.zone;
    let outcome = if context.egresses.of_zone(zone).next().is_some() {
        Ok((
            "ZoneEgressKnown",
            format!("traffic to other zones goes through the zone egress of {zone}"),
        ))
    } else {
        Err((
            "NoZoneEgress",
            format!(
                "routing.zoneEgress of the Mesh is true and no zone egress serves in {zone}, so other zones are not reached: run one \
                 with `meshspan dp run --proxy-type egress`, or switch it off"
            ),
        ))
    };
    Some(Condition::new("ZoneEgressKnown", outcome))
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
