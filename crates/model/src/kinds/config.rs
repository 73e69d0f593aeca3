//! Config: internal settings of a control plane such as `kuma-cluster-id`; not in the API.

use serde::{Deserialize, Serialize};

use super::Spec;
use crate::kind::Kind;
use crate::violation::Violations;

/// One internal setting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The value.
    pub config: String,
}

impl Spec for Config {
    const KIND: Kind = Kind::Config;

    fn validate(&self, _root: &str, _violations: &mut Violations) {}
}
