//! The policies of one mesh with what they can be about, read from one state of the store.
//!
//! Works on the global as in a zone: each sees the proxies and services that it stores.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::zone_egress::EGRESS_SERVICE;
use meshspan_model::labels::TAG_SERVICE;
use meshspan_model::policy::PolicyKind;
use meshspan_model::{Kind, Resource, ServiceIdentity, ServiceKind};
use meshspan_policy::{Mode as Shadow, Policy, PolicySet, Proxy, SelectBy, Service, Services, dangling, touch};
use meshspan_store::Snapshot;

use crate::settings::Mode;

/// Policies and services of a mesh; its proxies are read as they are asked for.
pub(crate) struct MeshPolicies<'a> {
    mesh: &'a str,
    snapshot: &'a Snapshot,
    zone: &'a str,
    /// Policies of the mesh.
    pub(crate) policies: PolicySet,
    /// All services of the mesh.
    pub(crate) services: Services,
    /// Their resources.
    destinations: BTreeMap<ServiceIdentity, Arc<Resource>>,
}

impl<'a> MeshPolicies<'a> {
    /// Reads the policies and services of a mesh. A stored policy that this version cannot read is left out, as it is
    /// where policies are applied; its own inspection says what is wrong with it.
    pub(crate) fn of(mesh: &'a str, snapshot: &'a Snapshot, mode: &'a Mode) -> Self {
        Self::with(PolicyKind::ALL, mesh, snapshot, mode)
    }

    /// Reads what one policy of a kind can be about. Of policies that is routes, and its own kind where one silences
    /// another: writing many takes no longer the more there are.
    pub(crate) fn around_one(kind: PolicyKind, mesh: &'a str, snapshot: &'a Snapshot, mode: &'a Mode) -> Self {
        let routes = [PolicyKind::MeshHTTPRoute];
        match kind.info().rules_replace_from {
            true => Self::with(&[PolicyKind::MeshHTTPRoute, kind], mesh, snapshot, mode),
            false => Self::with(&routes, mesh, snapshot, mode),
        }
    }

    /// All proxies that can be read.
    pub(super) fn proxies(&self) -> impl Iterator<Item = Proxy> + '_ {
        let stored = self.snapshot.list(Kind::Dataplane, Some(self.mesh));
        stored.filter_map(|stored| {
            let dataplane: Dataplane = stored.resource.parse().ok()?;
            Some(self.proxy(&stored.resource, &dataplane))
        })
    }

    /// As [`MeshPolicies::of`], with policies of these kinds.
    pub(crate) fn with(kinds: &[PolicyKind], mesh: &'a str, snapshot: &'a Snapshot, mode: &'a Mode) -> Self {
        let zone = match mode {
            Mode::Zone { name, .. } => name.as_str(),
            Mode::Global => "",
        };
        let mut policies = PolicySet::new();
        for kind in kinds {
            let stored = snapshot.list(kind.kind(), Some(mesh));
            for policy in stored.filter_map(|stored| Policy::load(*kind, Arc::clone(&stored.resource)).ok()) {
                policies.insert(policy);
            }
        }
        let (mut services, mut destinations) = (Services::new(), BTreeMap::new());
        for kind in ServiceKind::ALL.iter().copied() {
            for stored in snapshot.list(kind.kind(), Some(mesh)) {
                if let Some(service) = Service::of(kind, &stored.resource, zone) {
                    destinations.insert(service.identity.clone(), Arc::clone(&stored.resource));
                    services.insert(service);
                }
            }
        }
        Self {
            mesh,
            snapshot,
            zone,
            policies,
            services,
            destinations,
        }
    }

    /// The resources of all services, by who they are.
    pub(crate) fn destinations(&self) -> &BTreeMap<ServiceIdentity, Arc<Resource>> {
        &self.destinations
    }

    /// A proxy as policies see it.
    pub(crate) fn proxy(&self, resource: &Resource, dataplane: &Dataplane) -> Proxy {
        Proxy::of(resource, dataplane, self.zone)
    }

    /// References of a policy that resolve to nothing, for whoever wrote it.
    pub(crate) fn missing(&self, policy: &Policy) -> Vec<String> {
        dangling(policy, &self.policies, &self.services)
            .into_iter()
            .map(|missing| format!("{}: {} at present", missing.field, missing.message))
            .collect()
    }

    /// Tags and labels in the selector of a policy that were taken for one another.
    pub(crate) fn mistaken(&self, policy: &Policy) -> Vec<String> {
        let (keys, by_label) = match &policy.proxies.by {
            SelectBy::Labels(labels, _) => (labels, true),
            SelectBy::Tags(tags) => (tags, false),
            SelectBy::All | SelectBy::Routes(_) | SelectBy::Nothing => return Vec::new(),
        };
        let (mut labels, mut tags) = (BTreeSet::new(), BTreeSet::new());
        for proxy in self.proxies() {
            labels.extend(proxy.labels.into_keys());
            let inbounds = proxy.inbounds.into_iter().map(|inbound| inbound.tags);
            tags.extend(inbounds.chain(proxy.gateway).flat_map(BTreeMap::into_keys));
        }
        let (meant, other) = if by_label { (labels, tags) } else { (tags, labels) };
        let mistaken = keys.keys().filter(|key| !meant.contains(*key) && other.contains(*key));
        mistaken
            .map(|key| match by_label {
                true => format!(
                    "spec.targetRef.labels: {key} is a tag of inbounds, and no Dataplane has it as a label: select by tags with `kind: \
                     MeshSubset, tags: {{{key}: …}}`, or give the Dataplanes a label"
                ),
                false => format!(
                    "spec.targetRef.tags: {key} is a label of Dataplanes, and no inbound has it as a tag: select by labels with `kind: \
                     Dataplane, labels: {{{key}: …}}`"
                ),
            })
            .collect()
    }

    /// The proxies that a policy touches, by name.
    pub(crate) fn touched_by<'s>(
        &'s self,
        policy: &'s Policy,
        shadow: Shadow,
    ) -> impl Iterator<Item = &'a Arc<Resource>> + 's {
        let stored = self.snapshot.list(Kind::Dataplane, Some(self.mesh));
        stored
            .map(|stored| &stored.resource)
            .filter(move |resource| match resource.parse::<Dataplane>() {
                Ok(dataplane) => {
                    let proxy = self.proxy(resource, &dataplane);
                    touch(policy, &proxy, &self.policies, shadow).is_some()
                }
                Err(_) => false,
            })
    }

    /// Whether a policy selects the egresses of the mesh's zones, by their service tag.
    pub(crate) fn selects_egresses(policy: &Policy) -> bool {
        let by_tags =
            |tags: &BTreeMap<String, String>| tags.get(TAG_SERVICE).is_some_and(|service| service == EGRESS_SERVICE);
        matches!(&policy.proxies.by, SelectBy::Tags(tags) if by_tags(tags))
    }

    /// Says that a policy touches no proxy, and why as far as that is known; nothing of one that is about egresses.
    pub(crate) fn untouched(&self, policy: &Policy) -> Option<String> {
        if Self::selects_egresses(policy) {
            return None;
        }
        let mesh = self.mesh;
        let proxies = match self.snapshot.list(Kind::Dataplane, Some(mesh)).count() {
            0 => "no proxies".to_owned(),
            1 => "1 proxy, which it does not select".to_owned(),
            count => format!("{count} proxies, none of which it selects"),
        };
        Some(format!("touches no proxy at present: mesh \"{mesh}\" has {proxies}"))
    }
}
