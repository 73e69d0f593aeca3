//! One resource type on one stream.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::isolation;
use super::subscription::{Edit, Subscription};
use crate::proto::ads::DeltaDiscoveryRequest;
use crate::resource::{Resource, Snapshot};
use crate::resource_type::ResourceType;

/// Bodies in one response stop growing beyond this many bytes; the rest follows after its acknowledgement.
const MAX_RESPONSE_BYTES: usize = 2 << 20;

/// A version that a client refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The refused version.
    pub version: Arc<str>,
    /// The client's words.
    pub message: String,
}

/// How much a client wants to hear of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    /// If it differs from what the client has.
    IfChanged,
    /// In any case; the answer may be that it does not exist.
    Always,
}

/// What the client has under a name.
#[derive(Debug, Default)]
struct Held {
    /// The version sent last, `None` if that was refused and so says nothing about what the client has.
    sent: Option<Arc<str>>,
    /// Whether the client accepted any version, and so runs on one.
    accepted: bool,
}

/// A response under way.
#[derive(Debug)]
struct InFlight {
    nonce: String,
    resources: Vec<(Arc<str>, Arc<str>)>,
    /// Some of the resources are new to the client.
    introduces: bool,
}

/// The content of one response.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// With their bodies.
    pub resources: Vec<(Resource, Bytes)>,
    pub removed: Vec<Arc<str>>,
}

/// The state of one resource type on one stream.
#[derive(Debug, Default)]
pub(super) struct TypeState {
    subscription: Subscription,
    held: BTreeMap<Arc<str>, Held>,
    /// Names to look at when the next response may be sent.
    pending: BTreeMap<Arc<str>, Want>,
    /// Parts of a rejected response, to be sent one by one.
    isolating: VecDeque<Vec<Arc<str>>>,
    /// What the client refused and has not accepted in another version since.
    rejected: BTreeMap<Arc<str>, Rejection>,
    rejected_changed: bool,
    in_flight: Option<InFlight>,
    /// A wildcard subscription is answered even if there is nothing to send.
    owes_answer: bool,
    resumed: bool,
    /// What the client runs, as far as it has not been reported yet.
    news: Option<Holdings>,
}

/// What changed in what a client runs of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// The first of a stream: nothing else is held.
    pub first: bool,
    /// Resources of which the client has accepted some version now, and had accepted none before.
    pub added: Vec<Arc<str>>,
    /// Resources that were taken away.
    pub removed: Vec<Arc<str>>,
}

/// Questions of the state machine.
impl TypeState {
    pub(super) const fn is_requested(&self) -> bool {
        self.subscription.is_requested()
    }

    /// Whether the client came back with resources from an earlier stream.
    pub(super) const fn is_resumed(&self) -> bool {
        self.resumed
    }

    pub(super) fn subscribed_names(&self) -> usize {
        self.subscription.names().len()
    }

    pub(super) fn rejected(&self) -> impl Iterator<Item = (&Arc<str>, &Rejection)> {
        self.rejected.iter()
    }

    /// What the client refuses now, if that differs from the last call.
    pub(super) fn take_rejected(&mut self) -> Option<Vec<(Arc<str>, Rejection)>> {
        let changed = std::mem::take(&mut self.rejected_changed);
        changed.then(|| {
            self.rejected
                .iter()
                .map(|(name, rejection)| (name.clone(), rejection.clone()))
                .collect()
        })
    }

    /// What the client runs, if that differs from the last call.
    pub(super) fn take_news(&mut self) -> Option<Holdings> {
        let mut news = self.news.take()?;
        let runs = |name: &Arc<str>| self.held.get(name).is_some_and(|held| held.accepted);
        // Some came and went since the last call.
        news.added.retain(runs);
        news.removed.retain(|name| !runs(name));
        (news.first || !news.added.is_empty() || !news.removed.is_empty()).then_some(news)
    }

    fn forget_rejection(&mut self, name: &str) -> bool {
        let known = self.rejected.remove(name).is_some();
        self.rejected_changed |= known;
        known
    }

    pub(super) fn awaits(&self, nonce: &str) -> bool {
        self.in_flight
            .as_ref()
            .is_some_and(|in_flight| in_flight.nonce == nonce)
    }

    /// Whether nothing is under way or left to send.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.pending.is_empty() && self.isolating.is_empty() && !self.owes_answer
    }

    /// Whether the client runs what the snapshot says. A refused change means that it runs something older, which may
    /// refer to anything; a refused addition means nothing.
    pub(super) fn is_settled(&self) -> bool {
        let runs_older = |name| self.held.get(name).is_some_and(|held| held.accepted);
        self.is_idle() && !self.rejected.keys().any(runs_older)
    }

    /// Whether resources that are new to the client are under way or waiting for what is under way.
    pub(super) fn is_introducing(&self) -> bool {
        let is_new = |name: &Arc<str>| self.held.get(name).is_none_or(|held| !held.accepted);
        self.in_flight.as_ref().is_some_and(|in_flight| {
            in_flight.introduces || self.pending.keys().chain(self.isolating.iter().flatten()).any(is_new)
        })
    }
}

/// Input.
impl TypeState {
    /// Applies a request's subscriptions. `trust_versions`: believe the client about what it has from an earlier stream.
    pub(super) fn subscribe(
        &mut self,
        ty: ResourceType,
        request: &DeltaDiscoveryRequest,
        snapshot: Option<&Snapshot>,
        trust_versions: bool,
    ) {
        let (subscribe, unsubscribe) = (&request.resource_names_subscribe, &request.resource_names_unsubscribe);
        let edit = self.subscription.edit(subscribe, unsubscribe, ty.is_wildcard());
        if edit.first && trust_versions {
            self.resume(ty, request, snapshot);
        }
        if edit.first {
            self.news = Some(Holdings {
                first: true,
                added: self.held.keys().cloned().collect(),
                removed: Vec::new(),
            });
        }
        self.drop_unsubscribed(&edit);
        for name in edit.subscribed {
            let resumed = edit.first && self.held.contains_key(&name);
            match (resumed, snapshot) {
                (true, Some(snapshot)) => self.mark(ty, snapshot, &name),
                (true, None) => {}
                (false, _) => self.want(name, Want::Always),
            }
        }
        if edit.wildcard_on {
            // Envoy's start waits for an answer; one that comes back has started long ago.
            self.owes_answer = !(edit.first && self.resumed);
            if let Some(snapshot) = snapshot {
                self.mark_all(ty, snapshot);
            }
        }
    }

    /// Takes over what the client has from an earlier stream.
    fn resume(&mut self, ty: ResourceType, request: &DeltaDiscoveryRequest, snapshot: Option<&Snapshot>) {
        for (name, version) in &request.initial_resource_versions {
            if !self.subscription.covers(name) {
                continue;
            }
            self.resumed = true;
            // Nearly always the client has what is current: share those strings.
            let current = snapshot.and_then(|snapshot| snapshot.get(ty, name));
            let (name, version) = match current {
                Some(resource) if **resource.version() == **version => {
                    (resource.name().clone(), resource.version().clone())
                }
                _ => (name.as_str().into(), version.as_str().into()),
            };
            self.held.insert(
                name,
                Held {
                    sent: Some(version),
                    accepted: true,
                },
            );
        }
    }

    fn drop_unsubscribed(&mut self, edit: &Edit) {
        for name in &edit.unsubscribed {
            if self.subscription.covers(name) {
                // The client cannot know whether the wildcard covers the name, so it is told.
                self.want(name.clone(), Want::Always);
            } else {
                self.held.remove(name);
                self.pending.remove(name);
                self.forget_rejection(name);
            }
        }
        if edit.wildcard_off {
            let subscription = &self.subscription;
            let rejected = self.rejected.len();
            self.owes_answer = false;
            self.held.retain(|name, _| subscription.covers(name));
            self.pending.retain(|name, _| subscription.covers(name));
            self.rejected.retain(|name, _| subscription.covers(name));
            self.rejected_changed |= self.rejected.len() != rejected;
        }
    }

    /// Compares one name with the snapshot.
    pub(super) fn mark(&mut self, ty: ResourceType, snapshot: &Snapshot, name: &Arc<str>) {
        if !self.subscription.covers(name) {
            return;
        }
        let differs = match snapshot.get(ty, name) {
            Some(resource) => self.is_outdated(resource),
            None => self.held.contains_key(name),
        };
        if differs {
            self.want(name.clone(), Want::IfChanged);
        } else if self.pending.get(name) == Some(&Want::IfChanged) {
            self.pending.remove(name);
        }
    }

    /// Compares everything the client is subscribed to or has with the snapshot.
    pub(super) fn mark_all(&mut self, ty: ResourceType, snapshot: &Snapshot) {
        let mut names: Vec<Arc<str>> = self.held.keys().cloned().collect();
        if self.subscription.is_wildcard() {
            names.extend(snapshot.iter(ty).map(|resource| resource.name().clone()));
        }
        names.extend(self.subscription.names().iter().cloned());
        for name in names {
            self.mark(ty, snapshot, &name);
        }
    }

    /// Asks for a name if the client is subscribed to it by name.
    pub(super) fn want_if_named(&mut self, name: &Arc<str>, want: Want) {
        if self.subscription.names().contains(name) {
            self.want(name.clone(), want);
        }
    }

    fn want(&mut self, name: Arc<str>, want: Want) {
        match self.pending.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(want);
            }
            Entry::Occupied(mut entry) => {
                let strongest = want.max(*entry.get());
                entry.insert(strongest);
            }
        }
    }

    fn is_outdated(&self, resource: &Resource) -> bool {
        let sent = self.held.get(resource.name()).and_then(|held| held.sent.as_ref());
        sent != Some(resource.version()) && !self.is_rejected(resource)
    }

    fn is_rejected(&self, resource: &Resource) -> bool {
        self.rejected
            .get(resource.name())
            .is_some_and(|rejection| rejection.version == *resource.version())
    }

    /// The client accepted what was in flight.
    pub(super) fn acknowledge(&mut self, ty: ResourceType, snapshot: Option<&Snapshot>) {
        let resources = self.in_flight.take().map(|in_flight| in_flight.resources);
        for (name, _) in resources.unwrap_or_default() {
            if let Some(held) = self.held.get_mut(&name)
                && !std::mem::replace(&mut held.accepted, true)
            {
                self.news.get_or_insert_default().added.push(name.clone());
            }
            // A refused version may have come back meanwhile: it has its second chance now.
            if self.forget_rejection(&name)
                && let Some(snapshot) = snapshot
            {
                self.mark(ty, snapshot, &name);
            }
        }
    }

    /// The client refused what was in flight: the names that were in it.
    pub(super) fn reject(&mut self, message: &str) -> Vec<Arc<str>> {
        let resources = self
            .in_flight
            .take()
            .map(|in_flight| in_flight.resources)
            .unwrap_or_default();
        for (name, _) in &resources {
            if let Some(held) = self.held.get_mut(name) {
                held.sent = None;
            }
        }
        if let [(name, version)] = resources.as_slice()
            && self.held.contains_key(name)
        {
            let rejection = Rejection {
                version: version.clone(),
                message: message.to_owned(),
            };
            let before = self.rejected.insert(name.clone(), rejection.clone());
            self.rejected_changed |= before.as_ref() != Some(&rejection);
        }
        let names: Vec<Arc<str>> = resources.into_iter().map(|(name, _)| name).collect();
        for part in isolation::parts(&names, message).into_iter().rev() {
            self.isolating.push_front(part);
        }
        names
    }
}

/// Output.
impl TypeState {
    /// The content of the next response, if there is something to send and nothing in flight. `updates` and `removals`
    /// say what the other types permit; a name the client is waiting for is answered in any case.
    pub(super) fn next_delivery(
        &mut self,
        ty: ResourceType,
        snapshot: &Snapshot,
        updates: bool,
        removals: bool,
    ) -> Option<Delivery> {
        if self.in_flight.is_some() || !self.subscription.is_requested() {
            return None;
        }
        if updates && let Some(delivery) = self.next_part(ty, snapshot) {
            return Some(delivery);
        }
        let delivery = self.take_pending(ty, snapshot, updates, removals);
        let empty = delivery.resources.is_empty() && delivery.removed.is_empty();
        (!empty || (updates && self.owes_answer)).then_some(delivery)
    }

    /// The next part of a rejected response that is still to be sent.
    fn next_part(&mut self, ty: ResourceType, snapshot: &Snapshot) -> Option<Delivery> {
        while let Some(names) = self.isolating.pop_front() {
            let mut delivery = Delivery::default();
            for name in names.iter().filter(|name| self.subscription.covers(name)) {
                match snapshot.get(ty, name) {
                    Some(resource) if !self.is_rejected(resource) => match resource.body_or_request() {
                        Some(body) => delivery.resources.push((resource.clone(), body.clone())),
                        None => {
                            self.pending.entry(name.clone()).or_insert(Want::IfChanged);
                        }
                    },
                    Some(_) => {}
                    None if self.held.contains_key(name) => {
                        self.pending.entry(name.clone()).or_insert(Want::IfChanged);
                    }
                    None => {}
                }
            }
            if !delivery.resources.is_empty() {
                for (resource, _) in &delivery.resources {
                    self.pending.remove(resource.name());
                }
                return Some(delivery);
            }
        }
        None
    }

    fn take_pending(&mut self, ty: ResourceType, snapshot: &Snapshot, updates: bool, removals: bool) -> Delivery {
        let mut delivery = Delivery::default();
        let mut bytes = 0;
        let pending = std::mem::take(&mut self.pending);
        for (name, want) in pending {
            let left = match snapshot.get(ty, &name) {
                Some(resource) if want == Want::Always || self.is_outdated(resource) => {
                    // What is not made yet waits alone; the change that brings it is published.
                    let may_go = updates && bytes < MAX_RESPONSE_BYTES;
                    match may_go.then(|| resource.body_or_request()).flatten() {
                        Some(body) => {
                            bytes += body.len();
                            delivery.resources.push((resource.clone(), body.clone()));
                            false
                        }
                        None => true,
                    }
                }
                Some(_) => false,
                None if want == Want::Always || (removals && self.held.contains_key(&name)) => {
                    delivery.removed.push(name.clone());
                    false
                }
                None => self.held.contains_key(&name),
            };
            if left {
                self.pending.insert(name, want);
            }
        }
        delivery
    }

    /// Records that a delivery is under way.
    pub(super) fn sent(&mut self, nonce: String, delivery: Delivery) {
        self.owes_answer = false;
        let mut introduces = false;
        let mut resources = Vec::with_capacity(delivery.resources.len());
        for (resource, _) in &delivery.resources {
            let (name, version) = (resource.name().clone(), resource.version().clone());
            let held = self.held.entry(name.clone()).or_default();
            introduces |= !held.accepted;
            held.sent = Some(version.clone());
            resources.push((name, version));
        }
        for name in &delivery.removed {
            if self.held.remove(name).is_some_and(|held| held.accepted) {
                self.news.get_or_insert_default().removed.push(name.clone());
            }
            self.forget_rejection(name);
        }
        self.in_flight = Some(InFlight {
            nonce,
            resources,
            introduces,
        });
    }
}
