//! The discovery client of one peer, as a state machine: responses become writes to the store.
//!
//! The first response of a type is its full state, unless we said what we have; then, and later, responses are deltas.
//! What is invalid is skipped and rejected by one NACK, the rest is applied. The status of a stored resource is never
//! touched in a zone: it is the zone's own; the global keeps what zones report.

use std::collections::{BTreeMap, BTreeSet};

use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::{Snapshot, Write};

use crate::key::WireKey;
use crate::node::{self, About};
use crate::proto::discovery::{self, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Status};
use crate::scope::Scope;
use crate::wire;

/// Longest rejection message that is sent, in bytes.
const MAX_MESSAGE: usize = 4096;

/// What we have of a peer. Outlives streams, so that a new one resumes where the last one ended; after a restart of
/// the process the peer sends everything once.
#[derive(Debug)]
pub struct Receiver {
    scope: Scope,
    about: About,
    /// Version of each resource as the peer named it, by type; absent until the full state was applied.
    versions: BTreeMap<Kind, BTreeMap<WireKey, String>>,
    /// Types whose next response is the full state.
    expects_all: BTreeSet<Kind>,
}

/// A response, understood.
#[derive(Debug)]
pub struct Delivery {
    /// What to write, as one transaction.
    pub writes: Vec<Write>,
    /// What was skipped, with the reason.
    pub rejected: Vec<String>,
    kind: Option<Kind>,
    type_url: String,
    nonce: String,
    all: bool,
    stored: Vec<(WireKey, String)>,
    removed: Vec<WireKey>,
}

impl Receiver {
    /// Nothing is known of the peer yet.
    pub fn new(scope: Scope, about: About) -> Self {
        Self {
            scope,
            about,
            versions: BTreeMap::new(),
            expects_all: BTreeSet::new(),
        }
    }

    /// The requests that open a stream: one for each type, with the versions of what we still have.
    pub fn subscribe(&mut self, snapshot: &Snapshot) -> Vec<DeltaDiscoveryRequest> {
        let kinds: Vec<Kind> = self.scope.kinds().collect();
        kinds
            .into_iter()
            .map(|kind| self.subscribe_to(kind, snapshot))
            .collect()
    }

    fn subscribe_to(&mut self, kind: Kind, snapshot: &Snapshot) -> DeltaDiscoveryRequest {
        let scope = &self.scope;
        if let Some(versions) = self.versions.get_mut(&kind) {
            // What is no longer in the store, for instance after the zone was deleted here, must be sent again.
            versions.retain(|key, _| {
                snapshot
                    .get(&key.stored(kind))
                    .is_some_and(|stored| scope.contains(&stored.resource))
            });
        }
        let versions = self.versions.get(&kind);
        // Having nothing cannot be said: the response is the full state then.
        if versions.is_none_or(BTreeMap::is_empty) {
            self.expects_all.insert(kind);
        } else {
            self.expects_all.remove(&kind);
        }
        DeltaDiscoveryRequest {
            node: Some(node::describe(self.scope.zone(), &self.about)),
            type_url: kind.name().to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            initial_resource_versions: versions
                .into_iter()
                .flatten()
                .map(|(key, version)| (key.to_string(), version.clone()))
                .collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// Understands a response against the state of the store. Nothing is remembered until [`Receiver::applied`].
    pub fn receive(&self, response: &DeltaDiscoveryResponse, snapshot: &Snapshot) -> Delivery {
        let kind = Kind::from_name(&response.type_url).filter(|kind| self.scope.kinds().any(|asked| asked == *kind));
        let mut delivery = Delivery {
            writes: Vec::new(),
            rejected: Vec::new(),
            kind,
            type_url: response.type_url.clone(),
            nonce: response.nonce.clone(),
            all: kind.is_some_and(|kind| self.expects_all.contains(&kind)),
            stored: Vec::new(),
            removed: Vec::new(),
        };
        let Some(kind) = kind else {
            delivery
                .rejected
                .push(format!("type \"{}\" was not asked for", response.type_url));
            return delivery;
        };
        let mut named = BTreeSet::new();
        for resource in &response.resources {
            self.take(kind, resource, snapshot, &mut named, &mut delivery);
        }
        // Added and removed at once is an update.
        let removed = response
            .removed_resources
            .iter()
            .filter_map(|name| WireKey::parse(name));
        for key in removed.filter(|key| !named.contains(key)) {
            self.remove(kind, &key, snapshot, &mut delivery);
        }
        if delivery.all {
            let gone: Vec<WireKey> = snapshot
                .list(kind, None)
                .filter(|stored| self.scope.contains(&stored.resource))
                .map(|stored| WireKey::of(&stored.resource))
                .filter(|key| !named.contains(key))
                .collect();
            for key in gone {
                self.remove(kind, &key, snapshot, &mut delivery);
            }
        }
        delivery
    }

    fn take(
        &self,
        kind: Kind,
        resource: &discovery::Resource,
        snapshot: &Snapshot,
        named: &mut BTreeSet<WireKey>,
        delivery: &mut Delivery,
    ) {
        let key = wire::decode_key(resource);
        // Also if it is invalid: the last good copy is kept.
        named.extend(key.clone());
        let taken = wire::decode(kind, resource)
            .map_err(|error| error.to_string())
            .and_then(|received| self.scope.adopt(received))
            .and_then(|received| self.writes_for(received, snapshot));
        match taken {
            Ok(writes) => {
                delivery.writes.extend(writes);
                delivery.stored.extend(key.map(|key| (key, resource.version.clone())));
            }
            Err(reason) => {
                let name = key.map_or_else(|| "without a name".to_owned(), |key| key.stored(kind).to_string());
                delivery.rejected.push(format!("{name}: {reason}"));
            }
        }
    }

    fn writes_for(&self, received: Resource, snapshot: &Snapshot) -> Result<Vec<Write>, String> {
        let key = received.key();
        let current = snapshot.get(&key);
        if current.is_some_and(|current| !self.scope.contains(&current.resource)) {
            return Err("a resource of this name exists here that is not the peer's; rename or delete it".to_owned());
        }
        let same_spec = current.is_some_and(|current| {
            current.resource.spec == received.spec && current.resource.labels == received.labels
        });
        let status = received.status.clone().filter(|status| {
            matches!(self.scope, Scope::FromZone { .. })
                && current.and_then(|current| current.resource.status.as_ref()) != Some(status)
        });
        let mut writes = Vec::new();
        if !same_spec {
            writes.push(Write::Upsert {
                resource: received,
                owner: self.owner(),
            });
        }
        writes.extend(status.map(|status| Write::put_status(key, status)));
        Ok(writes)
    }

    /// On the global everything of a zone goes with its Zone; in a zone copies have no owner, for the global deletes
    /// each of them.
    fn owner(&self) -> Option<ResourceKey> {
        match &self.scope {
            Scope::FromZone { zone } => Some(ResourceKey::new(Kind::Zone, "", zone.clone())),
            Scope::FromGlobal { .. } => None,
        }
    }

    fn remove(&self, kind: Kind, key: &WireKey, snapshot: &Snapshot, delivery: &mut Delivery) {
        let stored = key.stored(kind);
        if snapshot
            .get(&stored)
            .is_some_and(|current| self.scope.contains(&current.resource))
        {
            delivery.writes.push(Write::Remove { key: stored });
        }
        delivery.removed.push(key.clone());
    }

    /// Remembers what was applied, and gives the answer to it.
    pub fn applied(&mut self, delivery: &Delivery) -> DeltaDiscoveryRequest {
        if let Some(kind) = delivery.kind {
            let versions = self.versions.entry(kind).or_default();
            if delivery.all {
                versions.clear();
            }
            versions.extend(delivery.stored.iter().cloned());
            for key in &delivery.removed {
                versions.remove(key);
            }
            self.expects_all.remove(&kind);
        }
        self.answer(delivery, &delivery.rejected)
    }

    /// The answer if the store refused the writes: nothing is remembered, so the next stream starts from what is.
    pub fn refused(&mut self, delivery: &Delivery, reason: &str) -> DeltaDiscoveryRequest {
        if let Some(kind) = delivery.kind {
            self.versions.remove(&kind);
        }
        self.answer(delivery, &[reason.to_owned()])
    }

    fn answer(&self, delivery: &Delivery, problems: &[String]) -> DeltaDiscoveryRequest {
        let mut request = DeltaDiscoveryRequest {
            node: Some(node::plain(self.scope.zone())),
            type_url: delivery.type_url.clone(),
            response_nonce: delivery.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        if !problems.is_empty() {
            let mut message = problems.join("; ");
            if message.len() > MAX_MESSAGE {
                message.truncate(message.floor_char_boundary(MAX_MESSAGE));
                message.push_str(" …");
            }
            request.resource_names_subscribe = vec!["*".to_owned()];
            request.error_detail = Some(Status {
                message,
                ..Status::default()
            });
        }
        request
    }
}

#[cfg(test)]
#[path = "receiver/tests.rs"]
mod tests;
