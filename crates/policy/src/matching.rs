//! Which policies a proxy gets, and the reverse (`spec/policies.md` §1.4, §1.5).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_model::labels;

use super::fingerprint::{Fingerprint, Fingerprinter};
use super::policy::{Policy, SelectBy};
use super::proxy::Proxy;
use super::set::{Mode, PolicySet};
use meshspan_model::policy::Role;

/// What of a proxy a policy is about. That it exists means that the proxy as a whole gets what the policy says of
/// outgoing traffic and of proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touch {
    /// Positions of the inbounds that get its rules.
    pub inbounds: BTreeSet<usize>,
}

/// What of a proxy a policy is about; `None` if the policy does not touch it. Whether the policy is in shadow does not
/// matter; `mode` says which routes count where it selects by route.
///
/// A change of a policy makes a difference only to proxies that it touched before or touches after; also if it is a
/// route that other policies are about, since those reach no other traffic than the route's.
pub fn touch(policy: &Policy, proxy: &Proxy, policies: &PolicySet, mode: Mode) -> Option<Touch> {
    if policy.id.mesh != proxy.mesh || !in_scope(policy, proxy) {
        return None;
    }
    match &policy.proxies.by {
        SelectBy::Routes(labels) => {
            let mut touched = None;
            for route in policies.routes(&proxy.mesh, labels, mode) {
                // A route cannot select by route, so this ends here.
                if in_scope(route, proxy)
                    && let Some(of_route) = select(route, proxy)
                {
                    touched
                        .get_or_insert_with(Touch::default)
                        .inbounds
                        .extend(of_route.inbounds);
                }
            }
            touched
        }
        _ => select(policy, proxy),
    }
}

/// The proxies that a policy touches, out of those given; none means that the policy is without effect.
pub fn touched<'a>(
    policy: &Policy,
    proxies: impl IntoIterator<Item = &'a Proxy>,
    policies: &PolicySet,
    mode: Mode,
) -> Vec<(&'a Proxy, Touch)> {
    let with_touch = |proxy| Some((proxy, touch(policy, proxy, policies, mode)?));
    proxies.into_iter().filter_map(with_touch).collect()
}

/// Whether the policy may reach the proxy at all.
fn in_scope(policy: &Policy, proxy: &Proxy) -> bool {
    let resource = &policy.resource;
    let zone_made = resource.label(labels::ORIGIN) == labels::ORIGIN_ZONE;
    let same_zone = resource.zone().is_empty() || proxy.label(labels::ZONE) == resource.zone();
    // A policy that came from the global control plane is not of origin zone, whoever wrote it.
    let origin = proxy.labels.get(labels::ORIGIN);
    let proxy_is_of_zone = origin.is_none_or(|origin| origin == labels::ORIGIN_ZONE);
    let zone = policy.role == Role::Producer || !zone_made || !proxy_is_of_zone || same_zone;
    let namespace = match policy.role {
        Role::System | Role::Producer => true,
        Role::Consumer | Role::WorkloadOwner => proxy.label(labels::NAMESPACE) == resource.namespace(),
    };
    zone && namespace
}

/// What the top-level reference selects.
fn select(policy: &Policy, proxy: &Proxy) -> Option<Touch> {
    let selector = &policy.proxies;
    let is_meant = match proxy.gateway {
        Some(_) => selector.gateways,
        None => selector.sidecars,
    };
    if !is_meant {
        return None;
    }
    let inbounds = |wanted: &dyn Fn(&super::proxy::ProxyInbound) -> bool| {
        let found = proxy.inbounds.iter().enumerate();
        found
            .filter(|(_, inbound)| !inbound.ignored && wanted(inbound))
            .map(|(position, _)| position)
            .collect::<BTreeSet<_>>()
    };
    match &selector.by {
        SelectBy::All => Some(Touch {
            inbounds: inbounds(&|_| true),
        }),
        SelectBy::Tags(wanted) => {
            let inbounds = inbounds(&|inbound| has_all(&inbound.tags, wanted));
            let gateway = proxy.gateway.as_ref().is_some_and(|tags| has_all(tags, wanted));
            (gateway || wanted.is_empty() || !inbounds.is_empty()).then_some(Touch { inbounds })
        }
        SelectBy::Labels(wanted, section) => {
            if !has_all(&proxy.labels, wanted) {
                return None;
            }
            let inbounds = inbounds(&|inbound| section.is_empty() || inbound.is(section));
            (section.is_empty() || !inbounds.is_empty()).then_some(Touch { inbounds })
        }
        SelectBy::Routes(_) | SelectBy::Nothing => None,
    }
}

fn has_all(own: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| own.get(key) == Some(value))
}

/// The policies of one proxy, unordered: items carry their precedence.
#[derive(Clone, Debug, Default)]
pub struct Matched {
    /// Those with something to say of outgoing traffic.
    pub outbound: Vec<Arc<Policy>>,
    /// Those with something to say of the proxy as a whole.
    pub whole: Vec<Arc<Policy>>,
    /// Those with something to say of incoming traffic, per inbound of the proxy.
    pub inbounds: Vec<Vec<Arc<Policy>>>,
}

impl Matched {
    /// Matches a proxy.
    pub fn of(proxy: &Proxy, policies: &PolicySet, mode: Mode) -> Self {
        let mut matched = Self {
            inbounds: vec![Vec::new(); proxy.inbounds.len()],
            ..Self::default()
        };
        for policy in policies.of_mesh(&proxy.mesh, mode) {
            let Some(touch) = touch(policy, proxy, policies, mode) else {
                continue;
            };
            if !policy.to.is_empty() {
                matched.outbound.push(policy.clone());
            }
            if policy.default.is_some() {
                matched.whole.push(policy.clone());
            }
            if policy.rules.is_empty() {
                continue;
            }
            for (position, inbound) in matched.inbounds.iter_mut().enumerate() {
                if touch.inbounds.contains(&position) {
                    inbound.push(policy.clone());
                }
            }
        }
        matched
    }

    /// Proxies of one zone and mesh with equal keys have the same policies for outgoing traffic, so that they can
    /// share everything that is made of those and of the mesh's destinations.
    pub fn outbound_key(&self) -> Fingerprint {
        key(&self.outbound)
    }

    /// The same for what concerns proxies as a whole.
    pub fn whole_key(&self) -> Fingerprint {
        key(&self.whole)
    }

    /// The same for one inbound; `None` if the proxy has no inbound there.
    pub fn inbound_key(&self, position: usize) -> Option<Fingerprint> {
        self.inbounds.get(position).map(|policies| key(policies))
    }

    /// All of the above in one: equal if and only if the same policies apply to the same parts.
    pub fn key(&self) -> Fingerprint {
        let mut print = Fingerprinter::new();
        print.number(self.outbound_key().0).number(self.whole_key().0);
        for policies in &self.inbounds {
            print.number(key(policies).0);
        }
        print.finish()
    }
}

/// Policies come in the order of a [`PolicySet`], so equal sets give equal keys.
fn key(policies: &[Arc<Policy>]) -> Fingerprint {
    let mut print = Fingerprinter::new();
    for policy in policies {
        print.number(policy.fingerprint.0);
    }
    print.finish()
}
