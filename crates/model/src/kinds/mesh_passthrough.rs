//! MeshPassthrough.

use serde::{Deserialize, Serialize};

use crate::policy::{Conf as PolicyConf, Place, PolicyKind, PolicySpec};
use crate::violation::Violations;

/// Traffic to destinations outside the mesh.
pub type MeshPassthrough = PolicySpec<Conf>;

/// What is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshPassthrough;
    const APPLIED: bool = false;

    fn check(&self, _place: &Place<'_>, _violations: &mut Violations) {}
}
