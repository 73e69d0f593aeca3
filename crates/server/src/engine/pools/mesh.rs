//! The destinations of one mesh, encoded once for all classes of proxies of which policies say the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use meshspan_world::ClassChanges;
use meshspan_world::view::{ClassKey, Destination, DestinationKey};
use meshspan_xds::{ResourceSet, ResourceType};

use super::destination::{Entry, PooledDestination};
use super::projection::Projection;
use super::{Names, Work, put, take, type_of};

/// Names a class within its mesh, in less space than its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassId(u64);

/// One mesh.
#[derive(Default)]
pub(in crate::engine) struct MeshPool {
    destinations: BTreeMap<DestinationKey, PooledDestination>,
    ids: BTreeMap<ClassKey, ClassId>,
    classes: BTreeMap<ClassId, ClassPool>,
    next_id: ClassId,
    changed: BTreeSet<ClassId>,
}

/// The outbound half that the proxies of a class share.
struct ClassPool {
    key: ClassKey,
    shared: ResourceSet,
    /// How many destinations brought each resource: some need the same one.
    uses: BTreeMap<(ResourceType, Arc<str>), usize>,
    changed: Names,
}

impl MeshPool {
    pub(super) fn is_empty(&self) -> bool {
        self.destinations.is_empty() && self.classes.is_empty()
    }

    /// A destination as a class has it.
    pub(in crate::engine) fn get(&self, class: &ClassKey, key: &DestinationKey) -> Option<Entry<'_>> {
        self.destinations.get(key)?.get(*self.ids.get(class)?)
    }

    /// All destinations that a class has.
    pub(in crate::engine) fn of_class(&self, class: &ClassKey) -> impl Iterator<Item = (&DestinationKey, Entry<'_>)> {
        let id = self.ids.get(class).copied();
        let all = self.destinations.iter();
        all.filter_map(move |(key, entry)| Some((key, entry.get(id?)?)))
    }

    /// What the proxies of a class share.
    pub(in crate::engine) fn shared(&self, class: &ClassKey) -> ResourceSet {
        let class = self.ids.get(class).and_then(|id| self.classes.get(id));
        class.map(|class| class.shared.clone()).unwrap_or_default()
    }

    /// Names that changed in each class since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<(ClassKey, Names)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed
            .filter_map(|id| {
                let class = self.classes.get_mut(&id)?;
                Some((class.key.clone(), std::mem::take(&mut class.changed)))
            })
            .filter(|(_, names)| !names.is_empty())
            .collect()
    }

    pub(super) fn apply_destination(&mut self, key: &DestinationKey, after: Option<&Arc<Destination>>, work: &Work) {
        let (classes, changed) = (&mut self.classes, &mut self.changed);
        match (self.destinations.get_mut(key), after) {
            (Some(entry), Some(after)) => entry.replace(after.clone(), work, |replaced| {
                if let Some(class) = classes.get_mut(&replaced.class) {
                    changed.insert(replaced.class);
                    if replaced.only_endpoints {
                        class.replace_endpoints(replaced.after, work);
                    } else {
                        class.replace(Some(replaced.before), Some(replaced.after), work);
                    }
                }
            }),
            (None, Some(after)) => {
                self.destinations
                    .insert(key.clone(), PooledDestination::new(after.clone()));
            }
            (Some(_), None) => {
                let gone = self.destinations.remove(key);
                for (id, before) in gone.iter().flat_map(PooledDestination::projections) {
                    if let Some(class) = classes.get_mut(&id) {
                        changed.insert(id);
                        class.replace(Some(before), None, work);
                    }
                }
            }
            (None, None) => {}
        }
    }

    pub(super) fn apply_class(&mut self, key: &ClassKey, changes: Option<ClassChanges>, work: &Work) {
        let Some(changes) = changes else {
            if let Some(id) = self.ids.remove(key) {
                self.classes.remove(&id);
                for entry in self.destinations.values_mut() {
                    entry.leave(id);
                }
            }
            return;
        };
        let next_id = &mut self.next_id;
        let id = *self.ids.entry(key.clone()).or_insert_with(|| {
            next_id.0 += 1;
            *next_id
        });
        let class = self.classes.entry(id).or_insert_with(|| ClassPool::new(key.clone()));
        self.changed.insert(id);
        // Most destinations of a class share what policies say.
        let mut prints = HashMap::new();
        for (key, policies) in &changes {
            let Some(entry) = self.destinations.get_mut(key) else {
                continue;
            };
            let before = entry.leave(id);
            let after = policies.as_ref().map(|policies| {
                let print = prints
                    .entry(Arc::as_ptr(policies))
                    .or_insert_with(|| policies.fingerprint());
                entry.join(id, *print, policies, work)
            });
            class.replace(before.as_ref(), after, work);
        }
    }
}

impl ClassPool {
    fn new(key: ClassKey) -> Self {
        Self {
            key,
            shared: ResourceSet::new(),
            uses: BTreeMap::new(),
            changed: Names::new(),
        }
    }

    /// Names and all else stay the same.
    fn replace_endpoints(&mut self, after: &Projection, work: &Work) {
        put(&mut self.shared, &mut self.changed, &after.endpoints, work);
    }

    fn replace(&mut self, before: Option<&Projection>, after: Option<&Projection>, work: &Work) {
        for encoded in after.into_iter().flat_map(Projection::all) {
            *self.uses.entry((type_of(encoded), encoded.name.clone())).or_default() += 1;
            put(&mut self.shared, &mut self.changed, encoded, work);
        }
        for encoded in before.into_iter().flat_map(Projection::all) {
            let id = (type_of(encoded), encoded.name.clone());
            let Some(uses) = self.uses.get_mut(&id) else { continue };
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(&id);
                take(&mut self.shared, &mut self.changed, id.0, &id.1);
            }
        }
    }
}
