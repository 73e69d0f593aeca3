//! Rules for incoming traffic (`spec/policies.md` §1.8 C, §7.2).
//!
//! The result is a list of which the first rule that matches a client decides, whole: each rule carries the merge of
//! every item that applies to its clients. So items never have to be turned into negations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::client_match::{Client, ClientMatch};
use super::effective::Effective;
use super::policy::{InboundItem, Policy};
use crate::form::matrix::PolicyKind;

/// Most rules of one kind on one inbound. Items that overlap in more ways than this are cut off, and
/// [`InboundRules::is_complete`] says so.
pub const MAX_RULES: usize = 1024;

/// The rules of one kind for one inbound.
#[derive(Clone, Debug, PartialEq)]
pub struct InboundRules {
    /// The rules; the first that matches a client decides.
    pub rules: Vec<InboundRule>,
    /// False if there were more overlaps than [`MAX_RULES`]; then some clients get the conf of fewer items than apply.
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
    /// The rules of policies that matched an inbound, by kind.
    pub fn of(policies: &[Arc<Policy>]) -> BTreeMap<PolicyKind, InboundRules> {
        let mut by_kind: BTreeMap<PolicyKind, Vec<&InboundItem>> = BTreeMap::new();
        for policy in policies {
            by_kind.entry(policy.id.kind).or_default().extend(&policy.rules);
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
    let own: BTreeSet<&ClientMatch> = items.iter().map(|item| &item.clients).collect();
    let mut closed: BTreeSet<ClientMatch> = own.iter().map(|clients| (*clients).clone()).collect();
    // With one item after the other, what overlaps with all before it is complete after a single pass.
    for clients in own {
        let more: Vec<_> = closed.iter().filter_map(|other| clients.intersection(other)).collect();
        for overlap in more {
            if closed.len() >= MAX_RULES && !closed.contains(&overlap) {
                return (closed, false);
            }
            closed.insert(overlap);
        }
    }
    (closed, true)
}
