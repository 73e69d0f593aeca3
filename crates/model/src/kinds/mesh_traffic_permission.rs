//! MeshTrafficPermission (`spec/policies.md` §2.8): who may call whom, once mTLS is on.
//!
//! Two forms: `from` gives clients by tags one action each, `rules` lists clients by identity. Both are about the same
//! thing, so one conf holds the fields of both, and each field may stand only in its own part.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy::values::required_at_least_one;
use crate::policy::{Conf as PolicyConf, MAX_ITEMS, Part, Place, PolicyKind, PolicySpec, RuleMatch, SpiffeIdMatchType};
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

/// True if the rules of an inbound let anybody in; `confs` are what they say, each of some clients.
///
/// What a rule both allows and denies by SPIFFE id counts as denied, as it does in force.
pub fn lets_anybody_in<'a>(confs: impl IntoIterator<Item = &'a Value>) -> bool {
    let allows = |conf: &Value| Conf::deserialize(conf).is_ok_and(|conf| conf.lets_anybody_in());
    confs.into_iter().any(allows)
}

/// The SPIFFE ids that the rules of an inbound let in, if they let in nobody else than these; `confs` as in [`lets_anybody_in`].
pub fn only_these_ids<'a>(confs: impl IntoIterator<Item = &'a Value>) -> Option<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for conf in confs {
        let conf = Conf::deserialize(conf).ok()?;
        if matches!(conf.action, Some(Action::Allow | Action::AllowWithShadowDeny)) {
            return None;
        }
        for clients in conf.allowed() {
            let id = clients.spiffe_id.as_ref()?;
            if id.how != SpiffeIdMatchType::Exact {
                return None;
            }
            ids.insert(id.value.clone());
        }
    }
    Some(ids)
}

impl Conf {
    fn lets_anybody_in(&self) -> bool {
        match self.action {
            Some(Action::Deny) => false,
            Some(Action::Allow | Action::AllowWithShadowDeny) => !self.denies(None),
            None => self.allowed().any(|clients| !self.denies(Some(clients))),
        }
    }

    /// The clients that the lists let in.
    pub fn allowed(&self) -> impl Iterator<Item = &RuleMatch> {
        [&self.allow, &self.allow_with_shadow_deny]
            .into_iter()
            .flatten()
            .flatten()
    }

    /// True if a denial is about all of these clients, or about everybody.
    fn denies(&self, clients: Option<&RuleMatch>) -> bool {
        let covers = |denied: &RuleMatch| match (
            &denied.spiffe_id,
            clients.and_then(|clients| clients.spiffe_id.as_ref()),
        ) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(denied), Some(clients)) => match denied.how {
                SpiffeIdMatchType::Exact => denied == clients,
                SpiffeIdMatchType::Prefix => denied.matches(&clients.value),
            },
        };
        let denied = self.deny.iter().flatten();
        denied.filter(|denied| denied.sni.is_none()).any(covers)
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn somebody_is_let_in_or_nobody() {
        let web = json!({ "spiffeID": { "type": "Exact", "value": "spiffe://default/web" } });
        let all = json!({ "spiffeID": { "type": "Prefix", "value": "spiffe://default" } });
        for (conf, expected) in [
            (json!({ "action": "Allow" }), true),
            (json!({ "action": "AllowWithShadowDeny" }), true),
            (json!({ "action": "Deny" }), false),
            (json!({}), false),
            (json!({ "allow": [] }), false),
            (json!({ "allow": [web] }), true),
            (json!({ "allowWithShadowDeny": [web] }), true),
            (json!({ "deny": [web] }), false),
            (json!({ "deny": [web], "allow": [all] }), true),
            (json!({ "deny": [web], "allow": [web] }), false),
            (json!({ "deny": [all], "allow": [web] }), false),
            (json!({ "deny": [all], "allow": [all] }), false),
            (json!({ "action": 1 }), false),
        ] {
            assert_eq!(lets_anybody_in([&conf]), expected, "{conf}");
        }
        assert!(!lets_anybody_in([]), "nothing is said");
    }
}
