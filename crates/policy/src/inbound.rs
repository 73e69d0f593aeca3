//! Rules for incoming traffic (`spec/policies.md` §1.8 C, §7.2).
//!
//! The result is a list of which the first rule that matches a client decides, whole: each rule carries the merge of
//! every item that applies to its clients. So items never have to be turned into negations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::client_match::{Client, ClientMatch};
use super::effective::Effective;
use super::policy::{InboundItem, Policy};
use meshspan_model::policy::PolicyKind;

/// Most rules of one kind on one inbound. If items select clients in more ways than this, those of lowest precedence
/// and overlaps are cut off, and [`InboundRules::is_complete`] says so.
pub const MAX_RULES: usize = 1024;

/// The rules of one kind for one inbound.
#[derive(Clone, Debug, PartialEq)]
pub struct InboundRules {
    /// The rules; the first that matches a client decides.
    pub rules: Vec<InboundRule>,
    /// False if there were more than [`MAX_RULES`]; then some clients get the conf of fewer items than apply, and
    /// whatever depends on it must fail safe.
    pub is_complete: bool,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct InboundRule {
    /// The clients.
    pub clients: ClientMatch,
    /// Their conf.
    pub effective: Effective,
}

impl InboundRules {
    /// The rules of policies that matched an inbound, by kind. Of some kinds the newer form replaces the older one.
    pub fn of(policies: &[Arc<Policy>]) -> BTreeMap<PolicyKind, InboundRules> {
        let mut by_kind: BTreeMap<PolicyKind, Vec<&InboundItem>> = BTreeMap::new();
        for policy in policies {
            let is_silenced = policies.iter().any(|other| other.silences(policy));
            let items = policy.rules.iter().filter(|_| !is_silenced);
            by_kind.entry(policy.id.kind).or_default().extend(items);
        }
        by_kind
            .into_iter()
            .map(|(kind, items)| (kind, InboundRules::of_items(kind, &items)))
            .collect()
    }

    /// The rules of items of one kind.
    pub fn of_items(kind: PolicyKind, items: &[&InboundItem]) -> Self {
        let (clients, is_complete) = overlaps(items);
        let rules = clients.into_iter().filter_map(|clients| {
            let applying = items.iter().filter(|item| clients.implies(&item.clients));
            let effective = Effective::of(kind, applying.map(|item| item.contribution.clone()))?;
            Some(InboundRule { clients, effective })
        });
        let mut rules: Vec<_> = rules.collect();
        rules.sort_by_key(|rule| rule.clients.order());
        Self { rules, is_complete }
    }

    /// What applies to a client.
    pub fn for_client(&self, client: &Client) -> Option<&Effective> {
        let rule = self.rules.iter().find(|rule| rule.clients.matches(client))?;
        Some(&rule.effective)
    }

    /// What applies to all clients that no other rule is about.
    pub fn for_all(&self) -> Option<&Effective> {
        let rule = self.rules.iter().find(|rule| rule.clients.is_all())?;
        Some(&rule.effective)
    }
}

/// The clients of all items, and of all items that overlap.
fn overlaps(items: &[&InboundItem]) -> (BTreeSet<ClientMatch>, bool) {
    let mut by_precedence = items.to_vec();
    by_precedence.sort_by(|a, b| b.contribution.precedence.cmp(&a.contribution.precedence));
    let mut own = BTreeSet::new();
    let mut is_complete = true;
    for item in by_precedence {
        is_complete &= add(&mut own, item.clients.clone());
    }
    // With one item after the other, what overlaps with all before it is complete after a single pass.
    let mut closed = own.clone();
    for clients in &own {
        let more: Vec<_> = closed.iter().filter_map(|other| clients.intersection(other)).collect();
        for overlap in more {
            is_complete &= add(&mut closed, overlap);
        }
        if !is_complete {
            break;
        }
    }
    (closed, is_complete)
}

/// Adds unless there are too many already; false if there are.
fn add(found: &mut BTreeSet<ClientMatch>, clients: ClientMatch) -> bool {
    let fits = found.len() < MAX_RULES || found.contains(&clients);
    if fits {
        found.insert(clients);
    }
    fits
}
