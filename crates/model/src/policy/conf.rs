//! What a kind of policies brings: its conf.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::matrix::{Part, PolicyKind};
use super::target_kind::TargetKind;
use super::target_ref::TargetRef;
use crate::violation::Violations;

/// What stands under `default`; for kinds with routing rules, the `rules` of an item of `to`.
///
/// Every field is optional, and absent means that nothing is said: confs of several policies are merged as JSON, and
/// defaults are the business of whoever applies the result.
pub trait Conf: Serialize + DeserializeOwned + Clone + Debug + Default + PartialEq {
    /// The kind.
    const KIND: PolicyKind;

    /// Adds every violation in the conf at `place`. Its shape is checked already, and so is everything around it.
    fn check(&self, place: &Place<'_>, violations: &mut Violations);

    /// Adds what the user should know about a valid conf at `place`.
    fn warn(&self, _place: &Place<'_>, _warnings: &mut Vec<String>) {}
}

/// Where a conf stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its path, such as `spec.to[0].default`; that of the item, `spec.to[0]`, for kinds with routing rules.
    pub path: &'a str,
    /// The part that it stands in.
    pub part: Part,
    /// The kind that the policy has at its top level.
    pub top: TargetKind,
    /// What the item refers to; `None` in parts without references, and where it is missing.
    pub target: Option<&'a TargetRef>,
}

impl Place<'_> {
    /// The path of a field of the conf.
    pub fn field(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
}
