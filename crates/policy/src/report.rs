//! What a policy does not reach, for whoever wrote it: references that resolve to nothing.
//!
//! Such an item harms nothing else, and works as soon as its target is there.

use serde_json::Value;

use super::backend::{labels_text, resolve_backend};
use super::destination::Services;
use super::outbound::{Resolved, resolve};
use super::policy::{ItemOrigin, OutboundItem, OutboundTarget, Policy};
use super::set::{Mode, PolicySet};

/// A reference that resolves to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dangling {
    /// The item.
    pub origin: ItemOrigin,
    /// Path of the reference.
    pub field: String,
    /// What is missing.
    pub message: String,
}

/// The references of a policy that resolve to nothing.
pub fn dangling(policy: &Policy, policies: &PolicySet, services: &Services) -> Vec<Dangling> {
    policy
        .to
        .iter()
        .flat_map(|item| {
            let origin = &item.contribution.origin;
            let mut found = Vec::new();
            let target = format!("spec.to[{}].targetRef", origin.index);
            let missing = missing_destination(item, services)
                .into_iter()
                .chain(missing_route(policy, item, policies));
            found.extend(missing.map(|message| (target.clone(), message)));
            found.extend(missing_backends(policy, item, services));
            found.into_iter().map(|(field, message)| Dangling {
                origin: origin.clone(),
                field,
                message,
            })
        })
        .collect()
}

fn missing_destination(item: &OutboundItem, services: &Services) -> Option<String> {
    let OutboundTarget::Services { kind, labels, section } = &item.to else {
        return None;
    };
    match resolve(item, services) {
        Resolved::Services(found) if found.is_empty() => {}
        _ => return None,
    }
    let mesh = &item.contribution.origin.policy.mesh;
    let exists = kind
        .service()
        .is_some_and(|kind| services.with_labels(mesh, kind, labels).next().is_some());
    let labels = labels_text(labels);
    Some(if exists {
        format!("no {kind} with labels {labels} has a port \"{section}\"")
    } else {
        format!("there is no {kind} with labels {labels}")
    })
}

fn missing_route(policy: &Policy, item: &OutboundItem, policies: &PolicySet) -> Option<String> {
    let labels = item.routes.as_ref()?;
    let exists = policies
        .routes(&policy.id.mesh, labels, Mode::WithShadow)
        .next()
        .is_some();
    (!exists).then(|| format!("there is no MeshHTTPRoute with labels {}", labels_text(labels)))
}

fn missing_backends(policy: &Policy, item: &OutboundItem, services: &Services) -> Vec<(String, String)> {
    let index = item.contribution.origin.index;
    let list = |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut missing = Vec::new();
    for (rule_index, rule) in list(&item.contribution.conf, "rules").iter().enumerate() {
        let backends = rule
            .get("default")
            .map(|default| list(default, "backendRefs"))
            .unwrap_or_default();
        for (backend_index, backend) in backends.iter().enumerate() {
            if let Err(reason) = resolve_backend(backend, &policy.id.mesh, services) {
                missing.push((
                    format!("spec.to[{index}].rules[{rule_index}].default.backendRefs[{backend_index}]"),
                    reason.to_string(),
                ));
            }
        }
    }
    missing
}
