//! The discovery server of one stream, as a state machine (`spec/zone-sync.md` §1.5, §1.6).
//!
//! First the full state of a type, then deltas; at most one response per type without an answer; what changes
//! meanwhile is coalesced into the next one.

use std::collections::{BTreeMap, BTreeSet};

use meshspan_model::Kind;
use meshspan_model::kinds::dataplane_insight::ServiceStats;

use crate::key::WireKey;
use crate::node;
use crate::outbox::{Outbox, Peer};
use crate::proto::discovery::{ControlPlane, DeltaDiscoveryRequest, DeltaDiscoveryResponse};

/// Soft limit of a delta in bytes; what does not fit follows after the answer. A first response cannot be split.
const DELTA_SIZE: usize = 4 * 1024 * 1024;
/// A full state above this size is reported before it hits [`crate::MAX_MESSAGE`].
const WARN_SIZE: usize = 8 * 1024 * 1024;

/// One stream's view.
#[derive(Debug)]
pub struct Sender {
    /// What the responses say who we are: `global`, or the name of the zone.
    identifier: String,
    peer: Peer,
    nonce: u64,
    position: u64,
    types: BTreeMap<Kind, TypeState>,
}

#[derive(Debug, Default)]
struct TypeState {
    /// What the peer has, by version.
    sent: BTreeMap<WireKey, String>,
    /// Nonce of the response without an answer.
    pending: Option<String>,
    dirty: BTreeSet<WireKey>,
    stats: ServiceStats,
}

/// What a request led to.
#[derive(Debug, Default, PartialEq)]
pub struct Reaction {
    /// To be sent.
    pub response: Option<DeltaDiscoveryResponse>,
    /// The peer's words if it rejected something.
    pub rejection: Option<String>,
}

impl Sender {
    /// For a stream that was just opened. The features of the peer come with its first request.
    pub fn new(identifier: impl Into<String>, peer: Peer, outbox: &Outbox) -> Self {
        Self {
            identifier: identifier.into(),
            peer,
            nonce: 0,
            position: outbox.end(),
            types: BTreeMap::new(),
        }
    }

    /// A request: subscription, acknowledgement or rejection. Types that are not ours to send get no answer: an empty
    /// one would make the peer delete what it has.
    pub fn on_request(&mut self, request: &DeltaDiscoveryRequest, outbox: &Outbox) -> Reaction {
        // Only the first request of a type carries metadata.
        self.peer.features.extend(request.node.iter().flat_map(node::features));
        let Some(kind) = Kind::from_name(&request.type_url).filter(|kind| outbox.carries(*kind)) else {
            return Reaction::default();
        };
        if !self.types.contains_key(&kind) {
            return Reaction {
                response: Some(self.start(kind, request, outbox)),
                rejection: None,
            };
        }
        let Some(state) = self.types.get_mut(&kind) else {
            return Reaction::default();
        };
        if state.pending.as_deref() != Some(request.response_nonce.as_str()) {
            return Reaction::default();
        }
        state.pending = None;
        let rejection = request.error_detail.as_ref().map(|error| error.message.clone());
        match rejection {
            Some(_) => state.stats.responses_rejected += 1,
            None => state.stats.responses_acknowledged += 1,
        }
        Reaction {
            response: self.next(kind, outbox),
            rejection,
        }
    }

    /// Something changed in the outbox: the responses that can be sent now.
    pub fn on_change(&mut self, outbox: &Outbox) -> Vec<DeltaDiscoveryResponse> {
        match outbox.changes_since(self.position) {
            Some(changes) => {
                for (kind, key) in changes {
                    if let Some(state) = self.types.get_mut(kind) {
                        state.dirty.insert(key.clone());
                    }
                }
            }
            None => {
                for (kind, state) in &mut self.types {
                    let offered = outbox.all_offered(*kind, &self.peer).map(|(key, _)| key.clone());
                    state.dirty.extend(offered);
                    state.dirty.extend(state.sent.keys().cloned());
                }
            }
        }
        self.position = outbox.end();
        let kinds: Vec<Kind> = self.types.keys().copied().collect();
        kinds.into_iter().filter_map(|kind| self.next(kind, outbox)).collect()
    }

    /// Counters of each type.
    pub fn stats(&self) -> impl Iterator<Item = (Kind, ServiceStats)> + '_ {
        self.types.iter().map(|(kind, state)| (*kind, state.stats))
    }

    fn start(&mut self, kind: Kind, request: &DeltaDiscoveryRequest, outbox: &Outbox) -> DeltaDiscoveryResponse {
        let mut state = TypeState::default();
        for (name, version) in &request.initial_resource_versions {
            if let Some(key) = WireKey::parse(name) {
                state.sent.insert(key, version.clone());
            }
        }
        // What changed before is contained in this response, and looked at once more with the next change.
        state.dirty.extend(state.sent.keys().cloned());
        state
            .dirty
            .extend(outbox.all_offered(kind, &self.peer).map(|(key, _)| key.clone()));
        let resumed = !request.initial_resource_versions.is_empty();
        let limit = if resumed { DELTA_SIZE } else { usize::MAX };
        let response = self.fill(kind, &mut state, outbox, limit);
        self.types.insert(kind, state);
        response
    }

    /// The next delta of a type, if there is one and nothing is pending.
    fn next(&mut self, kind: Kind, outbox: &Outbox) -> Option<DeltaDiscoveryResponse> {
        let mut state = self.types.remove(&kind)?;
        if state.pending.is_none() {
            state.dirty.retain(|key| {
                let offered = outbox
                    .offered(kind, key, &self.peer)
                    .map(|entry| &entry.resource.version);
                offered != state.sent.get(key)
            });
        }
        let response = (state.pending.is_none() && !state.dirty.is_empty())
            .then(|| self.fill(kind, &mut state, outbox, DELTA_SIZE));
        self.types.insert(kind, state);
        response
    }

    fn fill(&mut self, kind: Kind, state: &mut TypeState, outbox: &Outbox, limit: usize) -> DeltaDiscoveryResponse {
        let mut response = DeltaDiscoveryResponse {
            type_url: kind.name().to_owned(),
            control_plane: Some(ControlPlane {
                identifier: self.identifier.clone(),
            }),
            ..DeltaDiscoveryResponse::default()
        };
        let mut size = 0;
        while size < limit
            && let Some(key) = state.dirty.pop_first()
        {
            match outbox.offered(kind, &key, &self.peer) {
                Some(entry) if state.sent.get(&key) != Some(&entry.resource.version) => {
                    size += entry.resource.resource.as_ref().map_or(0, |any| any.value.len()) + 128;
                    state.sent.insert(key, entry.resource.version.clone());
                    response.resources.push(entry.resource.clone());
                }
                Some(_) => {}
                None => {
                    if state.sent.remove(&key).is_some() {
                        let name = key.to_string();
                        size += name.len();
                        response.removed_resources.push(name);
                    }
                }
            }
        }
        if size > WARN_SIZE {
            tracing::warn!(%kind, zone = self.peer.zone, bytes = size, limit = crate::MAX_MESSAGE, "the full state of a type nears the largest message, above which zones cannot take it");
        }
        self.nonce += 1;
        response.nonce = self.nonce.to_string();
        state.pending = Some(response.nonce.clone());
        state.stats.responses_sent += 1;
        response
    }
}

#[cfg(test)]
#[path = "sender/tests.rs"]
mod tests;
