//! A class: proxies whose outgoing traffic has the same policies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_model::ServiceIdentity;
use meshspan_model::policy::PolicyKind;
use meshspan_policy::{Confs, Fingerprint, Fingerprinter, OutboundRules, Policy, PolicyId, PolicySet, Proxy, Services};
use serde_json::Value;

use super::ClassChanges;
use super::destination::{self, About};
use crate::view::{ClassKey, Client, DestinationKey, DestinationPolicies, Source};

#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) members: BTreeSet<String>,
    policies: Vec<Arc<Policy>>,
    client: Client,
    rules: OutboundRules,
    /// What is said of destinations of which nothing is said in particular.
    everywhere: Arc<DestinationPolicies>,
    destinations: BTreeMap<DestinationKey, Arc<DestinationPolicies>>,
    /// Destinations whose traffic is routed, perhaps to services that come later.
    routed: BTreeSet<DestinationKey>,
    due: Due,
}

/// Destinations that must be derived again.
#[derive(Clone, Debug)]
enum Due {
    All,
    Services(BTreeSet<ServiceIdentity>),
}

/// The class of a proxy.
pub(super) fn key(policies: &[Arc<Policy>], proxy: &Proxy, source: Source) -> ClassKey {
    let mut tags = BTreeMap::new();
    for affinity in policies.iter().flat_map(|policy| affinity_keys(policy)) {
        let value = proxy.inbounds.iter().find_map(|inbound| inbound.tags.get(&affinity));
        if let Some(value) = value.or_else(|| proxy.labels.get(&affinity)) {
            tags.insert(affinity, value.clone());
        }
    }
    let logs = policies
        .iter()
        .any(|policy| policy.id.kind == PolicyKind::MeshAccessLog);
    ClassKey {
        policies: which(policies),
        client: Client {
            tags,
            source: logs.then_some(source),
        },
    }
}

fn which(policies: &[Arc<Policy>]) -> Fingerprint {
    let mut print = Fingerprinter::new();
    for policy in policies {
        print.text(policy.id.kind.name()).text(&policy.id.name);
    }
    print.finish()
}

/// Keys of the tags by which a MeshLoadBalancingStrategy prefers endpoints.
fn affinity_keys(policy: &Policy) -> BTreeSet<String> {
    if policy.id.kind != PolicyKind::MeshLoadBalancingStrategy {
        return BTreeSet::new();
    }
    let confs = policy.to.iter().map(|item| &item.contribution.conf);
    confs
        .filter_map(|conf| conf.pointer("/localityAwareness/localZone/affinityTags"))
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|tag| tag.get("key")?.as_str())
        .map(str::to_owned)
        .collect()
}

impl Class {
    pub(super) fn new(policies: Vec<Arc<Policy>>, client: Client, targets: &Services) -> Self {
        let mut class = Self {
            members: BTreeSet::new(),
            policies,
            client,
            rules: OutboundRules::default(),
            everywhere: Arc::default(),
            destinations: BTreeMap::new(),
            routed: BTreeSet::new(),
            due: Due::All,
        };
        class.resolve(targets);
        class
    }

    fn resolve(&mut self, targets: &Services) {
        self.rules = OutboundRules::of(&self.policies, targets);
        self.everywhere = Arc::new(destination::everywhere(&self.rules, &self.client));
        self.due = Due::All;
    }

    /// Takes edited policies and changed services.
    pub(super) fn refresh(
        &mut self,
        edited: &BTreeSet<PolicyId>,
        services: &BTreeSet<ServiceIdentity>,
        set: &PolicySet,
        targets: &Services,
    ) {
        let mut is_edited = false;
        for policy in self.policies.iter_mut().filter(|policy| edited.contains(&policy.id)) {
            // One that is gone, or that selects other proxies now, takes its members along.
            if let Some(current) = set.get(&policy.id) {
                *policy = current.clone();
                is_edited = true;
            }
        }
        if is_edited {
            self.resolve(targets);
            return;
        }
        for service in services {
            self.rules.refresh(&self.policies, targets, service);
        }
        if let Due::Services(due) = &mut self.due {
            due.extend(services.iter().cloned());
            if !services.is_empty() {
                due.extend(self.routed.iter().map(|key| key.service.clone()));
            }
        }
    }

    /// Says again what is due, or about destinations that came or went.
    pub(super) fn derive(
        &mut self,
        destinations: &BTreeSet<DestinationKey>,
        changed: &BTreeSet<DestinationKey>,
        targets: &Services,
    ) -> ClassChanges {
        let due = std::mem::replace(&mut self.due, Due::Services(BTreeSet::new()));
        let keys: BTreeSet<DestinationKey> = match due {
            Due::All => destinations.iter().chain(self.destinations.keys()).cloned().collect(),
            Due::Services(services) => {
                let of_services = services.iter().flat_map(|service| {
                    let first = DestinationKey {
                        service: service.clone(),
                        section: String::new(),
                    };
                    destinations
                        .range(first..)
                        .take_while(move |key| key.service == *service)
                });
                of_services.chain(changed).cloned().collect()
            }
        };
        let mut changes = ClassChanges::new();
        for key in keys {
            if !destinations.contains(&key) {
                self.routed.remove(&key);
                if self.destinations.remove(&key).is_some() {
                    changes.insert(key, None);
                }
                continue;
            }
            let policies = self.about(&key, targets);
            if policies.http_rules.is_some() || policies.tcp_backends.is_some() {
                self.routed.insert(key.clone());
            } else {
                self.routed.remove(&key);
            }
            if self.destinations.get(&key) != Some(&policies) {
                changes.insert(key.clone(), Some(policies.clone()));
                self.destinations.insert(key, policies);
            }
        }
        changes
    }

    fn about(&self, key: &DestinationKey, targets: &Services) -> Arc<DestinationPolicies> {
        if !self.rules.is_about(&key.service) {
            return self.everywhere.clone();
        }
        let about = About {
            rules: &self.rules,
            policies: &self.policies,
            targets,
            client: &self.client,
        };
        Arc::new(about.destination(key))
    }

    /// The MeshAccessLog for traffic to destinations that the mesh does not know.
    pub(super) fn passthrough(&self) -> Confs {
        let kind = PolicyKind::MeshAccessLog;
        let logs = self.everywhere.confs.json(kind).cloned();
        logs.into_iter().map(|conf| (kind, conf)).collect()
    }
}
