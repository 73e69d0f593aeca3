//! Descriptions of the kinds, as clients ask for them.

use meshspan_model::Kind;
use meshspan_model::policy::{PolicyInfo, PolicyKind};
use serde_json::{Map, Value, json};

use crate::resources::permission;
use crate::settings::Settings;

/// `/_resources`, sorted by name.
pub(super) fn resources(settings: &Settings) -> Value {
    let resources: Vec<Value> = kinds().map(|kind| describe(kind, settings)).collect();
    json!({ "resources": resources })
}

fn describe(kind: Kind, settings: &Settings) -> Value {
    let info = kind.info();
    let mut object = Map::new();
    object.insert("name".into(), info.name.into());
    object.insert("path".into(), info.path.into());
    object.insert(
        "scope".into(),
        if kind.is_mesh_scoped() { "Mesh" } else { "Global" }.into(),
    );
    object.insert(
        "readOnly".into(),
        permission::why_read_only(kind, settings).is_some().into(),
    );
    object.insert("singularDisplayName".into(), words(info.name).into());
    object.insert("pluralDisplayName".into(), plural(&words(info.name)).into());
    object.insert("includeInFederation".into(), info.sync.global_to_zones.into());
    object.insert("shortName".into(), info.short_name.into());
    if let Some(policy) = policy(kind) {
        let has_from = !policy.from.is_empty();
        let policy = json!({
            "isTargetRef": true,
            "hasToTargetRef": !policy.to.is_empty(),
            "hasFromTargetRef": has_from,
            "hasRulesTargetRef": policy.rules,
            "isFromAsRules": has_from && policy.rules,
        });
        object.insert("policy".into(), policy);
    }
    Value::Object(object)
}

/// The row of the matrix if the kind is a policy.
fn policy(kind: Kind) -> Option<&'static PolicyInfo> {
    PolicyKind::of(kind).map(PolicyKind::info)
}

/// `/policies`, sorted by name.
pub(super) fn policies(settings: &Settings) -> Value {
    let policies: Vec<Value> = kinds()
        .filter_map(|kind| Some((kind, policy(kind)?)))
        .map(|(kind, policy)| {
            let info = kind.info();
            json!({
                "name": info.name,
                "readOnly": permission::why_read_only(kind, settings).is_some(),
                "path": info.path,
                "singularDisplayName": words(info.name),
                "pluralDisplayName": plural(&words(info.name)),
                "isExperimental": false,
                "isTargetRefBased": true,
                "isInbound": policy.rules || !policy.from.is_empty(),
                "isOutbound": !policy.to.is_empty(),
            })
        })
        .collect();
    json!({ "policies": policies })
}

fn kinds() -> impl Iterator<Item = Kind> {
    let mut kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| kind.info().in_api).collect();
    kinds.sort_by_key(|kind| kind.name());
    kinds.into_iter()
}

/// `MeshTrafficPermission` as `Mesh Traffic Permission`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c);
    }
    words
}

fn plural(words: &str) -> String {
    let hisses = ["s", "sh", "ch", "x"].iter().any(|end| words.ends_with(end));
    format!("{words}{}", if hisses { "es" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names() {
        assert_eq!(words("MeshMultiZoneService"), "Mesh Multi Zone Service");
        assert_eq!(plural("Mesh"), "Meshes");
        assert_eq!(plural("Zone Ingress"), "Zone Ingresses");
        assert_eq!(plural("Dataplane"), "Dataplanes");
    }
}
