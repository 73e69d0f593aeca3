//! MeshMultiZoneServiceInsight: what one zone makes of a MeshMultiZoneService, sent to the global so that it can show
//! every zone's view. Not in the reference, whose control planes never ask for it.

use serde::{Deserialize, Serialize};

use super::Spec;
use super::mesh_multi_zone_service::MeshMultiZoneServiceStatus;
use crate::kind::Kind;
use crate::violation::Violations;

/// One zone's view of a MeshMultiZoneService.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshMultiZoneServiceInsight {
    /// The zone.
    pub zone: String,
    /// The status in that zone.
    pub status: MeshMultiZoneServiceStatus,
}

impl Spec for MeshMultiZoneServiceInsight {
    const KIND: Kind = Kind::MeshMultiZoneServiceInsight;

    fn validate(&self, _root: &str, _violations: &mut Violations) {}
}
