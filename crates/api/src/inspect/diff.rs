//! The difference of two documents as a JSON patch (RFC 6902).
//!
//! Each removed value is tested before, and a changed one is removed and added, so that a patch can be read without the
//! document, and reversed (`spec/http-api.md` §3.7 shows these operations).

use serde_json::{Value, json};

use super::describe::escape;

/// What turns `before` into `after`; empty if they are equal.
pub(super) fn patch(before: &Value, after: &Value) -> Vec<Value> {
    let mut operations = Vec::new();
    compare(before, after, "", &mut operations);
    operations
}

fn compare(before: &Value, after: &Value, path: &str, operations: &mut Vec<Value>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                let path = format!("{path}/{}", escape(key));
                match new.get(key) {
                    Some(now) => compare(value, now, &path, operations),
                    None => remove(value, &path, operations),
                }
            }
            for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                operations.push(json!({"op": "add", "path": format!("{path}/{}", escape(key)), "value": value}));
            }
        }
        // Lists of one length are compared item by item. Others are replaced: which item became which is anyone's guess.
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(old, new, &format!("{path}/{index}"), operations);
            }
        }
        (before, after) => {
            remove(before, path, operations);
            operations.push(json!({"op": "add", "path": path, "value": after}));
        }
    }
}

fn remove(value: &Value, path: &str, operations: &mut Vec<Value>) {
    operations.push(json!({"op": "test", "path": path, "value": value}));
    operations.push(json!({"op": "remove", "path": path}));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn equal_documents_have_no_difference() {
        let document = json!({"a": [1, {"b": null}]});
        assert!(patch(&document, &document).is_empty());
    }

    #[test]
    fn operations_by_path() {
        let before = json!({"t/1": {"x~": {"timeout": "1s", "gone": true, "list": [{"a": 1}, 2]}}});
        let after = json!({"t/1": {"x~": {"timeout": "2s", "list": [{"a": 1}, 3], "new": {}}}});
        let expected = json!([
            {"op": "test", "path": "/t~11/x~0/timeout", "value": "1s"},
            {"op": "remove", "path": "/t~11/x~0/timeout"},
            {"op": "add", "path": "/t~11/x~0/timeout", "value": "2s"},
            {"op": "test", "path": "/t~11/x~0/gone", "value": true},
            {"op": "remove", "path": "/t~11/x~0/gone"},
            {"op": "test", "path": "/t~11/x~0/list/1", "value": 2},
            {"op": "remove", "path": "/t~11/x~0/list/1"},
            {"op": "add", "path": "/t~11/x~0/list/1", "value": 3},
            {"op": "add", "path": "/t~11/x~0/new", "value": {}},
        ]);
        assert_eq!(Value::from(patch(&before, &after)), expected);
    }

    /// Applies the operations that [`patch`] makes.
    fn apply(document: &mut Value, operations: &[Value]) {
        for operation in operations {
            let path = operation["path"].as_str().unwrap();
            let value = operation.get("value").cloned().unwrap_or_default();
            let (parent, key) = path.rsplit_once('/').unwrap_or(("", ""));
            let key = key.replace("~1", "/").replace("~0", "~");
            match operation["op"].as_str().unwrap() {
                "test" => assert_eq!(document.pointer(path), Some(&value), "{path}"),
                "remove" if path.is_empty() => *document = Value::Null,
                "add" if path.is_empty() => *document = value,
                op => match (document.pointer_mut(parent).unwrap(), op) {
                    (Value::Object(object), "remove") => drop(object.remove(&key).unwrap()),
                    (Value::Object(object), _) => drop(object.insert(key, value)),
                    (Value::Array(list), "remove") => drop(list.remove(key.parse().unwrap())),
                    (Value::Array(list), _) => list.insert(key.parse().unwrap(), value),
                    (other, _) => panic!("{path} is below {other}"),
                },
            }
        }
    }

    #[test]
    fn a_patch_leads_from_one_document_to_the_other() {
        let documents = [
            json!({}),
            json!({"a": {"b": [1, 2, 3], "c": "x"}, "d": null}),
            json!({"a": {"b": [1, 5, 3]}, "e": {"f": {"g": []}}}),
            json!({"a": {"b": [3], "c": {"y": 1}}}),
            json!({"a": [{"b": 1}, {"c": [[1], [2]]}]}),
            json!({"a": [{"b": 2}, {"c": [[1], []]}], "/~": 1}),
            json!([1]),
        ];
        for before in &documents {
            for after in &documents {
                let mut document = before.clone();
                apply(&mut document, &patch(before, after));
                assert_eq!(&document, after, "from {before}");
            }
        }
    }
}
