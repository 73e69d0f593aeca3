//! Bodies of OpenTelemetry records: a string, or an `AnyValue` of OTLP in its JSON form, with formats as strings.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{MAX_FIELDS, check_format};
use crate::violation::Violations;

/// How deep values may be nested.
const MAX_DEPTH: usize = 8;

/// The body of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// A format.
    Text(String),
    /// A structure of formats.
    Value(OtelValue),
}

/// A value of OTLP. Numbers, booleans and bytes are left out, since Envoy takes only what can hold a format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OtelValue {
    /// A format.
    StringValue(String),
    /// A list.
    ArrayValue {
        /// Its items.
        #[serde(default)]
        values: Vec<OtelValue>,
    },
    /// An object.
    KvlistValue {
        /// Its fields.
        #[serde(default)]
        values: Vec<OtelKeyValue>,
    },
}

/// A field of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtelKeyValue {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: OtelValue,
}

// Not derived, because the error of an untagged enum says nothing.
impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Body::Text(text)),
            value => OtelValue::deserialize(value)
                .map(Body::Value)
                .map_err(serde::de::Error::custom),
        }
    }
}

impl Body {
    pub(super) fn check(&self, path: &str, violations: &mut Violations) {
        match self {
            Body::Text(text) => check_format(text, path, violations),
            Body::Value(value) => value.check(path, MAX_DEPTH, violations),
        }
    }
}

impl OtelValue {
    fn check(&self, path: &str, depth: usize, violations: &mut Violations) {
        let Some(depth) = depth.checked_sub(1) else {
            violations.add(path, format!("is nested deeper than {MAX_DEPTH} levels"));
            return;
        };
        let too_many = |count: usize, violations: &mut Violations| {
            if count > MAX_FIELDS {
                violations.add(path, format!("has {count} items, must have no more than {MAX_FIELDS}"));
            }
        };
        match self {
            OtelValue::StringValue(text) => check_format(text, &format!("{path}.stringValue"), violations),
            OtelValue::ArrayValue { values } => {
                too_many(values.len(), violations);
                for (index, value) in values.iter().enumerate() {
                    value.check(&format!("{path}.arrayValue.values[{index}]"), depth, violations);
                }
            }
            OtelValue::KvlistValue { values } => {
                too_many(values.len(), violations);
                for (index, field) in values.iter().enumerate() {
                    let path = format!("{path}.kvlistValue.values[{index}]");
                    if field.key.is_empty() {
                        violations.add(format!("{path}.key"), "must be defined");
                    }
                    field.value.check(&format!("{path}.value"), depth, violations);
                }
            }
        }
    }
}
