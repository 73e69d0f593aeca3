//! The discovery server of one stream, as a state machine (`spec/zone-sync.md` §1.5, §1.6).
//!
//! First the full state of a type, then deltas; at most one response per type without an answer; what changes
//! meanwhile is coalesced into the next one.
//!
//! No response exceeds what the peer takes in one message. A full state that does not fit is sent in parts, each after
//! the answer to the one before; all but the last are marked with [`PART`], so that peers of our make replace what they
//! have only when everything is there. The reference ignores the mark: it takes the first part as the full state and
//! gets the rest as changes.

use std::collections::{BTreeMap, BTreeSet};

use meshspan_model::Kind;
use meshspan_model::kinds::dataplane_insight::ServiceStats;

use crate::key::WireKey;
use crate::node;
use crate::outbox::{Outbox, Peer};
use crate::proto::discovery::{ControlPlane, DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use prost::Message as _;

/// Soft limit of a delta in bytes; what does not fit follows after the answer.
const DELTA_SIZE: usize = 4 * 1024 * 1024;
/// Room in a message for what is not resources: the name of the type, of the sender, the nonce.
const ENVELOPE: usize = 1024;
/// `system_version_info` of a response that is a part of a full state and not its last one; empty otherwise.
pub const PART: &str = "part";

/// One stream's view.
#[derive(Debug)]
pub struct Sender {
    /// What the responses say who we are: `global`, or the name of the zone.
    identifier: String,
    peer: Peer,
    /// Largest message that both sides take, in bytes.
    max_message: usize,
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
    /// True until everything of the full state was sent.
    starting: bool,
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
    /// For a stream that was just opened, to a peer that takes messages of `max_message` bytes. The features of the peer
    /// come with its first request.
    pub fn new(identifier: impl Into<String>, peer: Peer, max_message: usize, outbox: &Outbox) -> Self {
        Self {
            identifier: identifier.into(),
            peer,
            max_message,
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
        state.starting = request.initial_resource_versions.is_empty();
        let response = self.fill(kind, &mut state, outbox);
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
        // The parts of a full state need an end, also if what was left is gone meanwhile.
        let response = (state.pending.is_none() && (state.starting || !state.dirty.is_empty()))
            .then(|| self.fill(kind, &mut state, outbox));
        self.types.insert(kind, state);
        response
    }

    fn fill(&mut self, kind: Kind, state: &mut TypeState, outbox: &Outbox) -> DeltaDiscoveryResponse {
        let mut response = DeltaDiscoveryResponse {
            type_url: kind.name().to_owned(),
            control_plane: Some(ControlPlane {
                identifier: self.identifier.clone(),
            }),
            ..DeltaDiscoveryResponse::default()
        };
        let largest = self.max_message.saturating_sub(ENVELOPE);
        // A full state is cut only where it must be, for the sake of peers that take its first part for all of it.
        let limit = if state.starting {
            largest
        } else {
            DELTA_SIZE.min(largest)
        };
        let mut size = 0;
        while let Some(key) = state.dirty.first() {
            let offered = outbox.offered(kind, key, &self.peer);
            let added = match offered {
                Some(entry) if state.sent.get(key) == Some(&entry.resource.version) => 0,
                Some(entry) => field_len(entry.resource.encoded_len()),
                None if state.sent.contains_key(key) => field_len(key.to_string().len()),
                None => 0,
            };
            if size > 0 && size + added > limit {
                break;
            }
            let Some(key) = state.dirty.pop_first() else { break };
            if added > largest {
                tracing::error!(%kind, resource = %key, peer = self.peer.zone, bytes = added, limit = self.max_message, "a resource is too large for zone synchronisation and is left out: make it smaller, or raise maxMsgSize on both sides (KUMA_MULTIZONE_GLOBAL_KDS_MAX_MSG_SIZE, KUMA_MULTIZONE_ZONE_KDS_MAX_MSG_SIZE)");
                continue;
            }
            size += added;
            match offered {
                Some(entry) if added > 0 => {
                    state.sent.insert(key, entry.resource.version.clone());
                    response.resources.push(entry.resource.clone());
                }
                None if added > 0 => {
                    state.sent.remove(&key);
                    response.removed_resources.push(key.to_string());
                }
                _ => {}
            }
        }
        state.starting &= !state.dirty.is_empty();
        if state.starting {
            PART.clone_into(&mut response.system_version_info);
        }
        self.nonce += 1;
        response.nonce = self.nonce.to_string();
        state.pending = Some(response.nonce.clone());
        state.stats.responses_sent += 1;
        response
    }
}

/// Bytes of a repeated field with this content: tag and length need at most 8.
fn field_len(content: usize) -> usize {
    content + 8
}

#[cfg(test)]
#[path = "sender/tests.rs"]
mod tests;
