//! MeshTrafficPermission (`spec/policies.md` §2.8): who may call whom, once mTLS is on.
//!
//! Two forms: `from` gives clients by tags one action each, `rules` lists clients by identity. Both are about the same
//! thing, so one conf holds the fields of both, and each field may stand only in its own part.

use serde::{Deserialize, Serialize};

use crate::policy::values::required_at_least_one;
use crate::policy::{Conf as PolicyConf, MAX_ITEMS, Part, Place, PolicyKind, PolicySpec, RuleMatch};
use crate::violation::Violations;

/// Who may call whom.
pub type MeshTrafficPermission = PolicySpec<Conf>;

/// What clients may do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    /// In `from`: what the clients of the item may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// In `rules`: clients that are refused, whatever else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<RuleMatch>>,
    /// In `rules`: clients that are let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<RuleMatch>>,
    /// In `rules`: clients that are let in, and reported as if they were refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_with_shadow_deny: Option<Vec<RuleMatch>>,
}

/// What some clients may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// They are let in.
    Allow,
    /// They are refused.
    Deny,
    /// They are let in, and reported as if they were refused.
    AllowWithShadowDeny,
}

impl Conf {
    /// The lists of `rules`, by field.
    fn lists(&self) -> [(&'static str, Option<&[RuleMatch]>); 3] {
        [
            ("deny", self.deny.as_deref()),
            ("allow", self.allow.as_deref()),
            ("allowWithShadowDeny", self.allow_with_shadow_deny.as_deref()),
        ]
    }
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshTrafficPermission;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        if place.part == Part::From {
            self.check_from(place, violations);
        } else {
            self.check_rules(place, violations);
        }
    }
}

impl Conf {
    fn check_from(&self, place: &Place<'_>, violations: &mut Violations) {
        if self.action.is_none() {
            violations.add(
                place.field("action"),
                "must be defined: Allow, Deny or AllowWithShadowDeny",
            );
        }
        for (field, _) in self.lists().into_iter().filter(|(_, list)| list.is_some()) {
            violations.add(
                place.field(field),
                "must not be set in spec.from; set action here, or write spec.rules",
            );
        }
    }

    fn check_rules(&self, place: &Place<'_>, violations: &mut Violations) {
        if self.action.is_some() {
            violations.add(
                place.field("action"),
                "must not be set in spec.rules; list the clients in deny, allow or allowWithShadowDeny",
            );
        }
        let filled = self
            .lists()
            .map(|(field, list)| (field, list.is_some_and(|list| !list.is_empty())));
        required_at_least_one(&filled, place.path, violations);
        for (field, list) in self.lists() {
            let list = list.unwrap_or_default();
            let path = place.field(field);
            if list.len() > MAX_ITEMS {
                violations.add(
                    &path,
                    format!("has {} items, must have no more than {MAX_ITEMS}", list.len()),
                );
            }
            for (index, clients) in list.iter().enumerate() {
                clients.check(&format!("{path}[{index}]"), violations);
            }
        }
    }
}
