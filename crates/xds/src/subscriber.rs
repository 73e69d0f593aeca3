//! The delta ADS protocol of one stream, as a pure state machine: requests and changes in, [`Action`]s out.
//!
//! # Rules
//!
//! * **One response per type in flight.** What changes until it is acknowledged is merged; resources are read from the
//!   latest snapshot when they are sent, so a client never receives an outdated one.
//! * **Make before break.** Types are sent in the order of [`ResourceType::ALL`]. Listeners and routes wait until the
//!   clusters and endpoints that are new to the client are acknowledged. Envoy acknowledges clusters when they are warm
//!   (it pauses CDS until then), so nothing is routed to a cluster that is not ready. A snapshot must hold the secrets
//!   that its clusters name, or they all wait until Envoy gives up (`initial_fetch_timeout`). Removals go the other way: clusters
//!   and what they use are removed when listeners and routes have been accepted without them (`order`).
//! * **A changed cluster gets its endpoints again.** Envoy builds a replaced cluster anew and warms it with the next EDS
//!   response, but does not ask, because it is still subscribed (xDS protocol, *Resource warming*). So a cluster's
//!   endpoint resource, **of the same name**, follows each cluster, changed or not.
//! * **A rejected response is taken apart** until the bad resource stands alone (`isolation`); the others are delivered.
//!   A rejected version is not sent again, unless the client asks for it by name, until the resource changes.
//! * **A question is always answered**: an unknown name with `removed_resources`, a first wildcard with a response that
//!   may be empty. Envoy's start waits for both.
//! * **A client that comes back** says what it has and receives the difference, removals included.

mod action;
mod isolation;
mod order;
mod subscription;
mod type_state;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod transcripts;

use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;

pub use self::action::Action;
use self::type_state::{Delivery, TypeState, Want};
pub use self::type_state::{Holdings, Rejection};
use crate::changes::Changes;
use crate::proto::ads::{Any, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource};
use crate::resource::Snapshot;
use crate::resource_type::{PerType, ResourceType};

/// The most names a client may subscribe to per type; far above the services of a mesh, far below what hurts.
const MAX_NAMES_PER_TYPE: usize = 100_000;

/// The longest resource name a client may subscribe to, in bytes.
const MAX_NAME_BYTES: usize = 4096;

/// The most characters kept of a client's reason for a rejection.
const MAX_MESSAGE_CHARS: usize = 4096;

/// One stream's state: what the client subscribed to, holds, refused, and still has to hear of.
#[derive(Debug, Default)]
pub struct Subscriber {
    snapshot: Option<Snapshot>,
    types: PerType<TypeState>,
    /// The nonce given last.
    nonce: u64,
    caught_up: bool,
}

impl Subscriber {
    /// A new stream. Subscriptions are taken at once and answered when the first snapshot arrives.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a request: an acknowledgement, a rejection, a change of subscriptions, or several of them at once.
    pub fn on_request(&mut self, request: &DeltaDiscoveryRequest) -> Vec<Action> {
        let Some(ty) = ResourceType::from_type_url(&request.type_url) else {
            return self.answer_unknown_type(request);
        };
        let mut actions = Vec::new();
        actions.extend(self.settle(ty, request));
        if let Err(status) = self.subscribe(ty, request) {
            actions.push(Action::Reject(status));
            return actions;
        }
        self.flush(&mut actions);
        actions
    }

    /// Takes a new snapshot and what differs from the one before; the first is compared as a whole.
    pub fn on_change(&mut self, snapshot: Snapshot, changes: &Changes) -> Vec<Action> {
        let first = self.snapshot.is_none();
        let snapshot = self.snapshot.insert(snapshot);
        match changes {
            Changes::Named(names) if !first => {
                for (ty, name) in names {
                    self.types.get_mut(*ty).mark(*ty, snapshot, name);
                }
            }
            Changes::Named(_) | Changes::All => {
                for ty in ResourceType::ALL {
                    self.types.get_mut(ty).mark_all(ty, snapshot);
                }
            }
        }
        let mut actions = Vec::new();
        self.flush(&mut actions);
        actions
    }

    /// The resources whose last sent version this client refused, with its reasons.
    pub fn rejected(&self, ty: ResourceType) -> impl Iterator<Item = (&Arc<str>, &Rejection)> {
        self.types.get(ty).rejected()
    }

    /// Whether the client has acknowledged all it is due; refused resources do not count.
    pub fn is_in_sync(&self) -> bool {
        self.snapshot.is_some() && ResourceType::ALL.into_iter().all(|ty| self.types.get(ty).is_idle())
    }

    /// Matches an acknowledgement or rejection with the response in flight; stale nonces mean nothing.
    fn settle(&mut self, ty: ResourceType, request: &DeltaDiscoveryRequest) -> Option<Action> {
        let state = self.types.get_mut(ty);
        if request.response_nonce.is_empty() || !state.awaits(&request.response_nonce) {
            return None;
        }
        let nonce = request.response_nonce.clone();
        let Some(error) = &request.error_detail else {
            state.acknowledge(ty, self.snapshot.as_ref());
            return Some(Action::Acked { ty, nonce });
        };
        let message: String = error.message.chars().take(MAX_MESSAGE_CHARS).collect();
        let resources = state.reject(&message);
        Some(Action::Nacked {
            ty,
            nonce,
            message,
            resources,
        })
    }

    fn subscribe(&mut self, ty: ResourceType, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        if let Some(name) = request
            .resource_names_subscribe
            .iter()
            .find(|name| name.len() > MAX_NAME_BYTES)
        {
            let text = format!(
                "resource_names_subscribe: a name has {} bytes, at most {MAX_NAME_BYTES}",
                name.len()
            );
            return Err(Status::invalid_argument(text));
        }
        // Envoy holds back CDS while clusters warm. Endpoints that are asked for before the clusters on a new stream are
        // therefore waited for, even if the client had received them on an earlier stream.
        let warming = ty == ResourceType::Endpoint && !self.types.get(ResourceType::Cluster).is_requested();
        let state = self.types.get_mut(ty);
        state.subscribe(ty, request, self.snapshot.as_ref(), !warming);
        if state.subscribed_names() > MAX_NAMES_PER_TYPE {
            let text = format!(
                "resource_names_subscribe: more than {MAX_NAMES_PER_TYPE} names of {}",
                request.type_url
            );
            return Err(Status::resource_exhausted(text));
        }
        Ok(())
    }

    /// Sends whatever may be sent now. What is sent for one type can decide what is free to go for the types before it, so
    /// those that wait with removals are looked at twice.
    fn flush(&mut self, actions: &mut Vec<Action>) {
        let Some(snapshot) = self.snapshot.clone() else { return };
        for ty in ResourceType::ALL.into_iter().chain(order::REMOVALS) {
            let updates = order::may_update(&self.types, ty);
            let removals = order::may_remove(&self.types, ty);
            self.deliver(ty, &snapshot, updates, removals, actions);
        }
        for ty in ResourceType::ALL {
            let rejected = self.types.get_mut(ty).take_rejected();
            actions.extend(rejected.map(|rejected| Action::Rejections { ty, rejected }));
            let news = self.types.get_mut(ty).take_news();
            // Of the other types nobody wants to know.
            actions.extend(news.filter(|_| ty == ResourceType::Listener).map(Action::Listeners));
        }
        let listeners = self.types.get(ResourceType::Listener);
        if !self.caught_up && listeners.is_requested() && listeners.is_idle() {
            self.caught_up = true;
            actions.push(Action::CaughtUp);
        }
    }

    fn deliver(
        &mut self,
        ty: ResourceType,
        snapshot: &Snapshot,
        updates: bool,
        removals: bool,
        actions: &mut Vec<Action>,
    ) {
        let Some(delivery) = self.types.get_mut(ty).next_delivery(ty, snapshot, updates, removals) else {
            return;
        };
        let nonce = self.next_nonce();
        let response = encode(ty, &nonce, &delivery);
        if ty == ResourceType::Cluster {
            let endpoints = self.types.get_mut(ResourceType::Endpoint);
            for (cluster, _) in &delivery.resources {
                endpoints.want_if_named(cluster.name(), Want::Always);
            }
        }
        self.types.get_mut(ty).sent(nonce, delivery);
        actions.push(Action::Send(response));
    }

    /// A type that is not served has no resources: says so for each name, so that nobody waits for a timeout.
    fn answer_unknown_type(&mut self, request: &DeltaDiscoveryRequest) -> Vec<Action> {
        let spontaneous = request.response_nonce.is_empty() && request.resource_names_unsubscribe.is_empty();
        if request.resource_names_subscribe.is_empty() && !spontaneous {
            return Vec::new();
        }
        let removed = request
            .resource_names_subscribe
            .iter()
            .filter(|name| *name != subscription::WILDCARD);
        vec![Action::Send(DeltaDiscoveryResponse {
            type_url: request.type_url.clone(),
            nonce: self.next_nonce(),
            removed_resources: removed.cloned().collect(),
            ..Default::default()
        })]
    }

    fn next_nonce(&mut self) -> String {
        self.nonce += 1;
        self.nonce.to_string()
    }
}

fn encode(ty: ResourceType, nonce: &str, delivery: &Delivery) -> DeltaDiscoveryResponse {
    let wire = |(resource, body): &(crate::Resource, Bytes)| WireResource {
        name: resource.name().to_string(),
        version: resource.version().to_string(),
        resource: Some(Any {
            type_url: ty.type_url().to_owned(),
            value: body.clone(),
        }),
    };
    DeltaDiscoveryResponse {
        system_version_info: String::new(),
        resources: delivery.resources.iter().map(wire).collect(),
        type_url: ty.type_url().to_owned(),
        nonce: nonce.to_owned(),
        removed_resources: delivery.removed.iter().map(|name| name.to_string()).collect(),
    }
}
