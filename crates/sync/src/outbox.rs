//! What a control plane offers its peers: every resource that may leave, encoded and hashed once per change and
//! shared by all streams, and a log of what changed, so that a stream's work follows the change.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use meshspan_model::kinds::zone::Zone;
use meshspan_model::{Kind, Resource, ResourceKey};

use crate::feature::Feature;
use crate::key::WireKey;
use crate::outgoing::{Audience, Direction, outgoing};
use crate::proto::discovery;
use crate::wire;

/// How many changes the log remembers; a stream that is further behind looks at everything once.
const LOG: usize = 10_000;

/// One resource, encoded.
#[derive(Clone, Debug)]
pub struct Entry {
    /// As it is put into responses; cloning shares the bytes.
    pub resource: discovery::Resource,
    audience: Audience,
    needs: Option<Feature>,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Name of the zone that asks; empty if the global asks.
    pub zone: String,
    /// What it can do.
    pub features: BTreeSet<Feature>,
}

/// All encoded resources of one control plane in one direction.
#[derive(Debug)]
pub struct Outbox {
    direction: Direction,
    /// Two resources with one travelling name are possible on paper; the first by key is the one that is offered.
    entries: BTreeMap<Kind, BTreeMap<WireKey, BTreeMap<ResourceKey, Arc<Entry>>>>,
    travelling: BTreeMap<ResourceKey, WireKey>,
    /// What comes from each zone, to be looked at again when it is enabled or disabled.
    of_zone: BTreeMap<String, BTreeSet<(Kind, WireKey)>>,
    disabled: BTreeSet<String>,
    log: VecDeque<(Kind, WireKey)>,
    end: u64,
}

impl Outbox {
    /// An empty one.
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            entries: BTreeMap::new(),
            travelling: BTreeMap::new(),
            of_zone: BTreeMap::new(),
            disabled: BTreeSet::new(),
            log: VecDeque::new(),
            end: 0,
        }
    }

    /// True for kinds that may be asked for.
    pub fn carries(&self, kind: Kind) -> bool {
        self.direction.carries(kind)
    }

    /// Takes over one change of the store.
    ///
    /// # Errors
    /// Why a resource cannot be sent; what was offered under its key before stays offered.
    pub fn apply(&mut self, key: &ResourceKey, after: Option<&Resource>) -> Result<(), String> {
        if key.kind == Kind::Zone {
            self.set_enabled(
                &key.name,
                after
                    .and_then(|zone| zone.parse::<Zone>().ok())
                    .is_none_or(|zone| zone.is_enabled()),
            );
        }
        if !self.carries(key.kind) {
            return Ok(());
        }
        let new = match after
            .map(|resource| outgoing(resource, &self.direction))
            .transpose()?
            .flatten()
        {
            Some(outgoing) => {
                let with_status = matches!(self.direction, Direction::ToGlobal { .. });
                let resource =
                    wire::encode(&outgoing.resource, with_status).map_err(|error| format!("{key}: {error}"))?;
                let entry = Entry {
                    resource,
                    audience: outgoing.audience,
                    needs: outgoing.needs,
                };
                Some((WireKey::of(&outgoing.resource), entry))
            }
            None => None,
        };
        if let Some(old) = self
            .travelling
            .get(key)
            .filter(|old| new.as_ref().is_none_or(|(wire_key, _)| wire_key != *old))
        {
            let old = old.clone();
            self.remove(key, &old);
        }
        if let Some((wire_key, entry)) = new {
            self.insert(key, wire_key, entry);
        }
        Ok(())
    }

    fn insert(&mut self, key: &ResourceKey, wire_key: WireKey, entry: Entry) {
        let same_name = self
            .entries
            .entry(key.kind)
            .or_default()
            .entry(wire_key.clone())
            .or_default();
        if same_name
            .get(key)
            .is_some_and(|old| old.resource.version == entry.resource.version && old.audience == entry.audience)
        {
            return;
        }
        if let Some(zone) = entry.audience.origin() {
            self.of_zone
                .entry(zone.to_owned())
                .or_default()
                .insert((key.kind, wire_key.clone()));
        }
        same_name.insert(key.clone(), Arc::new(entry));
        self.travelling.insert(key.clone(), wire_key.clone());
        self.changed(key.kind, wire_key);
    }

    fn remove(&mut self, key: &ResourceKey, wire_key: &WireKey) {
        self.travelling.remove(key);
        let Some(of_kind) = self.entries.get_mut(&key.kind) else {
            return;
        };
        let Some(same_name) = of_kind.get_mut(wire_key) else {
            return;
        };
        let old = same_name.remove(key);
        if let Some(zone) = old.as_ref().and_then(|old| old.audience.origin())
            && let Some(of_zone) = self.of_zone.get_mut(zone)
        {
            of_zone.remove(&(key.kind, wire_key.clone()));
            if of_zone.is_empty() {
                self.of_zone.remove(zone);
            }
        }
        if same_name.is_empty() {
            of_kind.remove(wire_key);
        }
        self.changed(key.kind, wire_key.clone());
    }

    fn set_enabled(&mut self, zone: &str, enabled: bool) {
        let changed = if enabled {
            self.disabled.remove(zone)
        } else {
            self.disabled.insert(zone.to_owned())
        };
        if changed {
            for (kind, key) in self.of_zone.get(zone).cloned().unwrap_or_default() {
                self.changed(kind, key);
            }
        }
    }

    fn changed(&mut self, kind: Kind, key: WireKey) {
        self.end += 1;
        self.log.push_back((kind, key));
        if self.log.len() > LOG {
            self.log.pop_front();
        }
    }

    /// The position after the last change.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// What changed since `position`; `None` if that is too long ago.
    pub fn changes_since(&self, position: u64) -> Option<impl Iterator<Item = &(Kind, WireKey)>> {
        let behind = usize::try_from(self.end.saturating_sub(position)).ok()?;
        let skip = self.log.len().checked_sub(behind)?;
        Some(self.log.iter().skip(skip))
    }

    /// The resource if it is offered to this peer.
    pub fn offered(&self, kind: Kind, key: &WireKey, peer: &Peer) -> Option<&Arc<Entry>> {
        let (_, entry) = self.entries.get(&kind)?.get(key)?.first_key_value()?;
        self.is_for(entry, peer).then_some(entry)
    }

    /// All resources of a kind that are offered to this peer.
    pub fn all_offered<'a>(
        &'a self,
        kind: Kind,
        peer: &'a Peer,
    ) -> impl Iterator<Item = (&'a WireKey, &'a Arc<Entry>)> + 'a {
        let of_kind = self.entries.get(&kind).into_iter().flatten();
        of_kind
            .filter_map(|(key, same_name)| same_name.first_key_value().map(|(_, entry)| (key, entry)))
            .filter(|(_, entry)| self.is_for(entry, peer))
    }

    fn is_for(&self, entry: &Entry, peer: &Peer) -> bool {
        let feature = entry.needs.is_none_or(|feature| peer.features.contains(&feature));
        feature
            && match &entry.audience {
                Audience::Everyone => true,
                Audience::OthersThan(zone) => *zone != peer.zone && !self.disabled.contains(zone),
                Audience::Only { zone, from } => {
                    *zone == peer.zone && *from != peer.zone && !self.disabled.contains(from)
                }
            }
    }
}
