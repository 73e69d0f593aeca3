//! Secret and GlobalSecret (`spec/resources.md` §2.6).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Spec;
use crate::kind::Kind;
use crate::violation::Violations;

/// A secret of a mesh.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// The bytes, base64.
    pub data: String,
}

/// A secret of the control plane.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GlobalSecret {
    /// The bytes, base64.
    pub data: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for GlobalSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GlobalSecret(…)")
    }
}

fn check_data(data: &str, root: &str, violations: &mut Violations) {
    let body = data.trim_end_matches('=');
    let alphabet = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    if data.is_empty() {
        violations.add(format!("{root}data"), "must be defined");
    } else if !data.len().is_multiple_of(4) || data.len() - body.len() > 2 || !body.chars().all(alphabet) {
        violations.add(format!("{root}data"), "must be base64");
    }
}

impl Spec for Secret {
    const KIND: Kind = Kind::Secret;

    fn validate(&self, root: &str, violations: &mut Violations) {
        check_data(&self.data, root, violations);
    }
}

impl Spec for GlobalSecret {
    const KIND: Kind = Kind::GlobalSecret;

    fn validate(&self, root: &str, violations: &mut Violations) {
        check_data(&self.data, root, violations);
    }
}
