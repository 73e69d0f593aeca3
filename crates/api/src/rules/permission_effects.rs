//! What a write does to who may reach whom, for whoever makes it: with mTLS on, a destination that no MeshTrafficPermission
//! opens to anybody is one that everybody finds closed, and nothing else would say so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::mesh::Mesh;
use meshspan_model::kinds::mesh_service::{MeshService, SPIFFE_ID};
use meshspan_model::kinds::mesh_traffic_permission::{Conf, lets_anybody_in};
use meshspan_model::labels::TAG_SERVICE;
use meshspan_model::policy::{Part, PolicyKind, RuleMatch};
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_policy::{InboundRules, Matched, Mode, Policy, PolicySet, Proxy};
use meshspan_store::Snapshot;
use serde::Deserialize as _;

use super::Context;
use crate::inspect::MeshPolicies;

const KIND: PolicyKind = PolicyKind::MeshTrafficPermission;
/// Destinations and identities that one warning names.
const NAMED: usize = 5;

/// What storing `resource` closes to everybody.
pub(super) fn of_put(context: &Context<'_>, resource: &Resource) -> Vec<String> {
    let key = resource.key();
    match resource.kind {
        Kind::Mesh => {
            let before = has_mtls(mesh(context.snapshot, &resource.name).as_deref());
            if before || !has_mtls(Some(resource)) {
                return Vec::new();
            }
            let closed = Permissions::of(&resource.name, context).closed();
            named(&closed, "with mTLS on, nothing allows anyone to reach")
                .into_iter()
                .collect()
        }
        Kind::MeshTrafficPermission => {
            let policy = Policy::load(KIND, Arc::new(resource.clone())).ok();
            closed_by(context, &key, policy).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// What deleting a resource closes to everybody.
pub(super) fn of_delete(context: &Context<'_>, key: &ResourceKey) -> Vec<String> {
    match key.kind {
        Kind::MeshTrafficPermission => closed_by(context, key, None).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn closed_by(context: &Context<'_>, key: &ResourceKey, after: Option<Policy>) -> Option<String> {
    if !has_mtls(mesh(context.snapshot, &key.mesh).as_deref()) {
        return None;
    }
    let mut permissions = Permissions::of(&key.mesh, context);
    let before = permissions.closed();
    permissions.replace(key, after);
    let closed = permissions.closed().difference(&before).cloned().collect();
    named(&closed, "after this, nothing allows anyone to reach")
}

fn named(closed: &BTreeSet<String>, sentence: &str) -> Option<String> {
    if closed.is_empty() {
        return None;
    }
    let names: Vec<_> = closed.iter().take(NAMED).map(String::as_str).collect();
    let more = match closed.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "{sentence} {}{more}: create a MeshTrafficPermission that allows their clients",
        names.join(", ")
    ))
}

fn mesh(snapshot: &Snapshot, name: &str) -> Option<Arc<Resource>> {
    let stored = snapshot.get(&ResourceKey::new(Kind::Mesh, "", name))?;
    Some(Arc::clone(&stored.resource))
}

fn has_mtls(mesh: Option<&Resource>) -> bool {
    mesh.and_then(|mesh| mesh.parse::<Mesh>().ok())
        .is_some_and(|mesh| mesh.enabled_backend().is_some())
}

/// The permissions of a mesh and the proxies that they are about.
struct Permissions {
    policies: PolicySet,
    proxies: Vec<(Proxy, Dataplane)>,
}

impl Permissions {
    fn of(name: &str, context: &Context<'_>) -> Self {
        let mesh = MeshPolicies::with(&[KIND], name, context.snapshot, &context.settings.mode);
        let proxies = dataplanes(context.snapshot, name);
        let proxies = proxies.map(|(resource, dataplane)| (mesh.proxy(&resource, &dataplane), dataplane));
        let proxies = proxies.collect();
        Self {
            policies: mesh.policies,
            proxies,
        }
    }

    fn replace(&mut self, key: &ResourceKey, after: Option<Policy>) {
        let id = meshspan_policy::PolicyId {
            kind: KIND,
            mesh: key.mesh.clone(),
            name: key.name.clone(),
        };
        self.policies.remove(&id);
        if let Some(after) = after {
            self.policies.insert(after);
        }
    }

    /// Services without an inbound that lets anybody in.
    fn closed(&self) -> BTreeSet<String> {
        let mut open: BTreeMap<&str, bool> = BTreeMap::new();
        for (proxy, dataplane) in &self.proxies {
            let matched = Matched::of(proxy, &self.policies, Mode::Live);
            for (inbound, policies) in dataplane.networking.inbound.iter().zip(&matched.inbounds) {
                let rules = InboundRules::of(policies);
                let is_open = rules.get(&KIND).is_some_and(|rules| {
                    rules.is_complete && lets_anybody_in(rules.rules.iter().map(|rule| &rule.effective.conf))
                });
                let service = inbound.service();
                if !service.is_empty() {
                    *open.entry(service).or_default() |= is_open;
                }
            }
        }
        let closed = open.into_iter().filter(|(_, open)| !open);
        closed.map(|(service, _)| service.to_owned()).collect()
    }
}

fn dataplanes<'a>(snapshot: &'a Snapshot, mesh: &'a str) -> impl Iterator<Item = (Arc<Resource>, Dataplane)> + 'a {
    let stored = snapshot.list(Kind::Dataplane, Some(mesh));
    stored.filter_map(|stored| Some((Arc::clone(&stored.resource), stored.resource.parse().ok()?)))
}

/// The identities that proxies of a mesh show, as far as they are known here.
fn identities(snapshot: &Snapshot, mesh: &str) -> BTreeSet<String> {
    let of_service = |service: &str| format!("spiffe://{mesh}/{service}");
    let mut found = BTreeSet::new();
    for (_, dataplane) in dataplanes(snapshot, mesh) {
        let services = dataplane
            .networking
            .inbound
            .iter()
            .filter_map(|inbound| inbound.tags.get(TAG_SERVICE));
        found.extend(services.map(|service| of_service(service)));
    }
    // In a zone, the only trace of other zones' proxies.
    let services = snapshot.list(Kind::MeshService, Some(mesh));
    for service in services.filter_map(|stored| stored.resource.parse::<MeshService>().ok()) {
        found.extend(
            service
                .identities
                .into_iter()
                .map(|identity| match identity.identity_type.as_str() {
                    SPIFFE_ID => identity.value,
                    _ => of_service(&identity.value),
                }),
        );
    }
    found
}

/// Clients of a permission that no proxy is: mostly a slip of the pen.
pub(super) fn unknown_clients(context: &Context<'_>, policy: &Policy) -> Vec<String> {
    if policy.id.kind != KIND {
        return Vec::new();
    }
    let known = identities(context.snapshot, &policy.id.mesh);
    if known.is_empty() {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    for item in &policy.rules {
        let origin = &item.contribution.origin;
        if origin.part == Part::From {
            if let Some(service) = item.clients.tags.get(TAG_SERVICE) {
                let id = format!("spiffe://{}/{service}", policy.id.mesh);
                if !known.contains(&id) {
                    let field = format!("spec.from[{}].targetRef", origin.index);
                    warnings.push(unknown(&field, &id, &known));
                }
            }
            continue;
        }
        let Ok(conf) = Conf::deserialize(&item.contribution.conf) else {
            continue;
        };
        let lists = [
            ("deny", conf.deny),
            ("allow", conf.allow),
            ("allowWithShadowDeny", conf.allow_with_shadow_deny),
        ];
        for (name, list) in lists {
            for (index, clients) in list.iter().flatten().enumerate() {
                if let Some(id) = unknown_id(clients, &known) {
                    let field = format!("spec.rules[{}].default.{name}[{index}].spiffeID", origin.index);
                    warnings.push(unknown(&field, id, &known));
                }
            }
        }
    }
    warnings
}

fn unknown_id<'a>(clients: &'a RuleMatch, known: &BTreeSet<String>) -> Option<&'a str> {
    let id = clients.spiffe_id.as_ref()?;
    let is_known = known.iter().any(|known| id.matches(known));
    (!is_known).then_some(id.value.as_str())
}

fn unknown(field: &str, id: &str, known: &BTreeSet<String>) -> String {
    let some: Vec<_> = known.iter().take(NAMED).map(String::as_str).collect();
    let more = if known.len() > NAMED { ", …" } else { "" };
    format!(
        "{field}: no proxy has the identity \"{id}\" at present; there are {}{more}",
        some.join(", ")
    )
}
