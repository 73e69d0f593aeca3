//! MeshTCPRoute (`spec/policies.md` §2.7): where connections to a service go.

use serde::{Deserialize, Serialize};

use crate::policy::{BackendRef, Conf as PolicyConf, Place, PolicyKind, PolicySpec};
use crate::violation::Violations;

/// Routes of TCP connections.
pub type MeshTCPRoute = PolicySpec<Conf>;

/// The rule for one destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conf {
    /// No more than one; connections go to the destination itself if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<Rule>>,
}

/// What happens to connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// What happens to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<RuleConf>,
}

/// What happens to connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleConf {
    /// Where they go, at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_refs: Option<Vec<BackendRef>>,
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshTCPRoute;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        for (index, rule) in self.rules.iter().flatten().enumerate() {
            let default = rule.default.as_ref();
            let backends = default.and_then(|default| default.backend_refs.as_ref());
            if backends.is_none_or(Vec::is_empty) {
                violations.add(
                    place.field(&format!("rules[{index}].default.backendRefs")),
                    "must have at least one item",
                );
            }
        }
    }
}
