//! MeshTrafficPermission (`spec/policies.md` §2.8); so far the form that decides for a whole mesh.

use serde::{Deserialize, Serialize};

use super::Spec;
use crate::kind::Kind;
use crate::violation::Violations;

/// Who may call whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshTrafficPermission {
    /// The proxies that are protected; absent means the whole mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Clients and what is decided for them.
    pub from: Vec<From>,
}

/// A reference to proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// `Mesh` is what is supported so far.
    pub kind: String,
}

/// One entry of `from`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct From {
    /// The clients.
    pub target_ref: TargetRef,
    /// The decision.
    pub default: Conf,
}

/// The decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conf {
    /// The action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// It passes.
    Allow,
    /// It is refused.
    Deny,
    /// It passes, and is reported as if refused.
    AllowWithShadowDeny,
}

impl Spec for MeshTrafficPermission {
    const KIND: Kind = Kind::MeshTrafficPermission;

    fn validate(&self, root: &str, violations: &mut Violations) {
        let check_kind = |kind: &str, path: String, violations: &mut Violations| {
            if kind != "Mesh" {
                violations.add(path, format!("kind \"{kind}\" is not supported yet, must be Mesh"));
            }
        };
        if let Some(target) = &self.target_ref {
            check_kind(&target.kind, format!("{root}targetRef.kind"), violations);
        }
        if self.from.is_empty() {
            violations.add(format!("{root}from"), "needs at least one item");
        }
        for (index, from) in self.from.iter().enumerate() {
            check_kind(
                &from.target_ref.kind,
                format!("{root}from[{index}].targetRef.kind"),
                violations,
            );
            if from.default.action.is_none() {
                violations.add(
                    format!("{root}from[{index}].default.action"),
                    "must be defined: Allow, Deny or AllowWithShadowDeny",
                );
            }
        }
    }
}
