//! Policies as users write them: their kinds, the references in them, and whether a document is well formed.
//!
//! Start at [`matrix`], the one table that decides what may stand where, then [`PolicySpec`], the payload that all kinds
//! of policies share, then [`Conf`], what each of them brings (one file a kind in [`crate::kinds`]). What policies mean
//! together is the business of the crate `meshspan-policy`. Facts: `spec/policies.md` §1.

mod backend_ref;
mod check;
mod conf;
mod document;
pub mod matrix;
mod role;
mod spec;
mod spiffe_id;
mod target_kind;
mod target_ref;
pub mod values;

pub use backend_ref::{BACKEND_KINDS, BackendRef, map_backends};
pub use check::{Checked, MAX_ITEMS, check};
pub use conf::{Conf, Place};
pub(crate) use document::relative_path;
pub use document::{
    Document, FromItem, RuleItem, RuleMatch, SniMatch, SniMatchType, SpiffeIdMatch, SpiffeIdMatchType, ToItem,
};
pub use matrix::{ClientInputs, Narrowed, Part, PolicyInfo, PolicyKind, Routing};
pub use role::Role;
pub use spec::PolicySpec;
pub use target_kind::TargetKind;
pub use target_ref::{Accepted, GATEWAY, Level, SIDECAR, TargetRef};
