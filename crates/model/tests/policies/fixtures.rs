//! What checking a `spec` says.

use meshspan_model::Kind;
use serde_json::Value;

/// All violations, as `path: message`; none if the `spec` is valid.
pub fn violations(kind: Kind, spec: Value) -> Vec<String> {
    let Err(found) = kind.check(&spec) else {
        return Vec::new();
    };
    let lines = found.iter();
    lines
        .map(|found| format!("{}: {}", found.field, found.message))
        .collect()
}

/// What the user is told about a valid `spec`.
pub fn warnings(kind: Kind, spec: Value) -> Vec<String> {
    kind.check(&spec).unwrap_or_else(|found| panic!("{found}")).warnings
}

/// A valid `spec` is stored letter by letter as it was written.
pub fn assert_kept(kind: Kind, spec: &str) {
    let written: Value = serde_json::from_str(spec).unwrap();
    let checked = kind.check(&written).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(checked.spec.to_string(), written.to_string());
}
