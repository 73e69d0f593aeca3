//! What the world needs to know about its control plane.

use meshspan_model::ServiceKind;

use crate::vips::VipRange;

/// Settings of a zone control plane, as far as derivation depends on them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the own zone (`multizone.zone.name`).
    pub zone: String,
    /// True if a global wants to know what the zone makes of MeshMultiZoneServices.
    pub federated: bool,
    /// Range of MeshService VIPs (`ipam.meshService.cidr`).
    pub mesh_service_vips: VipRange,
    /// Range of MeshExternalService VIPs (`ipam.meshExternalService.cidr`).
    pub mesh_external_service_vips: VipRange,
    /// Range of MeshMultiZoneService VIPs (`ipam.meshMultiZoneService.cidr`).
    pub mesh_multi_zone_service_vips: VipRange,
    /// How long a generated MeshService without Dataplanes stays (`meshService.deletionGracePeriod`).
    pub deletion_grace_period: time::Duration,
}

impl Settings {
    /// The range of the virtual IPs of a kind of service.
    pub(crate) fn vips(&self, kind: ServiceKind) -> VipRange {
        match kind {
            ServiceKind::MeshService => self.mesh_service_vips,
            ServiceKind::MeshMultiZoneService => self.mesh_multi_zone_service_vips,
            ServiceKind::MeshExternalService => self.mesh_external_service_vips,
        }
    }

    /// The ranges in which every virtual IP lies.
    pub(crate) fn vip_ranges(&self) -> Vec<VipRange> {
        ServiceKind::ALL.iter().map(|kind| self.vips(*kind)).collect()
    }
}
