//! Which zones take over from which: the order of zones as a policy wants it, without a word about endpoints.
//!
//! Zones of one tier share the traffic that the tiers before it cannot carry; Envoy calls a tier a priority. Tiers are
//! contiguous from 0, the own zone, whether or not the service has an instance there (`spec/policies.md` §7.3).

use std::collections::{BTreeMap, BTreeSet};

use meshspan_model::kinds::mesh_load_balancing_strategy::{Failover, LocalityAwareness, ToZonesType};

/// What becomes of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// It gets traffic once the tiers below this one have too few healthy endpoints.
    Number(u32),
    /// It gets nothing.
    Excluded,
}

/// The highest priority that Envoy takes; zones beyond share it.
const MAX_TIER: u32 = 128;

/// How zones are ordered.
enum Order<'a> {
    /// All are equal.
    Together,
    /// The own one, then all others.
    OwnFirst,
    /// The own one, then as the rules that concern it say.
    Rules(Vec<&'a Failover>),
}

/// The tier of each of `zones`, as seen from the zone `own`.
///
/// Without rules the other zones are equal and come after the own one: a preference within the own zone alone keeps nobody
/// in it. With rules, the first one for clients in `own` that accepts a zone decides. A zone that none accepts is excluded.
/// The type `None` accepts nothing and, as in the reference, does not keep later rules from accepting
/// (`spec/dataplane.md` §4.3).
pub(crate) fn tiers<'a>(
    own: &str,
    zones: impl IntoIterator<Item = &'a str>,
    awareness: Option<&LocalityAwareness>,
) -> BTreeMap<&'a str, Tier> {
    let order = Order::of(own, awareness);
    let ranks: BTreeMap<&str, Option<usize>> = zones.into_iter().map(|zone| (zone, order.rank(own, zone))).collect();
    let in_use: BTreeSet<usize> = ranks.values().copied().flatten().chain([0]).collect();
    let number = |rank: usize| {
        let below = in_use.range(..rank).count();
        u32::try_from(below).unwrap_or(MAX_TIER).min(MAX_TIER)
    };
    ranks
        .into_iter()
        .map(|(zone, rank)| (zone, rank.map_or(Tier::Excluded, |rank| Tier::Number(number(rank)))))
        .collect()
}

impl<'a> Order<'a> {
    fn of(own: &str, awareness: Option<&'a LocalityAwareness>) -> Self {
        let Some(awareness) = awareness else {
            return Order::OwnFirst;
        };
        let failover = awareness
            .cross_zone
            .as_ref()
            .and_then(|cross| cross.failover.as_deref());
        match failover {
            Some(rules) if !rules.is_empty() => Order::Rules(rules.iter().filter(|rule| concerns(rule, own)).collect()),
            _ if awareness.cross_zone.is_some() || awareness.local_zone.is_some() => Order::OwnFirst,
            _ if awareness.disabled == Some(true) => Order::Together,
            _ => Order::OwnFirst,
        }
    }

    /// Where a zone stands, not yet contiguous; `None` for one that gets nothing.
    fn rank(&self, own: &str, zone: &str) -> Option<usize> {
        match self {
            Order::Together => Some(0),
            _ if zone == own => Some(0),
            Order::OwnFirst => Some(1),
            Order::Rules(rules) => {
                let deciding = rules.iter().position(|rule| accepts(rule, zone))?;
                Some(deciding + 1)
            }
        }
    }
}

fn concerns(rule: &Failover, own: &str) -> bool {
    rule.from
        .as_ref()
        .is_none_or(|from| from.zones.iter().any(|zone| zone == own))
}

fn accepts(rule: &Failover, zone: &str) -> bool {
    let listed = || rule.to.zones.iter().flatten().any(|one| one == zone);
    match rule.to.how {
        Some(ToZonesType::Any) => true,
        Some(ToZonesType::Only) => listed(),
        Some(ToZonesType::AnyExcept) => !listed(),
        Some(ToZonesType::None) | None => false,
    }
}

#[cfg(test)]
#[path = "tiers_tests.rs"]
mod tests;
