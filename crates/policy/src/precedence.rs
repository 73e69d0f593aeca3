//! Precedence: the one order of policies and their items (`spec/policies.md` §1.6, §7.2).

use std::cmp::Reverse;
use std::sync::Arc;

use meshspan_model::{Resource, labels};

use super::policy::PolicyId;
use meshspan_model::policy::Part;
use meshspan_model::policy::Role;
use meshspan_model::policy::TargetKind;

/// Who created a policy. Declared by precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The global control plane.
    Global,
    /// Nothing is said.
    Unknown,
    /// A zone.
    Zone,
}

impl Origin {
    /// What label `kuma.io/origin` says.
    pub fn of(resource: &Resource) -> Origin {
        match resource.label(labels::ORIGIN) {
            labels::ORIGIN_GLOBAL => Origin::Global,
            labels::ORIGIN_ZONE => Origin::Zone,
            _ => Origin::Unknown,
        }
    }
}

/// How narrowly a top-level Dataplane selects. Declared by precedence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Narrowness {
    /// All proxies, or a kind where it does not count.
    #[default]
    All,
    /// One inbound of all proxies.
    Section,
    /// By labels.
    Labels,
    /// One inbound, by labels.
    LabelsAndSection,
    /// By name.
    Name,
    /// One inbound, by name.
    NameAndSection,
}

/// How narrowly an item selects its clients; of items from `from` the order in the policy decides. Declared by
/// precedence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientRank {
    /// All clients, or not an inbound rule.
    #[default]
    All,
    /// By server name.
    Sni,
    /// By the start of their identity.
    SpiffePrefix,
    /// By their identity.
    SpiffeExact,
}

/// Place of an item among all items of a kind: what is greater overrides what is less. Unique, so that the result
/// never depends on the order in which policies were loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    policy: PolicyRank,
    target: TargetKind,
    has_section: bool,
    clients: ClientRank,
    /// Of two names the one that sorts first wins.
    display_name: Reverse<Arc<str>>,
    id: Arc<Unique>,
    part: Part,
    index: usize,
}

/// The keys that all items of a policy share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyRank {
    /// Kind at the top level.
    pub top: TargetKind,
    /// How narrowly it selects.
    pub narrowness: Narrowness,
    /// Who created it.
    pub origin: Origin,
    /// For whom it speaks.
    pub role: Role,
}

/// What tells apart policies of one name; the same in every control plane, but for the core name at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Unique {
    zone: String,
    namespace: String,
    id: PolicyId,
}

/// Makes the precedences of one policy's items.
#[derive(Clone, Debug)]
pub(crate) struct Ranking {
    policy: PolicyRank,
    display_name: Arc<str>,
    id: Arc<Unique>,
}

impl Ranking {
    pub(crate) fn new(policy: PolicyRank, id: PolicyId, resource: &Resource) -> Self {
        Self {
            policy,
            display_name: resource.display_name().into(),
            id: Arc::new(Unique {
                zone: resource.zone().to_owned(),
                namespace: resource.namespace().to_owned(),
                id,
            }),
        }
    }

    /// The precedence of an item that selects by `target` and `clients`.
    pub(crate) fn item(
        &self,
        part: Part,
        index: usize,
        target: TargetKind,
        has_section: bool,
        clients: ClientRank,
    ) -> Precedence {
        Precedence {
            policy: self.policy,
            target,
            has_section,
            clients,
            display_name: Reverse(self.display_name.clone()),
            id: self.id.clone(),
            part,
            index,
        }
    }
}
