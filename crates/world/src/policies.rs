//! Policies of a mesh: which proxies they touch, and what they say about each destination.
//!
//! Proxies whose outgoing traffic has the same policies form a class, and what policies say about a destination is
//! computed once a class. A class is known by which policies matched, not by what they say, so that an edit of a policy
//! changes the destinations that it is about and nothing else.

mod class;
mod destination;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use meshspan_model::ServiceIdentity;
use meshspan_model::kinds::zone_egress::EGRESS_SERVICE;
use meshspan_model::labels::TAG_SERVICE;
use meshspan_policy::{
    Confs, Fingerprint, InboundRules, Matched, Mode, Policy, PolicyId, PolicySet, Proxy, ProxyInbound, SelectBy,
    Service, Services, touch,
};

use crate::view::{ClassKey, DestinationKey, DestinationPolicies, InboundPolicies};
use class::Class;

/// What changed of one class: destinations of which something else is said; `None` for those that are gone.
pub type ClassChanges = BTreeMap<DestinationKey, Option<Arc<DestinationPolicies>>>;

/// Policies of one mesh and what follows from them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    set: PolicySet,
    /// What policies may refer to.
    targets: Services,
    classes: BTreeMap<ClassKey, Class>,
    class_of: BTreeMap<String, ClassKey>,
    /// Inbounds with the same policies share what these say together.
    inbounds: BTreeMap<Fingerprint, Weak<InboundPolicies>>,
    dirty: Dirty,
}

#[derive(Clone, Debug, Default)]
struct Dirty {
    /// Policies that say something else than before.
    edited: BTreeSet<PolicyId>,
    /// Services that came, went, or changed their labels or ports.
    targets: BTreeSet<ServiceIdentity>,
    /// Classes that lost a member or are new.
    classes: BTreeSet<ClassKey>,
}

/// What policies say about one proxy.
pub(crate) struct OfProxy {
    pub(crate) class: ClassKey,
    pub(crate) inbounds: Vec<Arc<InboundPolicies>>,
    /// The MeshAccessLog for traffic to destinations that the mesh does not know.
    pub(crate) passthrough: Confs,
}

impl Policies {
    /// Takes a policy, or its removal; `proxies` are all of the mesh. Returns those whose own view may change: all that it
    /// touches or touched, or, if it only says something else of destinations, which is a matter of classes, those that it
    /// touches no more or for the first time.
    pub(crate) fn apply<'a>(
        &mut self,
        id: &PolicyId,
        after: Option<Policy>,
        proxies: impl Iterator<Item = (&'a String, &'a Proxy)> + Clone,
    ) -> BTreeSet<String> {
        let before = self.set.get(id).cloned();
        let touched_before = self.touched_by(id, proxies.clone());
        match after {
            Some(policy) => {
                self.set.insert(policy);
            }
            None => {
                self.set.remove(id);
            }
        }
        let touched_after = self.touched_by(id, proxies);
        self.dirty.edited.insert(id.clone());
        if let (Some(before), Some(after)) = (&before, self.set.get(id))
            && is_about_destinations_only(before, after)
        {
            return touched_before.symmetric_difference(&touched_after).cloned().collect();
        }
        touched_before.union(&touched_after).cloned().collect()
    }

    fn touched_by<'a>(
        &self,
        id: &PolicyId,
        proxies: impl Iterator<Item = (&'a String, &'a Proxy)>,
    ) -> BTreeSet<String> {
        let Some(policy) = self.set.get(id) else {
            return BTreeSet::new();
        };
        proxies
            .filter(|(_, proxy)| touch(policy, proxy, &self.set, Mode::Live).is_some())
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Takes a service that policies may refer to.
    pub(crate) fn set_target(&mut self, service: Service) {
        if self
            .targets
            .get(&service.identity)
            .is_some_and(|known| **known == service)
        {
            return;
        }
        self.dirty.targets.insert(service.identity.clone());
        self.targets.insert(service);
    }

    /// Takes the removal of a service.
    pub(crate) fn remove_target(&mut self, service: &ServiceIdentity) {
        self.targets.remove(service);
        self.dirty.targets.insert(service.clone());
    }

    /// Lets classes know of edited policies and changed services; to be called before [`Policies::of_proxy`].
    pub(crate) fn refresh(&mut self) {
        for class in self.classes.values_mut() {
            class.refresh(&self.dirty.edited, &self.dirty.targets, &self.set, &self.targets);
        }
        self.dirty.edited.clear();
        self.dirty.targets.clear();
    }

    /// What policies say about a proxy, which becomes a member of its class.
    pub(crate) fn of_proxy(&mut self, name: &str, proxy: &Proxy) -> OfProxy {
        let matched = Matched::of(proxy, &self.set, Mode::Live);
        let key = class::key(&matched.outbound, proxy);
        self.join(name, key.clone());
        let targets = &self.targets;
        let class = self
            .classes
            .entry(key.clone())
            .or_insert_with(|| Class::new(matched.outbound.clone(), key.client.clone(), targets));
        class.members.insert(name.to_owned());
        let passthrough = class.passthrough();
        let inbounds = (0..matched.inbounds.len())
            .map(|position| self.inbound(&matched, position))
            .collect();
        OfProxy {
            class: key,
            inbounds,
            passthrough,
        }
    }

    /// Forgets a proxy.
    pub(crate) fn remove_proxy(&mut self, name: &str) {
        self.leave(name);
    }

    fn join(&mut self, name: &str, key: ClassKey) {
        if self.class_of.get(name) == Some(&key) {
            return;
        }
        self.leave(name);
        self.dirty.classes.insert(key.clone());
        self.class_of.insert(name.to_owned(), key);
    }

    fn leave(&mut self, name: &str) {
        let Some(key) = self.class_of.remove(name) else { return };
        if let Some(class) = self.classes.get_mut(&key) {
            class.members.remove(name);
        }
        self.dirty.classes.insert(key);
    }

    fn inbound(&mut self, matched: &Matched, position: usize) -> Arc<InboundPolicies> {
        let policies = matched.inbounds.get(position).map(Vec::as_slice).unwrap_or_default();
        let key = matched.inbound_key(position).unwrap_or_default();
        if let Some(shared) = self.inbounds.get(&key).and_then(Weak::upgrade) {
            return shared;
        }
        let made = Arc::new(InboundRules::of(policies));
        self.inbounds.retain(|_, shared| shared.strong_count() > 0);
        self.inbounds.insert(key, Arc::downgrade(&made));
        made
    }

    /// Derives what classes say about destinations. `destinations` are all of the mesh, `changed` those that came or
    /// went. Returns what came out different; `None` for classes that have no member any more.
    pub(crate) fn derive(
        &mut self,
        destinations: &BTreeSet<DestinationKey>,
        changed: &BTreeSet<DestinationKey>,
    ) -> BTreeMap<ClassKey, Option<ClassChanges>> {
        let mut changes = BTreeMap::new();
        for key in std::mem::take(&mut self.dirty.classes) {
            if self.classes.get(&key).is_some_and(|class| class.members.is_empty()) {
                self.classes.remove(&key);
                changes.insert(key, None);
            }
        }
        for (key, class) in &mut self.classes {
            let found = class.derive(destinations, changed, &self.targets);
            if !found.is_empty() {
                changes.insert(key.clone(), Some(found));
            }
        }
        changes
    }

    /// What policies for egresses say about traffic that leaves the mesh, if there are any: those that select proxies with the
    /// service tag of egresses. What is said of all proxies of a mesh is not said of them.
    pub(crate) fn of_egress(&self, mesh: &str) -> Option<Arc<InboundPolicies>> {
        let matched = Matched::of(&egress(mesh), &self.set, Mode::Live);
        let named = |policy: &&Arc<Policy>| policy.proxies.by != SelectBy::All;
        let policies: Vec<_> = matched.inbounds.iter().flatten().filter(named).cloned().collect();
        (!policies.is_empty()).then(|| Arc::new(InboundRules::of(&policies)))
    }

    /// Whether a policy says something of traffic that leaves the mesh.
    pub(crate) fn is_about_egress(&self, id: &PolicyId) -> bool {
        self.set.get(id).is_some_and(|policy| {
            let inbound = !policy.rules.is_empty() && policy.proxies.by != SelectBy::All;
            inbound && touch(policy, &egress(&id.mesh), &self.set, Mode::Live).is_some()
        })
    }

    /// What policies say about a proxy and its destinations in a mode, without remembering it.
    pub(crate) fn inspect(
        &self,
        proxy: &Proxy,
        mode: Mode,
        destinations: &BTreeSet<DestinationKey>,
    ) -> (OfProxy, BTreeMap<DestinationKey, Arc<DestinationPolicies>>) {
        let matched = Matched::of(proxy, &self.set, mode);
        let key = class::key(&matched.outbound, proxy);
        // What is in effect has been derived.
        let known = self.classes.get(&key).filter(|_| mode == Mode::Live);
        let (about, passthrough) = match known {
            Some(class) => (class.derived().clone(), class.passthrough()),
            None => {
                let mut class = Class::new(matched.outbound.clone(), key.client.clone(), &self.targets);
                class.derive(destinations, &BTreeSet::new(), &self.targets);
                (class.derived().clone(), class.passthrough())
            }
        };
        let of_proxy = OfProxy {
            class: key,
            inbounds: matched
                .inbounds
                .iter()
                .map(|policies| Arc::new(InboundRules::of(policies)))
                .collect(),
            passthrough,
        };
        (of_proxy, about)
    }
}

/// An egress as policies of a mesh see it.
fn egress(mesh: &str) -> Proxy {
    let tags = BTreeMap::from([(TAG_SERVICE.to_owned(), EGRESS_SERVICE.to_owned())]);
    Proxy {
        mesh: mesh.to_owned(),
        name: EGRESS_SERVICE.to_owned(),
        labels: tags.clone(),
        gateway: None,
        inbounds: vec![ProxyInbound {
            tags,
            ..ProxyInbound::default()
        }],
    }
}

/// True if an edit changes nothing but what is said of destinations: proxies keep their class and their inbounds.
fn is_about_destinations_only(before: &Policy, after: &Policy) -> bool {
    // Labels decide on scope and effect, and those of a route on which policies are about it.
    let same_labels = before.resource.labels == after.resource.labels;
    let of_proxies = |policy: &Policy| !policy.rules.is_empty() || policy.default.is_some();
    same_labels
        && !of_proxies(before)
        && !of_proxies(after)
        && before.to.is_empty() == after.to.is_empty()
        && !after.id.kind.info().passthrough
        && class::client_tags(before) == class::client_tags(after)
}
