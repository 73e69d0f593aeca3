//! Which resources differ between two snapshots.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::resource_type::ResourceType;

/// What a new snapshot changed. Naming too much costs a comparison; naming too little loses an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Anything: every resource is compared. Right for the first snapshot and after a lost overview.
    All,
    /// Only these, added, changed or removed.
    Named(BTreeSet<(ResourceType, Arc<str>)>),
}

impl Changes {
    /// No change at all.
    pub const fn none() -> Self {
        Self::Named(BTreeSet::new())
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Named(names) if names.is_empty())
    }

    /// Adds what came later.
    pub fn merge(&mut self, later: Self) {
        match (&mut *self, later) {
            (Self::Named(names), Self::Named(more)) => names.extend(more),
            (Self::Named(_), Self::All) => *self = Self::All,
            (Self::All, _) => {}
        }
    }
}

impl FromIterator<(ResourceType, Arc<str>)> for Changes {
    fn from_iter<I: IntoIterator<Item = (ResourceType, Arc<str>)>>(names: I) -> Self {
        Self::Named(names.into_iter().collect())
    }
}
