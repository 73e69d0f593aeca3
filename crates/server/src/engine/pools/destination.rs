//! One destination, and its projections for all classes of which policies say something different.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshspan_policy::Fingerprint;
use meshspan_world::view::{Destination, DestinationPolicies};

use super::Work;
use super::mesh::ClassId;
use super::projection::{Projection, others, same_but_endpoints};

/// A destination as one class has it.
pub(in crate::engine) struct Entry<'a> {
    pub(in crate::engine) destination: &'a Arc<Destination>,
    pub(in crate::engine) policies: &'a Arc<DestinationPolicies>,
    pub(in crate::engine) projection: &'a Projection,
}

/// A destination with its variants.
pub(super) struct PooledDestination {
    destination: Arc<Destination>,
    variants: BTreeMap<Fingerprint, Variant>,
    variant_of: BTreeMap<ClassId, Fingerprint>,
}

/// What it becomes under one set of policies.
struct Variant {
    policies: Arc<DestinationPolicies>,
    /// Variants of the same basis have the same endpoints.
    endpoints_basis: Fingerprint,
    projection: Projection,
    classes: usize,
}

/// What a class had, and what it has now.
pub(super) struct Replaced<'a> {
    pub(super) class: ClassId,
    pub(super) before: &'a Projection,
    pub(super) after: &'a Projection,
    pub(super) only_endpoints: bool,
}

impl PooledDestination {
    pub(super) fn new(destination: Arc<Destination>) -> Self {
        Self {
            destination,
            variants: BTreeMap::new(),
            variant_of: BTreeMap::new(),
        }
    }

    /// As a class has it.
    pub(super) fn get(&self, class: ClassId) -> Option<Entry<'_>> {
        let variant = self.variants.get(self.variant_of.get(&class)?)?;
        Some(Entry {
            destination: &self.destination,
            policies: &variant.policies,
            projection: &variant.projection,
        })
    }

    /// What each class has.
    pub(super) fn projections(&self) -> impl Iterator<Item = (ClassId, &Projection)> {
        let variants = self.variant_of.iter();
        variants.filter_map(|(class, print)| Some((*class, &self.variants.get(print)?.projection)))
    }

    /// Replaces the destination and hands out what each class had and has.
    pub(super) fn replace(&mut self, after: Arc<Destination>, work: &Work, mut replaced: impl FnMut(&Replaced<'_>)) {
        let only_endpoints = same_but_endpoints(&self.destination, &after);
        self.destination = after;
        let mut endpoints = BTreeMap::new();
        let mut before = BTreeMap::new();
        for (print, variant) in &mut self.variants {
            let endpoints = endpoints.entry(variant.endpoints_basis).or_insert_with(|| {
                work.encoded(1);
                meshspan_envoy::destination_endpoints(&self.destination, &variant.policies)
            });
            let others = if only_endpoints {
                variant.projection.others.clone()
            } else {
                let others = others(&self.destination, &variant.policies);
                work.encoded(others.len());
                others
            };
            let endpoints = endpoints.clone();
            let old = std::mem::replace(&mut variant.projection, Projection { endpoints, others });
            before.insert(*print, old);
        }
        for (class, print) in &self.variant_of {
            if let (Some(before), Some(after)) = (before.get(print), self.variants.get(print)) {
                replaced(&Replaced {
                    class: *class,
                    before,
                    after: &after.projection,
                    only_endpoints,
                });
            }
        }
    }

    /// What the class had.
    pub(super) fn leave(&mut self, class: ClassId) -> Option<Projection> {
        let print = self.variant_of.remove(&class)?;
        let variant = self.variants.get_mut(&print)?;
        variant.classes -= 1;
        if variant.classes == 0 {
            return self.variants.remove(&print).map(|variant| variant.projection);
        }
        Some(variant.projection.clone())
    }

    /// What the class has from now on; it has to have nothing yet.
    pub(super) fn join(
        &mut self,
        class: ClassId,
        print: Fingerprint,
        policies: &Arc<DestinationPolicies>,
        work: &Work,
    ) -> &Projection {
        self.variant_of.insert(class, print);
        let variant = self.variants.entry(print).or_insert_with(|| {
            let projection = Projection::new(&self.destination, policies);
            work.encoded(projection.all().count());
            Variant {
                policies: policies.clone(),
                endpoints_basis: meshspan_envoy::endpoints_basis(policies),
                projection,
                classes: 0,
            }
        });
        variant.classes += 1;
        &variant.projection
    }
}
