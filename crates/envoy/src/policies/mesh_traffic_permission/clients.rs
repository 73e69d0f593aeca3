//! From an ordered list of rules, of which the first that matches decides, to sets of clients without any order.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::rbac::v3::Principal;
use envoy_types::pb::envoy::config::rbac::v3::principal::{Authenticated, Identifier, Set};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use meshspan_model::kinds::mesh_traffic_permission::{Action, Conf};
use meshspan_model::labels::TAG_SERVICE;
use meshspan_model::policy::{RuleMatch, SpiffeIdMatchType};
use meshspan_policy::{ClientMatch, InboundRule, InboundRules};

/// Clients by the server name that they must have asked for, any if `None`; each is one of the principals.
pub(super) type Clients = BTreeMap<Option<String>, Vec<Principal>>;

/// What becomes of clients.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Decisions {
    /// Refused even if they are allowed.
    pub(super) denied: Clients,
    /// Let in.
    pub(super) allowed: Clients,
    /// Of those let in, the ones that are reported as if they were refused.
    pub(super) reported: Clients,
}

/// A rule that could be read.
struct Rule<'a> {
    clients: &'a ClientMatch,
    conf: Conf,
}

impl<'a> Rule<'a> {
    /// Rules of this kind know clients by their tags only; identities stand in the confs.
    fn read(rule: &'a InboundRule) -> Option<Self> {
        let clients = &rule.clients;
        let by_tags = clients.spiffe_id.is_none() && clients.sni.is_none();
        let conf = serde_json::from_value(rule.effective.conf.clone()).ok();
        conf.filter(|_| by_tags).map(|conf| Self { clients, conf })
    }
}

impl Decisions {
    /// What rules decide; nobody is let in if there were more rules than can be told apart, or one cannot be read.
    pub(super) fn of(rules: &InboundRules, mesh: &str) -> Self {
        let read: Option<Vec<_>> = rules.rules.iter().map(Rule::read).collect();
        let Some(rules) = read.filter(|_| rules.is_complete) else {
            return Self::default();
        };
        Self {
            denied: select(&rules, mesh, |conf| entries([conf.deny.as_ref()])),
            allowed: select(&rules, mesh, allowed),
            reported: select(&rules, mesh, |conf| match conf.action {
                Some(Action::AllowWithShadowDeny) => everyone(),
                Some(Action::Deny) => Entries::new(),
                Some(Action::Allow) | None => entries([conf.allow_with_shadow_deny.as_ref()]),
            }),
        }
    }
}

/// Some of the clients of a rule; `None` for all of them.
type Entries<'a> = BTreeSet<Option<&'a RuleMatch>>;

fn everyone<'a>() -> Entries<'a> {
    Entries::from([None])
}

fn entries<'a, const N: usize>(lists: [Option<&'a Vec<RuleMatch>>; N]) -> Entries<'a> {
    lists.into_iter().flatten().flatten().map(Some).collect()
}

/// The action of the old form is said of all clients, the lists of the new one of some. Where both are said of a client,
/// a refusal wins, as it does among the lists.
fn allowed(conf: &Conf) -> Entries<'_> {
    match conf.action {
        Some(Action::Deny) => Entries::new(),
        Some(Action::Allow | Action::AllowWithShadowDeny) => everyone(),
        None => entries([conf.allow.as_ref(), conf.allow_with_shadow_deny.as_ref()]),
    }
}

/// All clients that are in the entries of the rule that decides about them.
///
/// Rules are complete: where two overlap, there is one for the overlap, and it stands before both. So the clients about
/// which a rule decides are its own without those of rules that are narrower than it.
fn select<'a>(rules: &'a [Rule<'_>], mesh: &str, of: impl Fn(&'a Conf) -> Entries<'a>) -> Clients {
    let listed: Vec<(&ClientMatch, Entries<'_>)> = rules.iter().map(|rule| (rule.clients, of(&rule.conf))).collect();
    let mut selected = Clients::new();
    // What the rule for all clients says without exception need not be said again.
    let mut said = Entries::new();
    for (clients, entries) in listed.iter().rev() {
        for entry in entries {
            if said.contains(&None) || said.contains(entry) {
                continue;
            }
            let has_entry = |entries: &Entries<'_>| entries.contains(&None) || entries.contains(entry);
            let excepted: Vec<_> = listed
                .iter()
                .filter(|(other, entries)| other != clients && other.implies(clients) && !has_entry(entries))
                .map(|(other, _)| with_tags(other, mesh))
                .collect();
            if excepted.is_empty() && clients.is_all() {
                said.insert(*entry);
            }
            let sni = entry.and_then(|entry| entry.sni.as_ref()).map(|sni| sni.value.clone());
            let parts = with_tags(clients, mesh)
                .into_iter()
                .chain(entry.and_then(identity))
                .chain((!excepted.is_empty()).then(|| not(any_of(excepted.into_iter().map(all_of).collect()))));
            selected.entry(sni).or_default().push(all_of(parts.collect()));
        }
    }
    selected
}

/// What clients with these tags show: URI SANs of their certificates (`spec/dataplane.md` §5.1).
fn with_tags(clients: &ClientMatch, mesh: &str) -> Vec<Principal> {
    let san = |(tag, value): (&String, &String)| {
        let uri = if tag == TAG_SERVICE {
            format!("spiffe://{mesh}/{value}")
        } else {
            format!("kuma://{tag}/{value}")
        };
        authenticated(MatchPattern::Exact(uri))
    };
    clients.tags.iter().map(san).collect()
}

fn identity(entry: &RuleMatch) -> Option<Principal> {
    let wanted = entry.spiffe_id.as_ref()?;
    Some(authenticated(match wanted.how {
        SpiffeIdMatchType::Exact => MatchPattern::Exact(wanted.value.clone()),
        SpiffeIdMatchType::Prefix => MatchPattern::Prefix(wanted.value.clone()),
    }))
}

/// A URI SAN of the client's certificate, any of them.
fn authenticated(pattern: MatchPattern) -> Principal {
    principal(Identifier::Authenticated(Authenticated {
        principal_name: Some(StringMatcher {
            match_pattern: Some(pattern),
            ..Default::default()
        }),
    }))
}

fn all_of(mut parts: Vec<Principal>) -> Principal {
    match (parts.pop(), parts.is_empty()) {
        (None, _) => principal(Identifier::Any(true)),
        (Some(only), true) => only,
        (Some(last), false) => {
            parts.push(last);
            principal(Identifier::AndIds(Set { ids: parts }))
        }
    }
}

fn any_of(ids: Vec<Principal>) -> Principal {
    principal(Identifier::OrIds(Set { ids }))
}

fn not(one: Principal) -> Principal {
    principal(Identifier::NotId(Box::new(one)))
}

fn principal(identifier: Identifier) -> Principal {
    Principal {
        identifier: Some(identifier),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
