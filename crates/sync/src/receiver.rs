//! The discovery client of one peer, as a state machine: responses become writes to the store.
//!
//! The first response of a type is its full state, unless we said what we have; then, and later, responses are deltas.
//! What is invalid is skipped and rejected by one NACK, the rest is applied. The status of a stored resource is never
//! touched in a zone: it is the zone's own; the global keeps what zones report, if it passes `admission`.
//!
//! A full state that comes in parts replaces what was there when its last part is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::{Snapshot, Write};

use crate::admission::{self, CheckVip, MAX_OF_KIND, Refusal};
use crate::key::WireKey;
use crate::node::{self, About};
use crate::proto::discovery::{self, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Status};
use crate::scope::Scope;
use crate::sender::PART;
use crate::text::bounded;
use crate::wire;
use prost::Message as _;

mod obstacle;

use obstacle::MAX_OBSTACLES;
pub use obstacle::Obstacle;

/// Longest rejection message that is sent, in bytes.
const MAX_MESSAGE: usize = 4096;
/// Most rejected resources that are remembered for people to see.
const MAX_REJECTED: usize = 50;
/// Longest name that is repeated to the peer, in bytes.
const MAX_NAME: usize = 600;

/// Says why a Secret or GlobalSecret does not hold what its name says; the server gives it, as keys and tokens are not known
/// here.
pub type CheckSecret = Arc<dyn Fn(&Resource) -> Result<(), String> + Send + Sync>;

/// What we have of a peer. Outlives streams, so that a new one resumes where the last one ended; after a restart of
/// the process the peer sends everything once.
pub struct Receiver {
    scope: Scope,
    about: About,
    check: Check,
    /// Version of each resource as the peer named it, by type; absent until the full state was applied.
    versions: BTreeMap<Kind, BTreeMap<WireKey, String>>,
    /// Types whose next response is the full state, or a further part of it, with what was named by the parts before.
    expects_all: BTreeMap<Kind, BTreeSet<WireKey>>,
    /// What is skipped at present, by name; not more than [`MAX_REJECTED`].
    rejected: BTreeMap<String, Rejected>,
    /// For what something is skipped that may go; not more than [`MAX_OBSTACLES`].
    obstacles: BTreeSet<Obstacle>,
}

/// What the server knows better.
enum Check {
    /// In a zone, of the global's secrets.
    Secrets(CheckSecret),
    /// On the global, of addresses in a zone's statuses.
    Vips(CheckVip),
}

/// A response, understood.
#[derive(Debug)]
pub struct Delivery {
    /// What to write, as one transaction.
    pub writes: Vec<Write>,
    /// What was skipped.
    pub rejected: Vec<Rejected>,
    /// What was in the way of some of that.
    pub obstacles: BTreeSet<Obstacle>,
    kind: Option<Kind>,
    type_url: String,
    nonce: String,
    /// Part of a full state: what it names.
    part: Option<BTreeSet<WireKey>>,
    stored: Vec<(WireKey, String)>,
    removed: Vec<WireKey>,
}

/// A resource that was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its type as the peer says.
    pub resource_type: String,
    /// Kind, mesh and name as they can be read.
    pub name: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Receiver {
    /// In a zone: nothing is known of the global yet.
    pub fn of_global(own_zone: &str, about: About, check_secret: CheckSecret) -> Self {
        let zone = own_zone.to_owned();
        Self::new(Scope::FromGlobal { zone }, about, Check::Secrets(check_secret))
    }

    /// On the global: nothing is known of the zone yet.
    pub fn of_zone(zone: &str, about: About, check_vip: CheckVip) -> Self {
        let zone = zone.to_owned();
        Self::new(Scope::FromZone { zone }, about, Check::Vips(check_vip))
    }

    fn new(scope: Scope, about: About, check: Check) -> Self {
        Self {
            scope,
            about,
            check,
            versions: BTreeMap::new(),
            expects_all: BTreeMap::new(),
            rejected: BTreeMap::new(),
            obstacles: BTreeSet::new(),
        }
    }

    /// Something that kept a resource of the peer away and does so no longer: a new stream brings that resource.
    pub fn unblocked(&self, snapshot: &Snapshot) -> Option<&Obstacle> {
        let count = |kind| self.versions.get(&kind).map_or(0, BTreeMap::len);
        self.obstacles
            .iter()
            .find(|obstacle| obstacle.is_gone(snapshot, &self.scope, count))
    }

    /// What is skipped at present, with the reasons; the first ones if there are many.
    pub fn rejected(&self) -> impl Iterator<Item = &Rejected> {
        self.rejected.values()
    }

    /// The requests that open a stream: one for each type, with the versions of what we still have.
    pub fn subscribe(&mut self, snapshot: &Snapshot) -> Vec<DeltaDiscoveryRequest> {
        let kinds: Vec<Kind> = self.scope.kinds().collect();
        // It will be sent again.
        self.rejected.clear();
        self.obstacles.clear();
        kinds
            .into_iter()
            .map(|kind| self.subscribe_to(kind, snapshot))
            .collect()
    }

    fn subscribe_to(&mut self, kind: Kind, snapshot: &Snapshot) -> DeltaDiscoveryRequest {
        // A full state of which only parts arrived is none.
        if self.expects_all.get(&kind).is_some_and(|named| !named.is_empty()) {
            self.versions.remove(&kind);
        }
        let known = self
            .versions
            .get(&kind)
            .map(|versions| self.held(kind, versions, snapshot));
        // Having nothing cannot be said: the response is the full state then.
        let known = known.filter(|held| !held.is_empty());
        if known.is_none() {
            self.expects_all.insert(kind, BTreeSet::new());
        } else {
            self.expects_all.remove(&kind);
        }
        DeltaDiscoveryRequest {
            node: Some(node::describe(self.scope.zone(), &self.about)),
            type_url: kind.name().to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            initial_resource_versions: known.unwrap_or_default().into_iter().collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// What is in the store, with the versions that are known. Something without a version, because its last one was
    /// rejected, is named too, or its removal would never be heard of; what is no longer there, for instance after the
    /// zone was deleted here, must be sent again.
    fn held(&self, kind: Kind, versions: &BTreeMap<WireKey, String>, snapshot: &Snapshot) -> BTreeMap<String, String> {
        let stored = snapshot
            .list(kind, None)
            .filter(|stored| self.scope.contains(&stored.resource));
        stored
            .map(|stored| {
                let key = WireKey::of(&stored.resource);
                let version = versions.get(&key).cloned().unwrap_or_default();
                (key.to_string(), version)
            })
            .collect()
    }

    /// Understands a response against the state of the store. Nothing is remembered until [`Receiver::applied`].
    pub fn receive(&self, response: &DeltaDiscoveryResponse, snapshot: &Snapshot) -> Delivery {
        let kind = Kind::from_name(&response.type_url).filter(|kind| self.scope.kinds().any(|asked| asked == *kind));
        let mut delivery = Delivery {
            writes: Vec::new(),
            rejected: Vec::new(),
            obstacles: BTreeSet::new(),
            kind,
            type_url: bounded(&response.type_url, MAX_NAME),
            nonce: bounded(&response.nonce, MAX_NAME),
            part: None,
            stored: Vec::new(),
            removed: Vec::new(),
        };
        let Some(kind) = kind else {
            delivery.rejected.push(Rejected {
                resource_type: delivery.type_url.clone(),
                name: format!("type \"{}\"", delivery.type_url),
                reason: "was not asked for".to_owned(),
            });
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
        match self.expects_all.get(&kind) {
            None => {}
            Some(_) if response.system_version_info == PART => delivery.part = Some(named),
            Some(before) => {
                let gone: Vec<WireKey> = snapshot
                    .list(kind, None)
                    .filter(|stored| self.scope.contains(&stored.resource))
                    .map(|stored| WireKey::of(&stored.resource))
                    .filter(|key| !named.contains(key) && !before.contains(key))
                    .collect();
                for key in gone {
                    self.remove(kind, &key, snapshot, &mut delivery);
                }
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
            .and_then(|received| self.admit(received, resource, snapshot, delivery))
            .and_then(|received| self.scope.adopt(received))
            .and_then(|received| self.writes_for(received, snapshot, delivery));
        match taken {
            Ok(writes) => {
                delivery.writes.extend(writes);
                delivery.stored.extend(key.map(|key| (key, resource.version.clone())));
            }
            Err(reason) => {
                let name = key.map_or_else(|| "without a name".to_owned(), |key| key.stored(kind).to_string());
                delivery.rejected.push(Rejected {
                    resource_type: kind.name().to_owned(),
                    name: bounded(&name, MAX_NAME),
                    reason: bounded(&reason, MAX_MESSAGE),
                });
            }
        }
    }

    /// Lets through what a zone may send; a global may send everything that can be decoded, but for secrets that would fail
    /// when they are needed.
    fn admit(
        &self,
        received: Resource,
        sent: &discovery::Resource,
        snapshot: &Snapshot,
        delivery: &mut Delivery,
    ) -> Result<Resource, String> {
        let (zone, check_vip) = match (&self.scope, &self.check) {
            (Scope::FromZone { zone }, Check::Vips(check_vip)) => (zone, check_vip),
            (_, Check::Secrets(check)) if matches!(received.kind, Kind::Secret | Kind::GlobalSecret) => {
                return check(&received).map(|()| received);
            }
            _ => return Ok(received),
        };
        match admission::check(&received, sent.encoded_len(), zone, snapshot, check_vip) {
            Ok(()) => {}
            Err(Refusal::Invalid(reason)) => return Err(reason),
            Err(Refusal::MissingMesh(mesh)) => {
                let reason = format!("mesh: \"{mesh}\" does not exist on the global control plane; create it there");
                delivery.obstacles.insert(Obstacle::MissingMesh(mesh));
                return Err(reason);
            }
        }
        let known = self.versions.get(&received.kind);
        let more = known.map_or(0, BTreeMap::len) + delivery.stored.len() >= MAX_OF_KIND;
        if more && !known.is_some_and(|known| known.contains_key(&WireKey::of(&received))) {
            delivery.obstacles.insert(Obstacle::TooMany(received.kind));
            return Err(format!(
                "zone \"{zone}\" has {MAX_OF_KIND} resources of this type, no more are taken"
            ));
        }
        Ok(received)
    }

    fn writes_for(
        &self,
        received: Resource,
        snapshot: &Snapshot,
        delivery: &mut Delivery,
    ) -> Result<Vec<Write>, String> {
        let key = received.key();
        let current = snapshot.get(&key);
        if current.is_some_and(|current| !self.scope.contains(&current.resource)) {
            delivery.obstacles.insert(Obstacle::Taken(key));
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
            if self.expects_all.get(&kind).is_some_and(BTreeSet::is_empty) {
                versions.clear();
            }
            versions.extend(delivery.stored.iter().cloned());
            for key in &delivery.removed {
                versions.remove(key);
            }
            for key in delivery.stored.iter().map(|(key, _)| key).chain(&delivery.removed) {
                self.rejected.remove(&key.stored(kind).to_string());
            }
            self.arrived(kind, delivery);
        }
        for rejected in &delivery.rejected {
            if self.rejected.len() < MAX_REJECTED || self.rejected.contains_key(&rejected.name) {
                self.rejected.insert(rejected.name.clone(), rejected.clone());
            }
        }
        let room = MAX_OBSTACLES.saturating_sub(self.obstacles.len());
        self.obstacles.extend(delivery.obstacles.iter().take(room).cloned());
        self.answer(delivery)
    }

    /// What follows a full state are changes, what follows a part of one is the next part.
    fn arrived(&mut self, kind: Kind, delivery: &Delivery) {
        match (&delivery.part, self.expects_all.get_mut(&kind)) {
            (Some(part), Some(named)) => named.extend(part.iter().cloned()),
            _ => {
                self.expects_all.remove(&kind);
            }
        }
    }

    fn answer(&self, delivery: &Delivery) -> DeltaDiscoveryRequest {
        let mut request = DeltaDiscoveryRequest {
            node: Some(node::plain(self.scope.zone())),
            type_url: delivery.type_url.clone(),
            response_nonce: delivery.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        if !delivery.rejected.is_empty() {
            let message = bounded(&joined(&delivery.rejected), MAX_MESSAGE);
            request.resource_names_subscribe = vec!["*".to_owned()];
            request.error_detail = Some(Status {
                message,
                ..Status::default()
            });
        }
        request
    }
}

/// As many as fit into a message.
pub(crate) fn joined(problems: &[impl fmt::Display]) -> String {
    let mut text = String::new();
    for problem in problems {
        if text.len() > MAX_MESSAGE {
            break;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&problem.to_string());
    }
    text
}

#[cfg(test)]
#[path = "receiver/tests.rs"]
mod tests;
