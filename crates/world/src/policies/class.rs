//! A class: proxies whose outgoing traffic has the same policies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_model::ServiceIdentity;
use meshspan_model::policy::ClientInputs;
use meshspan_policy::{
    Confs, Fingerprint, Fingerprinter, OutboundRules, Policy, PolicyId, PolicySet, Proxy, Resolved, Services, resolve,
};
use serde_json::Value;

use super::ClassChanges;
use super::destination::{self, About};
use crate::view::{ClassKey, Client, DestinationKey, DestinationPolicies};

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
pub(super) fn key(policies: &[Arc<Policy>], proxy: &Proxy) -> ClassKey {
    let mut tags = BTreeMap::new();
    for affinity in policies.iter().flat_map(|policy| client_tags(policy)) {
        let value = proxy.inbounds.iter().find_map(|inbound| inbound.tags.get(&affinity));
        if let Some(value) = value.or_else(|| proxy.labels.get(&affinity)) {
            tags.insert(affinity, value.clone());
        }
    }
    ClassKey {
        policies: which(policies),
        client: Client { tags },
    }
}

fn which(policies: &[Arc<Policy>]) -> Fingerprint {
    let mut print = Fingerprinter::new();
    for policy in policies {
        print.text(policy.id.kind.name()).text(&policy.id.name);
    }
    print.finish()
}

/// Keys of the tags of a client on which the effect of a policy depends.
pub(super) fn client_tags(policy: &Policy) -> BTreeSet<String> {
    let ClientInputs::Tags(place) = policy.id.kind.info().client else {
        return BTreeSet::new();
    };
    let confs = policy.to.iter().map(|item| &item.contribution.conf);
    confs
        .filter_map(|conf| conf.pointer(place))
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|tag| tag.get("key")?.as_str())
        .map(str::to_owned)
        .collect()
}

/// The services that the items of a policy are about in particular.
fn named_by(policy: &Policy, targets: &Services) -> impl Iterator<Item = ServiceIdentity> {
    let items = policy.to.iter().filter_map(|item| match resolve(item, targets) {
        Resolved::All => None,
        Resolved::Services(found) => Some(found.into_keys()),
    });
    items.flatten().collect::<Vec<_>>().into_iter()
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

    /// Finds out anew what items are about. True if something else than before is said of every destination.
    fn resolve(&mut self, targets: &Services) -> bool {
        self.rules = OutboundRules::of(&self.policies, targets);
        let everywhere = destination::everywhere(&self.rules, &self.client);
        if everywhere == *self.everywhere {
            return false;
        }
        self.everywhere = Arc::new(everywhere);
        true
    }

    /// Takes edited policies and changed services.
    pub(super) fn refresh(
        &mut self,
        edited: &BTreeSet<PolicyId>,
        services: &BTreeSet<ServiceIdentity>,
        set: &PolicySet,
        targets: &Services,
    ) {
        let mut due = services.clone();
        let mut is_edited = false;
        for policy in self.policies.iter_mut().filter(|policy| edited.contains(&policy.id)) {
            // One that is gone, or that selects other proxies now, takes its members along.
            if let Some(current) = set.get(&policy.id) {
                due.extend(named_by(policy, targets).chain(named_by(current, targets)));
                *policy = current.clone();
                is_edited = true;
            }
        }
        if is_edited {
            if self.resolve(targets) {
                self.due = Due::All;
            }
        } else {
            for service in services {
                self.rules.refresh(&self.policies, targets, service);
            }
        }
        if is_edited || !due.is_empty() {
            // A route may lead to what changed, and a policy may be about a route.
            due.extend(self.routed.iter().map(|key| key.service.clone()));
        }
        if let Due::Services(already) = &mut self.due {
            already.extend(due);
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
        let mut changes = ClassChanges::new();
        match due {
            Due::All => {
                for key in destinations {
                    self.derive_one(key, targets, &mut changes);
                }
            }
            Due::Services(services) => {
                for service in services {
                    let first = DestinationKey {
                        service: service.clone(),
                        section: String::new(),
                    };
                    for key in destinations.range(first..).take_while(|key| key.service == service) {
                        self.derive_one(key, targets, &mut changes);
                    }
                }
                for key in changed.intersection(destinations) {
                    self.derive_one(key, targets, &mut changes);
                }
            }
        }
        for key in changed.difference(destinations) {
            self.routed.remove(key);
            if self.destinations.remove(key).is_some() {
                changes.insert(key.clone(), None);
            }
        }
        changes
    }

    fn derive_one(&mut self, key: &DestinationKey, targets: &Services, changes: &mut ClassChanges) {
        let policies = self.about(key, targets);
        if policies.http_rules.is_some() || policies.tcp_backends.is_some() {
            self.routed.insert(key.clone());
        } else {
            self.routed.remove(key);
        }
        if let Some(known) = self.destinations.get_mut(key) {
            if !Arc::ptr_eq(known, &policies) && **known != *policies {
                known.clone_from(&policies);
                changes.insert(key.clone(), Some(policies));
            }
        } else {
            self.destinations.insert(key.clone(), policies.clone());
            changes.insert(key.clone(), Some(policies));
        }
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

    /// What is said of each destination.
    pub(super) fn derived(&self) -> &BTreeMap<DestinationKey, Arc<DestinationPolicies>> {
        &self.destinations
    }

    /// What is said of traffic to destinations that the mesh does not know.
    pub(super) fn passthrough(&self) -> Confs {
        let confs = self.everywhere.confs.iter().filter(|(kind, _)| kind.info().passthrough);
        confs.map(|(kind, conf)| (kind, conf.clone())).collect()
    }
}
