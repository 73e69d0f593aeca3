//! What libraries say about a value that does not fit, in the words of whoever wrote it.

use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

/// What is wrong with YAML, without advice for programmers.
pub(crate) fn yaml_error(error: &serde_saphyr::Error) -> String {
    error.render_with_formatter(&serde_saphyr::UserMessageFormatter)
}

/// JSON of which no object has a key twice.
pub(crate) struct UniqueKeys(pub(crate) Value);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(UniqueKeys(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "key \"{key}\" stands there more than once"
                )));
            }
            let UniqueKeys(value) = members.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// Rewrites an error of deserialization: what is there, what must be, and how to write it.
pub(crate) fn readable(error: &str) -> String {
    if let Some(rest) = error
        .strip_prefix("invalid type: ")
        .or_else(|| error.strip_prefix("invalid value: "))
        && let Some((found, expected)) = rest.split_once(", expected ")
    {
        let (shown, kind) = found_value(found);
        let (wanted, wants) = expected_value(expected);
        let hint = match (kind, wants) {
            (Found::Scalar, Wanted::Text) => "; quote it",
            (Found::Text, Wanted::Other) => "; write it without quotes",
            _ => "",
        };
        return format!("is {shown}, must be {wanted}{hint}");
    }
    if let Some(rest) = error.strip_prefix("unknown variant ")
        && let Some((found, expected)) = rest.split_once(", expected ")
    {
        return format!("is {}, must be {}", quoted(found), expected.replace('`', ""));
    }
    if let Some(field) = error.strip_prefix("missing field ") {
        return format!("must have a field {}", quoted(field));
    }
    error.to_owned()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Text,
    Scalar,
    Structure,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Text,
    Other,
    Structure,
}

/// Serde shows values as `integer `5``, `string "x"` or `sequence`.
fn found_value(found: &str) -> (String, Found) {
    if let Some(text) = found.strip_prefix("string ") {
        return (text.to_owned(), Found::Text);
    }
    match found {
        "null" | "unit value" => return ("null".to_owned(), Found::Structure),
        "map" => return ("an object".to_owned(), Found::Structure),
        "sequence" => return ("a list".to_owned(), Found::Structure),
        _ => {}
    }
    match found.split_once('`') {
        Some((_, value)) => (value.trim_end_matches('`').to_owned(), Found::Scalar),
        None => (found.to_owned(), Found::Structure),
    }
}

fn expected_value(expected: &str) -> (String, Wanted) {
    let range = |least: &str, most: &str| (format!("a whole number from {least} to {most}"), Wanted::Other);
    match expected {
        "a string" => ("a string".to_owned(), Wanted::Text),
        "a boolean" => ("true or false".to_owned(), Wanted::Other),
        "u8" => range("0", "255"),
        "u16" => range("0", "65535"),
        "u32" => range("0", "4294967295"),
        "u64" => range("0", "18446744073709551615"),
        "i32" => range("-2147483648", "2147483647"),
        "f32" | "f64" => ("a number".to_owned(), Wanted::Other),
        "a sequence" => ("a list".to_owned(), Wanted::Structure),
        "a map" | "unit" => ("an object".to_owned(), Wanted::Structure),
        "string or map" => ("one of the values that it has".to_owned(), Wanted::Text),
        other if other.starts_with("struct ") => ("an object".to_owned(), Wanted::Structure),
        other if other.starts_with("variant identifier") => ("one of the values that it has".to_owned(), Wanted::Text),
        other => (other.to_owned(), Wanted::Structure),
    }
}

fn quoted(found: &str) -> String {
    format!("\"{}\"", found.trim_matches('`'))
}

/// A payload without members that are null: nothing is said by them, as in the reference. `None` if there is none.
pub(crate) fn without_nulls(value: &Value) -> Option<Value> {
    has_null(value).then(|| {
        let mut value = value.clone();
        drop_nulls(&mut value);
        value
    })
}

/// In a JSON patch null is a value like any other (RFC 6902).
fn is_patch_value(object: &Map<String, Value>, key: &str) -> bool {
    key == "value" && object.contains_key("op")
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Object(object) => object
            .iter()
            .any(|(key, member)| !is_patch_value(object, key) && (member.is_null() || has_null(member))),
        Value::Array(items) => items.iter().any(has_null),
        _ => false,
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let is_patch = is_patch_value(object, "value");
            let is_kept = |key: &str| is_patch && key == "value";
            object.retain(|key, member| is_kept(key) || !member.is_null());
            for (_, member) in object.iter_mut().filter(|(key, _)| !is_kept(key)) {
                drop_nulls(member);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    enum Colour {
        Red,
        Blue,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Named {
        name: String,
    }

    fn error<T: DeserializeOwned + std::fmt::Debug>(value: Value) -> String {
        readable(&serde_json::from_value::<T>(value).unwrap_err().to_string())
    }

    #[test]
    fn errors_are_said_in_words_of_documents() {
        for (found, expected) in [
            (
                error::<String>(json!(3_788_745.0)),
                "is 3788745.0, must be a string; quote it",
            ),
            (error::<String>(json!(true)), "is true, must be a string; quote it"),
            (error::<String>(json!([])), "is a list, must be a string"),
            (
                error::<u16>(json!("8080")),
                "is \"8080\", must be a whole number from 0 to 65535; write it without quotes",
            ),
            (error::<u16>(json!(-1)), "is -1, must be a whole number from 0 to 65535"),
            (
                error::<u16>(json!(1.5)),
                "is 1.5, must be a whole number from 0 to 65535",
            ),
            (
                error::<bool>(json!("true")),
                "is \"true\", must be true or false; write it without quotes",
            ),
            (error::<Vec<u8>>(json!({})), "is an object, must be a list"),
            (
                error::<BTreeMap<String, String>>(json!([])),
                "is a list, must be an object",
            ),
            (error::<Colour>(json!("Green")), "is \"Green\", must be Red or Blue"),
            (
                error::<Colour>(json!(5)),
                "is 5, must be one of the values that it has; quote it",
            ),
            (error::<Named>(json!({})), "must have a field \"name\""),
            (error::<Named>(json!("x")), "is \"x\", must be an object"),
            (error::<Named>(json!(null)), "is null, must be an object"),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn null_says_nothing() {
        let written = json!({"a": null, "b": {"c": null}, "d": [{"e": null, "f": 1}, null]});
        assert_eq!(
            without_nulls(&written).unwrap(),
            json!({"b": {}, "d": [{"f": 1}, null]})
        );
        assert_eq!(without_nulls(&json!({"a": [1]})), None);
        let patch = json!({"op": "replace", "path": "/a", "value": null});
        assert_eq!(without_nulls(&json!([patch])), None);
        assert_eq!(without_nulls(&json!([patch, {"b": null}])), Some(json!([patch, {}])));
    }
}
