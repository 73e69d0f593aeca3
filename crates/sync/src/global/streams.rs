//! The two synchronisation streams of a zone: what moves between the network, the state machines and the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meshspan_store::StoreError;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::Shared;
use super::connection::Connection;
use crate::feature::Feature;
use crate::node;
use crate::outbox::Peer;
use crate::proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::receiver::joined;
use crate::sender::Sender;
use crate::storing;
use crate::text::{MAX_LOGGED, bounded};

pub(super) async fn send_to_zone(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    mut requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<DeltaDiscoveryResponse>,
) -> Result<(), Status> {
    let zone = connection.caller.zone.clone();
    let mut changes = shared.publisher.changes();
    let peer = Peer {
        zone: zone.clone(),
        features: connection.caller.features.clone(),
    };
    let max_message = shared.options.max_message.min(connection.caller.max_message);
    let mut machine = Sender::new("global", peer, max_message, &shared.publisher.outbox());
    loop {
        let ready = tokio::select! {
            request = requests.message() => {
                let Some(request) = request? else { return Ok(()) };
                connection.is_alive();
                if connection.about.borrow().is_none() && let Some(about) = request.node.as_ref().and_then(node::about) {
                    if !request.node.iter().any(|node| node::features(node).contains(&Feature::HashSuffix)) {
                        tracing::warn!(zone, "the zone does not know hashed names (feature hash-suffix); it gets them nevertheless");
                    }
                    connection.about.send_replace(Some(about));
                }
                let reaction = machine.on_request(&request, &shared.publisher.outbox());
                if let Some(message) = reaction.rejection
                    && let Some(held_back) = shared.log_limit.allows(&zone)
                {
                    let (kind, message) = (bounded(&request.type_url, MAX_LOGGED), bounded(&message, MAX_LOGGED));
                    tracing::error!(zone, r#type = kind, message, others_held_back = held_back, "the zone rejected resources");
                }
                reaction.response.into_iter().collect()
            }
            Ok(()) = changes.changed() => machine.on_change(&shared.publisher.outbox()),
        };
        *lock(&connection.stats) = machine.stats().collect();
        for response in ready {
            responses
                .send(response)
                .await
                .map_err(|_| Status::unavailable("the zone is gone"))?;
        }
    }
}

pub(super) async fn receive_from_zone(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    mut responses: Streaming<DeltaDiscoveryResponse>,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
) -> Result<(), Status> {
    let gone = |_| Status::unavailable("the zone is gone");
    let zone = connection.caller.zone.clone();
    let machine = shared
        .registry
        .receiver(&zone)
        .ok_or_else(|| Status::internal("the zone is not registered"))?;
    // Waits for the end of an older stream of the zone.
    let mut machine = machine.lock_owned().await;
    let mut changes = shared.store.subscribe();
    for request in machine.subscribe(&shared.store.snapshot()) {
        requests.send(request).await.map_err(gone)?;
    }
    let mut mismatch_reported = false;
    loop {
        if let Some(obstacle) = machine.unblocked(&shared.store.snapshot()) {
            return Err(Status::unavailable(obstacle.to_string()));
        }
        let response = tokio::select! {
            response = responses.message() => response?,
            batch = changes.next() => match batch {
                Some(_) => continue,
                None => return Err(Status::unavailable("the store is closed")),
            },
        };
        let Some(response) = response else { return Ok(()) };
        connection.is_alive();
        if let Some(control_plane) = response
            .control_plane
            .as_ref()
            .filter(|control_plane| control_plane.identifier != zone && !mismatch_reported)
        {
            mismatch_reported = true;
            tracing::warn!(
                zone,
                identifier = bounded(&control_plane.identifier, MAX_LOGGED),
                "the zone calls itself differently in its responses; client-id counts"
            );
        }
        let report = |error: &StoreError| {
            if let Some(held_back) = shared.log_limit.allows(&zone) {
                tracing::error!(zone, %error, more = held_back, "resources of the zone cannot be stored; this is tried again");
            }
        };
        let stored = storing::store(&machine, &*shared.store, &response, report).await;
        let delivery = stored.map_err(|error| match error {
            // Everything must be sent again, to a new Zone.
            StoreError::MissingOwner { .. } => {
                Status::unavailable(format!("zone \"{zone}\" was deleted on the global control plane"))
            }
            error => Status::unavailable(error.to_string()),
        })?;
        if !delivery.rejected.is_empty()
            && let Some(held_back) = shared.log_limit.allows(&zone)
        {
            let reason = bounded(&joined(&delivery.rejected), MAX_LOGGED);
            tracing::error!(
                zone,
                reason,
                others_held_back = held_back,
                "resources of the zone are refused"
            );
        }
        let answer = machine.applied(&delivery);
        *lock(&connection.refused) = machine.rejected().cloned().collect();
        requests.send(answer).await.map_err(gone)?;
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
