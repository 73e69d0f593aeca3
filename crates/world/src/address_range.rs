//! Whether the virtual IP of a service is usable: in the range that is set, and nobody else's address.

use std::net::IpAddr;

use meshspan_model::ServiceKind;
use meshspan_model::kinds::mesh_service::Condition;

use crate::mesh_state::MeshState;
use crate::vips::VipRange;

/// What is wrong with the address; `None` if nothing is.
pub(crate) fn condition(
    mesh: &MeshState,
    kind: ServiceKind,
    vip: Option<IpAddr>,
    range: VipRange,
) -> Option<Condition> {
    let setting = match kind {
        ServiceKind::MeshService => "KUMA_IPAM_MESH_SERVICE_CIDR",
        ServiceKind::MeshMultiZoneService => "KUMA_IPAM_MESH_MULTI_ZONE_SERVICE_CIDR",
        ServiceKind::MeshExternalService => "KUMA_IPAM_MESH_EXTERNAL_SERVICE_CIDR",
    };
    let (reason, message) = match vip {
        None => (
            "RangeExhausted",
            format!("the range {range} has no free address: set {setting} to a larger one"),
        ),
        Some(vip) => {
            if let Some((dataplane, address)) = mesh
                .addresses_in_vip_ranges
                .iter()
                .find(|(_, address)| range.contains(**address))
            {
                let message = format!(
                    "the Dataplane {dataplane} has the address {address}, inside the range {range} of virtual IPs, so traffic to hosts \
                     there may go astray: set {setting} to a range that no host uses, in all zones"
                );
                ("RangeOverlaps", message)
            } else if range.contains(vip) {
                return None;
            } else {
                let message = format!(
                    "the address {vip} was given before the range was changed to {range} and is kept, so that clients that know it go \
                     on; set {setting} to the same range in all zones"
                );
                ("OutsideRange", message)
            }
        }
    };
    Some(Condition::new("VipAllocated", Err((reason, message))))
}
