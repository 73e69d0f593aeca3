//! The policy engine: which policies a proxy gets, and what they say together.
//!
//! Generic over the kinds of policies: it knows what may refer to what and how confs are merged, and nothing of what a
//! conf means, let alone of Envoy. Pure: no socket, file, clock or random number.
//!
//! ```text
//! document ─▶ form::check ─▶ Policy::load ─▶ PolicySet ─▶ Matched::of(proxy) ─▶ OutboundRules, InboundRules
//!             (the matrix)   (newest form)                (class keys)          (merged confs with origins)
//! ```
//!
//! Start at [`matrix`], the table that everything is driven by, then [`Policy`], then [`EffectivePolicies`]. Facts:
//! `spec/policies.md` §1; where the compatible behaviour is irregular, §7.3 says what is regular here.

mod engine;
mod form;

pub use engine::backend::{Backend, Unresolved, resolve_backend};
pub use engine::client_match::{Client, ClientMatch};
pub use engine::destination::{Service, ServicePort, Services};
pub use engine::effective::{Effective, EffectivePolicies, whole};
pub use engine::fingerprint::{Fingerprint, Fingerprinter};
pub use engine::inbound::{InboundRule, InboundRules, MAX_RULES};
pub use engine::matching::{Matched, Touch, touch, touched};
pub use engine::merge::{ListRules, merge, merge_two};
pub use engine::outbound::{NamedDestination, OutboundRules, Resolved, resolve};
pub use engine::policy::{
    Contribution, InboundItem, ItemOrigin, Labels, OutboundItem, OutboundTarget, Policy, PolicyId, ProxySelector,
    SelectBy,
};
pub use engine::precedence::{ClientRank, Narrowness, Origin, PolicyRank, Precedence};
pub use engine::proxy::{Proxy, ProxyInbound};
pub use engine::report::{Dangling, dangling};
pub use engine::set::{Mode, PolicySet};
pub use form::backend_ref::{BACKEND_KINDS, BackendRef};
pub use form::check::{Checked, MAX_ITEMS, check};
pub use form::document::{
    Document, FromItem, RuleItem, RuleMatch, SniMatch, SniMatchType, SpiffeIdMatch, SpiffeIdMatchType, ToItem,
};
pub use form::matrix::{self, Narrowed, Part, PolicyInfo, PolicyKind, Routing};
pub use form::role::Role;
pub use form::target_kind::TargetKind;
pub use form::target_ref::{Accepted, Level, TargetRef};
