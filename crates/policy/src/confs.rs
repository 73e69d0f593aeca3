//! Effective confs as those who apply them see them: typed, and without their origins.

use std::collections::BTreeMap;

use meshspan_model::policy::{Conf, PolicyKind};
use serde_json::Value;

/// What policies say together about one piece of traffic, by kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confs(BTreeMap<PolicyKind, Value>);

impl Confs {
    /// Nothing is said.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says something about the traffic.
    pub fn insert(&mut self, kind: PolicyKind, conf: Value) {
        self.0.insert(kind, conf);
    }

    /// The conf of a kind; `None` if no policy of it applies.
    ///
    /// Confs are checked one by one before they are stored, and merging keeps types, so one that cannot be read is
    /// nobody's input. It counts as absent.
    pub fn get<C: Conf>(&self) -> Option<C> {
        C::deserialize(self.0.get(&C::KIND)?).ok()
    }

    /// The conf of a kind as JSON.
    pub fn json(&self, kind: PolicyKind) -> Option<&Value> {
        self.0.get(&kind)
    }

    /// All confs, in the order of their kinds.
    pub fn iter(&self) -> impl Iterator<Item = (PolicyKind, &Value)> {
        self.0.iter().map(|(kind, conf)| (*kind, conf))
    }

    /// True if no policy applies.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(PolicyKind, Value)> for Confs {
    fn from_iter<T: IntoIterator<Item = (PolicyKind, Value)>>(confs: T) -> Self {
        Self(confs.into_iter().collect())
    }
}
