//! Effective confs, each with where it came from, and all of one proxy together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_model::ServiceIdentity;
use serde_json::Value;

use super::destination::Services;
use super::inbound::InboundRules;
use super::matching::Matched;
use super::merge::{ListRules, merge};
use super::outbound::OutboundRules;
use super::policy::{Contribution, ItemOrigin, Policy, PolicyId};
use super::proxy::Proxy;
use super::set::{Mode, PolicySet};
use meshspan_model::policy::{PolicyKind, Routing};

/// A merged conf and what it was merged from.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The conf.
    pub conf: Value,
    /// What it was merged from; later ones override earlier ones.
    pub contributions: Vec<Arc<Contribution>>,
}

impl Effective {
    /// Merges confs of one kind, given in any order; `None` if there are none.
    pub fn of(kind: PolicyKind, contributions: impl IntoIterator<Item = Arc<Contribution>>) -> Option<Self> {
        let mut found: Vec<_> = contributions.into_iter().collect();
        found.sort_by(|a, b| b.precedence.cmp(&a.precedence));
        // An item that applies for several reasons counts once, at its highest place.
        let mut seen = BTreeSet::new();
        let mut contributions: Vec<_> = found.iter().filter(|item| seen.insert(&item.origin)).cloned().collect();
        contributions.reverse();
        if contributions.is_empty() {
            return None;
        }
        let confs = contributions.iter().map(|contribution| &contribution.conf);
        Some(Self {
            conf: merge(confs, ListRules::of(kind)),
            contributions,
        })
    }

    /// Everything that contributed, also what was overridden; later overrides earlier.
    pub fn origins(&self) -> impl Iterator<Item = &ItemOrigin> {
        self.contributions.iter().map(|contribution| &contribution.origin)
    }

    /// Which item decided the value at a JSON pointer such as `/http/requestTimeout`; `None` if it is unset. Of lists
    /// that are appended it is the last that added to them. For routing rules see [`Effective::rule_origins`].
    pub fn decided_by(&self, pointer: &str) -> Option<&ItemOrigin> {
        let mut contributions = self.contributions.iter().rev();
        contributions
            .find(|contribution| contribution.conf.pointer(pointer).is_some_and(|value| !value.is_null()))
            .map(|contribution| &contribution.origin)
    }

    /// For each routing rule of the conf, which items contributed to it; later overrides earlier. Empty for kinds
    /// without routing rules.
    pub fn rule_origins(&self) -> Vec<Vec<&ItemOrigin>> {
        let Some(last) = self.contributions.last() else {
            return Vec::new();
        };
        let considered = match last.origin.policy.kind.info().routing {
            Routing::None => return Vec::new(),
            Routing::ByMatches => self.contributions.as_slice(),
            // Replaced as a whole, so only the last one counts.
            Routing::Single => std::slice::from_ref(last),
        };
        let has_rule = |contribution: &Contribution, rule: &Value| {
            rules(&contribution.conf).any(|own| own.get("matches") == rule.get("matches"))
        };
        rules(&self.conf)
            .map(|rule| {
                let contributed = considered.iter().filter(|contribution| has_rule(contribution, rule));
                contributed.map(|contribution| &contribution.origin).collect()
            })
            .collect()
    }
}

fn rules(conf: &Value) -> impl Iterator<Item = &Value> {
    conf.get("rules").and_then(Value::as_array).into_iter().flatten()
}

/// Everything that policies say of one proxy.
#[derive(Clone, Debug)]
pub struct EffectivePolicies {
    /// Which policies matched; gives the keys by which proxies share.
    pub matched: Matched,
    /// Outgoing traffic.
    pub outbound: OutboundRules,
    /// The proxy as a whole.
    pub whole: BTreeMap<PolicyKind, Effective>,
    /// Incoming traffic, per inbound of the proxy.
    pub inbounds: Vec<BTreeMap<PolicyKind, InboundRules>>,
}

impl EffectivePolicies {
    /// Computes everything for a proxy. Where proxies share, compute [`Matched`] for each, and the parts once per key.
    pub fn of(proxy: &Proxy, policies: &PolicySet, services: &Services, mode: Mode) -> Self {
        let matched = Matched::of(proxy, policies, mode);
        Self {
            outbound: OutboundRules::of(&matched.outbound, services),
            whole: whole(&matched.whole),
            inbounds: matched
                .inbounds
                .iter()
                .map(|inbound| InboundRules::of(inbound))
                .collect(),
            matched,
        }
    }

    /// The conf for traffic to a port of a service; `routes` are the MeshHTTPRoutes that the traffic takes, if any.
    pub fn to(
        &self,
        kind: PolicyKind,
        service: &ServiceIdentity,
        section: &str,
        routes: &[PolicyId],
    ) -> Option<Effective> {
        self.outbound.lookup(kind, service, section, routes)
    }

    /// What applies to incoming traffic of an inbound, by its position in the resource.
    pub fn inbound(&self, kind: PolicyKind, position: usize) -> Option<&InboundRules> {
        self.inbounds.get(position)?.get(&kind)
    }
}

/// The confs of proxies as a whole.
pub fn whole(policies: &[Arc<Policy>]) -> BTreeMap<PolicyKind, Effective> {
    let mut by_kind: BTreeMap<PolicyKind, Vec<Arc<Contribution>>> = BTreeMap::new();
    for policy in policies {
        by_kind
            .entry(policy.id.kind)
            .or_default()
            .extend(policy.default.clone());
    }
    by_kind
        .into_iter()
        .filter_map(|(kind, contributions)| Some((kind, Effective::of(kind, contributions)?)))
        .collect()
}
