//! How resources, policies and effective confs are written in answers.

use meshspan_model::Resource;
use meshspan_policy::{Effective, ItemOrigin, PolicySet};
use serde_json::{Map, Value, json};

/// The header of a resource.
pub(super) fn meta(resource: &Resource) -> Value {
    json!({
        "type": resource.kind.name(),
        "mesh": resource.mesh,
        "name": resource.name,
        "labels": resource.labels,
    })
}

/// The header of a policy that contributed; null if it is gone, which cannot be within one answer.
pub(super) fn policy_meta(origin: &ItemOrigin, policies: &PolicySet) -> Value {
    policies
        .get(&origin.policy)
        .map_or(Value::Null, |policy| meta(&policy.resource))
}

/// An item of a policy: the policy by KRI, and the place in its document.
pub(super) fn item(origin: &ItemOrigin, policies: &PolicySet) -> Value {
    let kri = policies.get(&origin.policy).map(|policy| policy.kri());
    json!({"kri": kri, "name": origin.policy.name, "item": origin.place()})
}

/// All items that contributed to a conf; later ones override earlier ones.
pub(super) fn items(effective: &Effective, policies: &PolicySet) -> Vec<Value> {
    effective.origins().map(|origin| item(origin, policies)).collect()
}

/// For each field of a conf that has a value, by JSON pointer, the item that decided it.
pub(super) fn decided_by(effective: &Effective, policies: &PolicySet) -> Map<String, Value> {
    let mut decided = Map::new();
    for pointer in fields(&effective.conf) {
        if let Some(origin) = effective.decided_by(&pointer) {
            decided.insert(pointer, item(origin, policies));
        }
    }
    decided
}

/// JSON pointers of everything in an object that is no object.
fn fields(conf: &Value) -> Vec<String> {
    fn add(value: &Value, pointer: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    add(value, &format!("{pointer}/{}", escape(key)), found);
                }
            }
            _ => found.push(pointer.to_owned()),
        }
    }
    let mut found = Vec::new();
    add(conf, "", &mut found);
    found
}

/// A key as part of a JSON pointer (RFC 6901).
pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
