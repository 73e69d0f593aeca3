//! Zone (`spec/resources.md` §2.3).

use serde::{Deserialize, Serialize};

use super::Spec;
use crate::kind::Kind;
use crate::violation::Violations;

/// A zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Zone {
    /// False stops its services and ingresses from reaching other zones; absent means true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

impl Zone {
    /// True unless switched off.
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }
}

impl Spec for Zone {
    const KIND: Kind = Kind::Zone;

    fn validate(&self, _root: &str, _violations: &mut Violations) {}
}
