//! The fleet of sidecars. One that reaches every destination shares its outbound half with its class; the others get the
//! destinations that they name, and those to which routes lead from there, among their own resources.

mod own_half;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_envoy::ProxyOptions;
use meshspan_world::ClassChanges;
use meshspan_world::view::{ClassKey, Destination, DestinationKey, SidecarView, Source};
use meshspan_xds::ResourceSet;

use super::{Fleet, OwnHalf};
use crate::engine::pools::{Names, PoolChanges, Pools};
use crate::proxy_key::ProxyKey;
use meshspan_model::ProxyKind;

pub(in crate::engine) use own_half::resources;

/// The sidecars of this zone.
#[derive(Default)]
pub(in crate::engine) struct Sidecars {
    views: BTreeMap<ProxyKey, Arc<SidecarView>>,
    /// Why inbounds are not served; of those where there is something to say.
    problems: BTreeMap<ProxyKey, Vec<String>>,
    /// With what their nodes say that access logs call them.
    connected: BTreeMap<ProxyKey, Option<Source>>,
    /// What connected ones were projected from.
    following: BTreeMap<ProxyKey, Following>,
    /// The same, by the class that is shared.
    sharing: BTreeMap<(String, ClassKey), BTreeSet<ProxyKey>>,
    /// The same, by the destinations that are used, as a class has them.
    users: BTreeMap<DestinationKey, BTreeMap<ClassKey, BTreeSet<ProxyKey>>>,
    /// Those that share, although their nodes do not say what access logs call them: they have listeners of their own instead.
    misnamed: BTreeMap<(String, ClassKey), BTreeSet<ProxyKey>>,
    /// Sidecars that came, went or changed since the last [`Sidecars::take_changed`].
    changed: BTreeSet<ProxyKey>,
}

/// What a sidecar was projected from.
#[derive(PartialEq, Eq)]
struct Following {
    class: ClassKey,
    /// It shares the outbound half of its class.
    shares: bool,
    /// Its node says what access logs call it.
    says_source: bool,
    /// Destinations among its own resources.
    uses: BTreeSet<DestinationKey>,
}

impl Sidecars {
    pub(in crate::engine) fn view(&self, id: &ProxyKey) -> Option<&Arc<SidecarView>> {
        self.views.get(id)
    }

    /// Whether the node of a proxy says what access logs call it; of one that is not connected that is assumed.
    pub(in crate::engine) fn says_source(&self, id: &ProxyKey, source: &Source) -> bool {
        self.connected.get(id).is_none_or(|said| said.as_ref() == Some(source))
    }

    /// Why inbounds are not served, by sidecar.
    pub(in crate::engine) fn problems(&self) -> &BTreeMap<ProxyKey, Vec<String>> {
        &self.problems
    }

    /// Connected sidecars of a mesh.
    pub(in crate::engine) fn connected_in<'a>(&'a self, mesh: &'a str) -> impl Iterator<Item = &'a ProxyKey> {
        let first = ProxyKey::new(ProxyKind::Sidecar, mesh, "");
        let from_there = self.connected.range(first..).map(|(id, _)| id);
        from_there.take_while(move |id| id.mesh == mesh)
    }

    /// Sidecars that came, went or changed since the last call.
    pub(in crate::engine) fn take_changed(&mut self) -> BTreeSet<ProxyKey> {
        std::mem::take(&mut self.changed)
    }

    /// Takes destinations that changed, and adds those whose own half has to be projected again.
    pub(in crate::engine) fn apply_destinations(
        &self,
        changes: &BTreeMap<DestinationKey, Option<Arc<Destination>>>,
        stale: &mut BTreeSet<ProxyKey>,
    ) {
        for key in changes.keys() {
            let users = self.users.get(key).into_iter().flat_map(BTreeMap::values);
            stale.extend(users.flatten().cloned());
        }
    }

    /// Takes what policies say to classes, as [`Sidecars::apply_destinations`].
    pub(in crate::engine) fn apply_classes(
        &self,
        changes: &BTreeMap<(String, ClassKey), Option<ClassChanges>>,
        stale: &mut BTreeSet<ProxyKey>,
    ) {
        for (key, changes) in changes {
            let (_, class) = key;
            // What is new to the class is new to them.
            stale.extend(self.misnamed.get(key).into_iter().flatten().cloned());
            for key in changes.iter().flat_map(BTreeMap::keys) {
                let users = self.users.get(key).and_then(|classes| classes.get(class));
                stale.extend(users.into_iter().flatten().cloned());
            }
        }
    }

    /// Takes a view, `None` if its Dataplane is gone.
    pub(in crate::engine) fn apply(
        &mut self,
        id: ProxyKey,
        view: Option<Arc<SidecarView>>,
        stale: &mut BTreeSet<ProxyKey>,
    ) {
        let problems = view
            .as_ref()
            .map(|view| meshspan_envoy::sidecar_problems(&view.sidecar.dataplane));
        match problems.filter(|problems| !problems.is_empty()) {
            Some(problems) => self.problems.insert(id.clone(), problems),
            None => self.problems.remove(&id),
        };
        match view {
            Some(view) => {
                self.views.insert(id.clone(), view);
            }
            None => {
                self.views.remove(&id);
                self.follow(&id, None);
            }
        }
        if self.connected.contains_key(&id) {
            stale.insert(id.clone());
        }
        self.changed.insert(id);
    }

    /// Keeps the indexes; true if the proxy shares another half than before.
    fn follow(&mut self, id: &ProxyKey, after: Option<Following>) -> bool {
        let before = self.following.remove(id);
        if before == after {
            self.following.extend(after.map(|same| (id.clone(), same)));
            return false;
        }
        let shared = |following: &Option<Following>| {
            let following = following.as_ref()?;
            Some(following.shares.then(|| following.class.clone()))
        };
        let other_shared_half = shared(&before) != shared(&after);
        if let Some(before) = before {
            self.unfollow(id, before);
        }
        if let Some(after) = after {
            if after.shares {
                let class = (id.mesh.clone(), after.class.clone());
                if !after.says_source {
                    self.misnamed.entry(class.clone()).or_default().insert(id.clone());
                }
                self.sharing.entry(class).or_default().insert(id.clone());
            }
            for key in &after.uses {
                let classes = self.users.entry(key.clone()).or_default();
                classes.entry(after.class.clone()).or_default().insert(id.clone());
            }
            self.following.insert(id.clone(), after);
        }
        other_shared_half
    }

    fn unfollow(&mut self, id: &ProxyKey, before: Following) {
        for key in &before.uses {
            if let Some(classes) = self.users.get_mut(key) {
                remove(classes, &before.class, id);
                if classes.is_empty() {
                    self.users.remove(key);
                }
            }
        }
        if before.shares {
            let class = (id.mesh.clone(), before.class);
            remove(&mut self.sharing, &class, id);
            remove(&mut self.misnamed, &class, id);
        }
    }
}

/// Removes a proxy from an index, which keeps no empty sets.
fn remove<K: Ord>(index: &mut BTreeMap<K, BTreeSet<ProxyKey>>, key: &K, id: &ProxyKey) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

impl Fleet for Sidecars {
    fn connected(&mut self, id: &ProxyKey, source: Option<Source>) {
        self.connected.insert(id.clone(), source);
        self.changed.insert(id.clone());
    }

    fn disconnected(&mut self, id: &ProxyKey) {
        self.connected.remove(id);
        self.follow(id, None);
        self.changed.insert(id.clone());
    }

    fn own_half(&mut self, id: &ProxyKey, options: &ProxyOptions, pools: &Pools) -> Option<OwnHalf> {
        let view = self.views.get(id)?.clone();
        let pool = pools.mesh(&id.mesh);
        let lookup = |key: &DestinationKey| pool?.get(&view.class, key);
        let says_source = self.says_source(id, &view.sidecar.source);
        let (mut resources, mut encoded) = own_half::of_pool(&view, options, lookup, says_source);
        let mut uses = own_half::destinations(&view, lookup);
        if view.all_destinations && !says_source {
            let all = pool.into_iter().flat_map(|pool| pool.of_class(&view.class));
            for (key, entry) in all {
                let listener = own_half::listener_with_source(&entry, &view.sidecar.source);
                encoded += usize::from(listener.is_some());
                resources.extend(listener);
                uses.insert(key.clone());
            }
        }
        let following = Following {
            class: view.class.clone(),
            shares: view.all_destinations,
            says_source,
            uses,
        };
        Some(OwnHalf {
            resources,
            encoded,
            other_shared_half: self.follow(id, Some(following)),
        })
    }

    fn shared_half(&self, id: &ProxyKey, pools: &Pools) -> Option<ResourceSet> {
        let view = self.views.get(id)?;
        let pool = pools.mesh(&id.mesh).filter(|_| view.all_destinations);
        Some(pool.map(|pool| pool.shared(&view.class)).unwrap_or_default())
    }

    fn shared_changes<'a>(&self, id: &ProxyKey, changes: &'a PoolChanges) -> Option<&'a Names> {
        let view = self.views.get(id).filter(|view| view.all_destinations)?;
        changes.classes.get(&(id.mesh.clone(), view.class.clone()))
    }

    fn followers(&self, changes: &PoolChanges, followers: &mut BTreeSet<ProxyKey>) {
        for class in changes.classes.keys() {
            followers.extend(self.sharing.get(class).into_iter().flatten().cloned());
        }
    }
}
