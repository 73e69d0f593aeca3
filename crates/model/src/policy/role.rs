//! Roles: for whom a policy speaks (`spec/policies.md` §1.4).

use crate::{Violations, labels};

use super::document::{Document, ToItem};
use super::target_kind::TargetKind;

/// Role of a policy. Declared by precedence: later overrides earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The operators of the mesh.
    #[default]
    System,
    /// The owners of a service, for its clients everywhere.
    Producer,
    /// The owners of clients, for their own namespace.
    Consumer,
    /// The owners of workloads, for the incoming traffic of their own namespace.
    WorkloadOwner,
}

impl Role {
    /// The value of label `kuma.io/policy-role`.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::Producer => "producer",
            Role::Consumer => "consumer",
            Role::WorkloadOwner => "workload-owner",
        }
    }

    /// The role that the label names; [`Role::System`] if it is missing or unknown.
    pub fn from_label(value: &str) -> Role {
        [Role::Producer, Role::Consumer, Role::WorkloadOwner]
            .into_iter()
            .find(|role| role.name() == value)
            .unwrap_or_default()
    }

    /// The role of a policy in `namespace`, "" outside of Kubernetes. The control plane that owns the policy computes
    /// it; users never set it.
    ///
    /// # Errors
    /// The policy mixes roles.
    pub fn of(document: &Document, namespace: &str, system_namespace: &str) -> Result<Role, Violations> {
        if namespace.is_empty() || namespace == system_namespace {
            return Ok(Role::System);
        }
        let inbound = !document.from().is_empty() || !document.rules().is_empty();
        match (document.to(), inbound) {
            ([], _) => Ok(Role::WorkloadOwner),
            (_, true) => Err(Violations::one(
                "spec",
                "a policy outside of the system namespace must not have both incoming (from, rules) and outgoing (to) items; write two policies",
            )),
            (items, false) => {
                let own = items.iter().filter(|item| is_producer(item, namespace)).count();
                match own {
                    0 => Ok(Role::Consumer),
                    own if own == items.len() => Ok(Role::Producer),
                    _ => Err(Violations::one(
                        "spec.to",
                        format!(
                            "must not mix items for services of namespace \"{namespace}\" with other items; write two policies"
                        ),
                    )),
                }
            }
        }
    }
}

/// True if the item names a service or route of the policy's own namespace.
fn is_producer(item: &ToItem, namespace: &str) -> bool {
    let Some(target) = &item.target_ref else { return false };
    let by_name = target.kind == TargetKind::MeshService.name()
        && !target.name().is_empty()
        && (target.namespace().is_empty() || target.namespace() == namespace);
    let kinds = [TargetKind::MeshService.name(), TargetKind::MeshHTTPRoute.name()];
    let by_labels = kinds.contains(&target.kind.as_str())
        && target.labels.as_ref().is_some_and(|wanted| {
            wanted.contains_key(labels::DISPLAY_NAME)
                && wanted
                    .iter()
                    .all(|(key, value)| key == labels::DISPLAY_NAME || (key == labels::NAMESPACE && value == namespace))
        });
    by_name || by_labels
}
