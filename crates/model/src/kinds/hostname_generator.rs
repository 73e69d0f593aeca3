//! HostnameGenerator (`spec/resources.md` §2.10, §6).

use serde::{Deserialize, Serialize};

use super::Spec;
use super::mesh_service::MatchLabels;
use crate::kind::{Kind, ServiceKind};
use crate::template::Template;
use crate::violation::Violations;

/// Gives hostnames to the services that it selects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostnameGenerator {
    /// Exactly one kind of service.
    pub selector: Selector,
    /// Go template of the hostname.
    pub template: String,
}

/// `selector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// MeshServices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_service: Option<MatchLabels>,
    /// MeshExternalServices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_external_service: Option<MatchLabels>,
    /// MeshMultiZoneServices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_multi_zone_service: Option<MatchLabels>,
}

impl Selector {
    /// The labels that services of `kind` must have; `None` if it selects another kind.
    pub fn for_kind(&self, kind: ServiceKind) -> Option<&MatchLabels> {
        match kind {
            ServiceKind::MeshService => self.mesh_service.as_ref(),
            ServiceKind::MeshMultiZoneService => self.mesh_multi_zone_service.as_ref(),
            ServiceKind::MeshExternalService => self.mesh_external_service.as_ref(),
        }
    }
}

impl Spec for HostnameGenerator {
    const KIND: Kind = Kind::HostnameGenerator;

    fn validate(&self, root: &str, violations: &mut Violations) {
        let Selector {
            mesh_service,
            mesh_external_service,
            mesh_multi_zone_service,
        } = &self.selector;
        let given = [mesh_service, mesh_external_service, mesh_multi_zone_service]
            .iter()
            .filter(|labels| labels.is_some())
            .count();
        if given != 1 {
            violations.add(
                format!("{root}selector"),
                "must have exactly one of meshService, meshExternalService, meshMultiZoneService",
            );
        }
        let template = format!("{root}template");
        if self.template.is_empty() {
            violations.add(template, "must not be empty");
        } else if let Err(error) = Template::parse(&self.template) {
            violations.add(template, error.to_string());
        }
    }
}
