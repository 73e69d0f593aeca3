//! The destinations of one mesh, encoded once for all classes of proxies of which policies say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_envoy::Encoded;
use meshspan_world::ClassChanges;
use meshspan_world::view::{ClassKey, Destination, DestinationKey, DestinationPolicies, Outbound};
use meshspan_xds::{ResourceSet, ResourceType};

use super::{Names, put, take, type_of};

/// One mesh.
#[derive(Default)]
pub(super) struct MeshPool {
    destinations: BTreeMap<DestinationKey, Entry>,
    classes: BTreeMap<ClassKey, ClassPool>,
}

/// A destination, and what is made of it for those of which policies say something different.
struct Entry {
    destination: Arc<Destination>,
    variants: Vec<Variant>,
}

struct Variant {
    policies: Arc<DestinationPolicies>,
    made: Made,
    classes: BTreeSet<ClassKey>,
}

/// What a destination becomes under one set of policies.
#[derive(Clone)]
pub(super) struct Made {
    endpoints: Encoded,
    /// Cluster, listener at the VIP, and clusters that the listener needs.
    others: Vec<Encoded>,
}

/// The outbound half that the proxies of a class share.
#[derive(Default)]
pub(super) struct ClassPool {
    shared: ResourceSet,
    /// How many destinations brought each resource: some need the same one.
    uses: BTreeMap<(ResourceType, Arc<str>), usize>,
    changed: Names,
}

/// One destination as one class sees it.
pub(super) struct Seen<'a> {
    pub(super) destination: &'a Arc<Destination>,
    pub(super) policies: &'a Arc<DestinationPolicies>,
    pub(super) made: &'a Made,
}

impl MeshPool {
    pub(super) fn is_empty(&self) -> bool {
        self.destinations.is_empty() && self.classes.is_empty()
    }

    /// A destination as a class sees it.
    pub(super) fn seen(&self, class: &ClassKey, key: &DestinationKey) -> Option<Seen<'_>> {
        let entry = self.destinations.get(key)?;
        let variant = entry.variants.iter().find(|variant| variant.classes.contains(class))?;
        Some(Seen {
            destination: &entry.destination,
            policies: &variant.policies,
            made: &variant.made,
        })
    }

    /// What the proxies of a class share.
    pub(super) fn shared(&self, class: &ClassKey) -> ResourceSet {
        self.classes
            .get(class)
            .map(|class| class.shared.clone())
            .unwrap_or_default()
    }

    /// Names that changed in each class since the last call.
    pub(super) fn take_changed(&mut self) -> BTreeMap<ClassKey, Names> {
        let changed = self.classes.iter_mut().filter(|(_, class)| !class.changed.is_empty());
        changed
            .map(|(key, class)| (key.clone(), std::mem::take(&mut class.changed)))
            .collect()
    }

    /// Takes a destination, `None` if it is gone.
    pub(super) fn apply_destination(&mut self, key: DestinationKey, after: Option<Arc<Destination>>) {
        let Some(after) = after else {
            for variant in self
                .destinations
                .remove(&key)
                .into_iter()
                .flat_map(|entry| entry.variants)
            {
                for class in &variant.classes {
                    if let Some(pool) = self.classes.get_mut(class) {
                        pool.replace(Some(&variant.made), None);
                    }
                }
            }
            return;
        };
        let Some(entry) = self.destinations.get_mut(&key) else {
            let variants = Vec::new();
            self.destinations.insert(
                key,
                Entry {
                    destination: after,
                    variants,
                },
            );
            return;
        };
        let only_endpoints = same_but_endpoints(&entry.destination, &after);
        entry.destination = after;
        let mut made: Vec<(Arc<DestinationPolicies>, Encoded)> = Vec::new();
        for variant in &mut entry.variants {
            let policies = &variant.policies;
            let same = made
                .iter()
                .find(|(other, _)| meshspan_envoy::same_endpoints(other, policies));
            let endpoints = match same {
                Some((_, endpoints)) => endpoints.clone(),
                None => meshspan_envoy::destination_endpoints(&entry.destination, policies),
            };
            if same.is_none() {
                made.push((policies.clone(), endpoints.clone()));
            }
            let others = if only_endpoints {
                variant.made.others.clone()
            } else {
                others(&entry.destination, policies)
            };
            let before = std::mem::replace(&mut variant.made, Made { endpoints, others });
            for class in &variant.classes {
                if let Some(pool) = self.classes.get_mut(class) {
                    pool.replace(Some(&before), Some(&variant.made));
                }
            }
        }
    }

    /// Takes what policies say to a class, `None` if it has no member any more. Destinations have to be there already.
    pub(super) fn apply_class(&mut self, class: &ClassKey, changes: Option<ClassChanges>) {
        let Some(changes) = changes else {
            self.classes.remove(class);
            for entry in self.destinations.values_mut() {
                entry.leave(class);
            }
            return;
        };
        let pool = self.classes.entry(class.clone()).or_default();
        for (key, policies) in changes {
            let Some(entry) = self.destinations.get_mut(&key) else {
                continue;
            };
            let before = entry.leave(class);
            let after = policies.map(|policies| entry.join(class, policies));
            pool.replace(before.as_ref(), after);
        }
    }
}

impl Entry {
    /// What the class had.
    fn leave(&mut self, class: &ClassKey) -> Option<Made> {
        let position = self
            .variants
            .iter()
            .position(|variant| variant.classes.contains(class))?;
        let variant = self.variants.get_mut(position)?;
        variant.classes.remove(class);
        if variant.classes.is_empty() {
            return Some(self.variants.swap_remove(position).made);
        }
        Some(variant.made.clone())
    }

    fn join(&mut self, class: &ClassKey, policies: Arc<DestinationPolicies>) -> &Made {
        let same = |variant: &Variant| Arc::ptr_eq(&variant.policies, &policies) || variant.policies == policies;
        let position = match self.variants.iter().position(same) {
            Some(position) => position,
            None => {
                self.variants.push(Variant {
                    made: Made::new(&self.destination, &policies),
                    policies,
                    classes: BTreeSet::new(),
                });
                self.variants.len() - 1
            }
        };
        // The position was found or made just now.
        #[allow(clippy::indexing_slicing)]
        let variant = &mut self.variants[position];
        variant.classes.insert(class.clone());
        &variant.made
    }
}

impl ClassPool {
    fn replace(&mut self, before: Option<&Made>, after: Option<&Made>) {
        for encoded in after.into_iter().flat_map(Made::all) {
            *self.uses.entry((type_of(encoded), encoded.name.clone())).or_default() += 1;
            put(&mut self.shared, &mut self.changed, encoded.clone());
        }
        for encoded in before.into_iter().flat_map(Made::all) {
            let id = (type_of(encoded), encoded.name.clone());
            let Some(uses) = self.uses.get_mut(&id) else { continue };
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(&id);
                take(&mut self.shared, &mut self.changed, encoded);
            }
        }
    }
}

impl Made {
    pub(super) fn new(destination: &Arc<Destination>, policies: &Arc<DestinationPolicies>) -> Self {
        Self {
            endpoints: meshspan_envoy::destination_endpoints(destination, policies),
            others: others(destination, policies),
        }
    }

    /// The resources, the listener at the VIP among them if there is one.
    pub(super) fn all(&self) -> impl Iterator<Item = &Encoded> {
        self.others.iter().chain([&self.endpoints])
    }

    /// The resources for traffic that does not come to the VIP: by a route, or by a listener of its own.
    pub(super) fn without_listener(&self) -> impl Iterator<Item = &Encoded> {
        self.all()
            .filter(|encoded| encoded.resource_type != meshspan_envoy::ResourceType::Listener)
    }
}

fn others(destination: &Arc<Destination>, policies: &Arc<DestinationPolicies>) -> Vec<Encoded> {
    let mut resources = vec![meshspan_envoy::destination_cluster(destination, policies)];
    if let Some(address) = destination.vip {
        resources.push(meshspan_envoy::outbound_listener(&Outbound {
            address,
            port: destination.port,
            bind: false,
            destination: destination.clone(),
            policies: policies.clone(),
            fallbacks: Vec::new(),
        }));
    }
    resources.extend(meshspan_envoy::outbound_clusters(destination, policies));
    resources
}

/// True if clusters and listeners come out the same: where traffic goes is all that differs.
fn same_but_endpoints(before: &Destination, after: &Destination) -> bool {
    let through_ingress =
        |destination: &Destination| destination.localities.iter().any(|locality| locality.through_ingress);
    let rest = |destination: &Destination| Destination {
        localities: Vec::new(),
        ..destination.clone()
    };
    through_ingress(before) == through_ingress(after) && rest(before) == rest(after)
}
