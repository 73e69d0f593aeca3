//! The policy engine: which policies a proxy gets, and what they say together.
//!
//! Generic over the kinds of policies: it knows what may refer to what and how confs are merged, and nothing of what a
//! conf means, let alone of Envoy. Pure: no socket, file, clock or random number.
//!
//! ```text
//! document ─▶ Kind::check ─▶ Policy::load ─▶ PolicySet ─▶ Matched::of(proxy) ─▶ OutboundRules, InboundRules
//!             (the matrix)   (newest form)                (class keys)          (merged confs with origins)
//! ```
//!
//! What users write, and the matrix that everything is driven by, is in [`meshspan_model::policy`]. Start at
//! [`Policy`], then [`EffectivePolicies`]. Facts: `spec/policies.md` §1; where the compatible behaviour is irregular,
//! §7.3 says what is regular here.

mod backend;
mod client_match;
mod confs;
mod destination;
mod effective;
mod fingerprint;
mod inbound;
mod matching;
mod merge;
mod outbound;
mod policy;
mod precedence;
mod proxy;
mod report;
mod set;
mod translate;

pub use backend::{Backend, Unresolved, resolve_backend};
pub use client_match::{Client, ClientMatch};
pub use confs::Confs;
pub use destination::{Service, ServicePort, Services};
pub use effective::{Effective, EffectivePolicies, whole};
pub use fingerprint::{Fingerprint, Fingerprinter};
pub use inbound::{InboundRule, InboundRules, MAX_RULES};
pub use matching::{Matched, Touch, touch, touched};
pub use merge::{ListRules, merge, merge_two};
pub use outbound::{NamedDestination, OutboundRules, Resolved, resolve};
pub use policy::{
    Contribution, InboundItem, ItemOrigin, Labels, OutboundItem, OutboundTarget, Policy, PolicyId, ProxySelector,
    SelectBy,
};
pub use precedence::{ClientRank, Narrowness, Origin, PolicyRank, Precedence};
pub use proxy::{Proxy, ProxyInbound};
pub use report::{Dangling, dangling};
pub use set::{Mode, PolicySet};
