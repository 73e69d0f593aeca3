//! Changes of single fields, as in RFC 6902 without `test`.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::policy::values::required;
use crate::violation::Violations;

/// One change of a field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JsonPatch {
    /// What happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op: Option<JsonPatchOp>,
    /// The field, as a JSON pointer (RFC 6901) from the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What it becomes; may be null.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The field that is moved or copied, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What happens to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JsonPatchOp {
    /// It is set, or added to a list.
    Add,
    /// It goes.
    Remove,
    /// It is set, and has to be there.
    Replace,
    /// It gets the value of another, which goes.
    Move,
    /// It gets the value of another.
    Copy,
}

/// A value that is written, even if it is null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl JsonPatch {
    pub(super) fn check(&self, path: &str, violations: &mut Violations) {
        check_pointer(self.path.as_deref(), format!("{path}.path"), violations);
        match self.op {
            None => violations.add(
                format!("{path}.op"),
                "must be defined: add, remove, replace, move or copy",
            ),
            Some(JsonPatchOp::Add | JsonPatchOp::Replace) => {
                required(self.value.is_some(), format!("{path}.value"), violations);
            }
            Some(JsonPatchOp::Move | JsonPatchOp::Copy) => {
                check_pointer(self.from.as_deref(), format!("{path}.from"), violations);
            }
            Some(JsonPatchOp::Remove) => {}
        }
    }
}

fn check_pointer(pointer: Option<&str>, path: String, violations: &mut Violations) {
    match pointer {
        None => violations.add(path, "must be defined"),
        Some(text) if !text.starts_with('/') => violations.add(
            path,
            format!("is \"{text}\", must be a JSON pointer such as /connect_timeout"),
        ),
        Some(_) => {}
    }
}
