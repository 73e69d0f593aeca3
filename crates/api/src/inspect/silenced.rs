//! Policies of the older form that do not count, because policies of the newer form are about the same inbounds.

use std::sync::Arc;

use meshspan_model::policy::PolicyKind;
use meshspan_policy::{Mode as Shadow, Policy, touch};

use super::MeshPolicies;
use super::inspected::Inspected;

/// Whether one of the policies of an inbound silences `from` of another.
pub(super) fn is_silenced(policy: &Policy, on_inbound: &[Arc<Policy>]) -> bool {
    on_inbound.iter().any(|other| other.silences(policy))
}

impl MeshPolicies<'_> {
    /// What a policy silences at present, or what silences it, for whoever wrote it.
    pub(crate) fn silenced(&self, policy: &Policy) -> Vec<String> {
        let others = self.policies.iter().filter(|other| {
            let counts = other.id != policy.id && !other.shadow && !policy.shadow;
            counts && (policy.silences(other) || other.silences(policy))
        });
        let others: Vec<&Arc<Policy>> = others.collect();
        if others.is_empty() {
            return Vec::new();
        }
        let mut shared = vec![Shared::default(); others.len()];
        for proxy in self.proxies() {
            let Some(own) = touch(policy, &proxy, &self.policies, Shadow::Live) else {
                continue;
            };
            for (other, shared) in others.iter().zip(&mut shared) {
                let touched = touch(other, &proxy, &self.policies, Shadow::Live);
                if touched.is_some_and(|touched| !touched.inbounds.is_disjoint(&own.inbounds)) {
                    shared.add(&proxy.name);
                }
            }
        }
        let found = others.into_iter().zip(shared).filter(|(_, shared)| shared.proxies > 0);
        found
            .map(|(other, shared)| {
                let (name, proxies) = (other.resource.display_name(), shared.text());
                match policy.silences(other) {
                    true => format!(
                        "spec.rules replaces spec.from of {} \"{name}\" on inbounds of {proxies}: only clients that rules let in get in there",
                        other.id.kind
                    ),
                    false => format!(
                        "spec.from has no effect on inbounds of {proxies}: spec.rules of {} \"{name}\" replaces it there",
                        other.id.kind
                    ),
                }
            })
            .collect()
    }
}

/// The proxies on which two policies meet.
#[derive(Clone, Debug, Default)]
struct Shared {
    proxies: usize,
    first: String,
}

impl Shared {
    fn add(&mut self, proxy: &str) {
        if self.proxies == 0 {
            proxy.clone_into(&mut self.first);
        }
        self.proxies += 1;
    }

    fn text(&self) -> String {
        match self.proxies {
            1 => self.first.clone(),
            proxies => format!("{proxies} proxies such as {}", self.first),
        }
    }
}

impl Inspected<'_> {
    /// Policies of which `from` does not count on inbounds of this proxy, by kind.
    pub(super) fn silenced(&self) -> impl Iterator<Item = (PolicyKind, String)> {
        let inbounds = self
            .dataplane
            .networking
            .inbound
            .iter()
            .zip(&self.effective.matched.inbounds);
        inbounds.flat_map(|(inbound, policies)| {
            policies.iter().filter_map(move |policy| {
                let by = policies.iter().find(|other| other.silences(policy))?;
                let (name, by) = (policy.resource.display_name(), by.resource.display_name());
                let section = inbound.section();
                Some((
                    policy.id.kind,
                    format!(
                        "{name}: spec.from has no effect on inbound {section}: spec.rules of \"{by}\" replaces it there"
                    ),
                ))
            })
        })
    }
}
