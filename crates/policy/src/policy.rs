//! A policy as the engine uses it: the document as written beside its meaning in the newest form.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use meshspan_model::{Resource, Violations, labels};
use serde_json::Value;

use super::client_match::ClientMatch;
use super::fingerprint::{Fingerprint, Fingerprinter};
use super::precedence::Precedence;
use super::translate;
use meshspan_model::policy::Role;
use meshspan_model::policy::TargetKind;
use meshspan_model::policy::check;
use meshspan_model::policy::{Part, PolicyKind};

/// Labels that all must match.
pub type Labels = BTreeMap<String, String>;

/// What makes a policy unique within one control plane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its mesh.
    pub mesh: String,
    /// Its core name.
    pub name: String,
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.mesh, self.name)
    }
}

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which.
    pub id: PolicyId,
    /// The resource with its `spec` exactly as written.
    pub resource: Arc<Resource>,
    /// For whom it speaks.
    pub role: Role,
    /// True if it is computed for inspection only.
    pub shadow: bool,
    /// The proxies.
    pub proxies: ProxySelector,
    /// Outgoing traffic.
    pub to: Vec<OutboundItem>,
    /// Incoming traffic.
    pub rules: Vec<InboundItem>,
    /// The proxy as a whole.
    pub default: Option<Arc<Contribution>>,
    /// Of everything that can make a difference to a proxy.
    pub fingerprint: Fingerprint,
    /// What still works but should be written differently.
    pub warnings: Vec<String>,
}

/// A conf and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Contribution {
    /// Where.
    pub origin: ItemOrigin,
    /// What it overrides and what overrides it.
    pub precedence: Precedence,
    /// The conf, with backends in the newest form.
    pub conf: Value,
}

/// Where a conf was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemOrigin {
    /// The policy.
    pub policy: PolicyId,
    /// The part of its `spec`.
    pub part: Part,
    /// The item in that part; 0 for `default`.
    pub index: usize,
}

impl ItemOrigin {
    /// The place in the document of the policy, such as `spec.to[0]`.
    pub fn place(&self) -> String {
        match self.part {
            Part::Default => "spec.default".to_owned(),
            part => format!("spec.{}[{}]", part.field(), self.index),
        }
    }
}

impl fmt::Display for ItemOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.policy, self.place())
    }
}

/// Which proxies a policy is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySelector {
    /// By what.
    pub by: SelectBy,
    /// Whether sidecars are meant.
    pub sidecars: bool,
    /// Whether gateways are meant.
    pub gateways: bool,
}

/// By what proxies are selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectBy {
    /// All of the mesh.
    All,
    /// Inbounds, or gateways, that have all these tags.
    Tags(BTreeMap<String, String>),
    /// Labels of the proxy, and one of its inbounds by name or number unless that is "".
    Labels(Labels, String),
    /// The proxies of the MeshHTTPRoutes that have these labels.
    Routes(Labels),
    /// Builtin gateways, of which there are none.
    Nothing,
}

/// Outgoing traffic and its conf.
#[derive(Clone, Debug)]
pub struct OutboundItem {
    /// Where the traffic goes.
    pub to: OutboundTarget,
    /// The traffic of MeshHTTPRoutes with these labels only.
    pub routes: Option<Labels>,
    /// The conf.
    pub contribution: Arc<Contribution>,
}

/// Destinations of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboundTarget {
    /// All.
    All,
    /// Services.
    Services {
        /// Their kind.
        kind: TargetKind,
        /// Their labels.
        labels: Labels,
        /// One of their ports by name or number; "" for all.
        section: String,
    },
}

/// Incoming traffic and its conf.
#[derive(Clone, Debug)]
pub struct InboundItem {
    /// The clients.
    pub clients: ClientMatch,
    /// The conf.
    pub contribution: Arc<Contribution>,
}

impl Policy {
    /// Loads a stored policy.
    ///
    /// # Errors
    /// It is not well formed. Nothing else is harmed by leaving it out.
    pub fn load(kind: PolicyKind, resource: Arc<Resource>) -> Result<Self, Violations> {
        let role = Role::from_label(resource.label(labels::POLICY_ROLE));
        let checked = check(kind, &resource.spec, role)?;
        let id = PolicyId {
            kind,
            mesh: resource.mesh.clone(),
            name: resource.name.clone(),
        };
        let meaning = translate::translate(&id, &resource, role, &checked.document);
        Ok(Self {
            role,
            shadow: resource.label(labels::EFFECT) == labels::EFFECT_SHADOW,
            proxies: meaning.proxies,
            to: meaning.to,
            rules: meaning.rules,
            default: meaning.default,
            fingerprint: fingerprint(&id, &resource),
            warnings: checked.warnings,
            id,
            resource,
        })
    }

    /// Its KRI, by which the API names it (`spec/resources.md` §1.6).
    pub fn kri(&self) -> String {
        format!(
            "kri_{}_{}_{}_{}_{}_",
            self.id.kind.kind().info().short_name,
            self.id.mesh,
            self.resource.zone(),
            self.resource.namespace(),
            self.resource.display_name()
        )
    }

    /// True if `from` of the other policy does not count on inbounds that both are about.
    pub fn silences(&self, other: &Policy) -> bool {
        self.id.kind == other.id.kind
            && self.id.kind.info().rules_replace_from
            && self.has_inbound(Part::Rules)
            && other.has_inbound(Part::From)
    }

    fn has_inbound(&self, part: Part) -> bool {
        self.rules.iter().any(|item| item.contribution.origin.part == part)
    }

    /// True if it has all these labels; its name counts as one where the label is missing.
    pub(crate) fn has_labels(&self, wanted: &Labels) -> bool {
        wanted.iter().all(|(key, value)| match self.resource.labels.get(key) {
            Some(own) => own == value,
            None => key == labels::DISPLAY_NAME && self.resource.display_name() == value,
        })
    }
}

fn fingerprint(id: &PolicyId, resource: &Resource) -> Fingerprint {
    let mut print = Fingerprinter::new();
    print.text(id.kind.name()).text(&id.mesh).text(&id.name);
    print.number(resource.labels.len() as u128);
    for (key, value) in &resource.labels {
        print.text(key).text(value);
    }
    print.json(&resource.spec).finish()
}
