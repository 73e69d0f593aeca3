//! How large a Dataplane may be. A token by name is enough to register one, and what it holds becomes services,
//! clusters and listeners of everybody else, so that one proxy must not be able to bring any amount of it.

use std::collections::BTreeMap;

use super::{Dataplane, Spec};
use crate::violation::Violations;

/// Most inbounds of one Dataplane; each may become a MeshService of the mesh.
pub const MAX_INBOUNDS: usize = 100;
/// Most explicit outbounds, and most references in `reachableBackends`; they cost their own proxy only.
pub const MAX_OUTBOUNDS: usize = 1000;
/// Most tags of one inbound or gateway.
pub const MAX_TAGS: usize = 64;
/// Longest tag name and longest tag value, in bytes.
pub const MAX_TAG_BYTES: usize = 253;
/// Largest payload of a Dataplane as JSON, in bytes.
pub const MAX_DATAPLANE_BYTES: usize = 256 << 10;

pub(super) fn check(dataplane: &Dataplane, root: &str, violations: &mut Violations) {
    let networking = &dataplane.networking;
    let references = networking
        .transparent_proxying
        .iter()
        .filter_map(|transparent| transparent.reachable_backends.as_ref())
        .map(|backends| backends.refs.len())
        .sum();
    let lists = [
        (
            networking.inbound.len(),
            MAX_INBOUNDS,
            "inbound",
            "start another proxy for the others",
        ),
        (
            networking.outbound.len(),
            MAX_OUTBOUNDS,
            "outbound",
            "use transparentProxying, which reaches all of them",
        ),
        (
            references,
            MAX_OUTBOUNDS,
            "transparentProxying.reachableBackends.refs",
            "select several with labels, or leave reachableBackends out",
        ),
    ];
    let mut fits = true;
    for (found, limit, field, remedy) in lists {
        if found > limit {
            fits = false;
            violations.add(
                format!("{root}.{field}"),
                format!("has {found} entries, at most {limit} are allowed: {remedy}"),
            );
        }
    }
    // What is far too long already is not measured as well.
    if fits {
        let bytes = dataplane.to_value().to_string().len();
        if bytes > MAX_DATAPLANE_BYTES {
            violations.add(
                root,
                format!("takes {bytes} bytes, at most {MAX_DATAPLANE_BYTES} are allowed: shorten its lists and tags"),
            );
        }
    }
}

pub(super) fn check_tags(tags: &BTreeMap<String, String>, path: &str, violations: &mut Violations) {
    if tags.len() > MAX_TAGS {
        violations.add(
            path,
            format!("has {} tags, at most {MAX_TAGS} are allowed: remove some", tags.len()),
        );
    }
    for (key, value) in tags
        .iter()
        .filter(|(key, value)| key.len().max(value.len()) > MAX_TAG_BYTES)
    {
        let start: String = key.chars().take(32).collect();
        violations.add(
            format!("{path}[\"{start}\"]"),
            format!(
                "the name has {} bytes and the value {}, at most {MAX_TAG_BYTES} are allowed: shorten them",
                key.len(),
                value.len()
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::{Value, json};

    use super::*;

    fn refused(networking: &Value) -> Vec<String> {
        let dataplane: Dataplane = serde_json::from_value(json!({ "networking": networking })).unwrap();
        let mut violations = Violations::new();
        dataplane.validate("", &mut violations);
        violations
            .iter()
            .map(|one| format!("{}: {}", one.field, one.message))
            .collect()
    }

    fn inbounds(count: usize, value: &str) -> Value {
        let inbound =
            |index: usize| json!({"port": 1000 + index, "tags": {"kuma.io/service": format!("s{index}"), "a": value}});
        json!({"address": "10.0.0.1", "inbound": (0..count).map(inbound).collect::<Vec<_>>()})
    }

    #[test]
    fn the_largest_is_taken_and_one_more_is_refused_with_field_value_and_limit() {
        assert_eq!(refused(&inbounds(MAX_INBOUNDS, "x")), [""; 0]);
        let [said] = &refused(&inbounds(MAX_INBOUNDS + 1, "x"))[..] else {
            unreachable!("one violation");
        };
        assert!(
            said.contains("networking.inbound") && said.contains("has 101 entries, at most 100"),
            "{said}"
        );
        let mut outbounds = inbounds(1, "x");
        let outbound =
            |port: usize| json!({"port": port + 1, "backendRef": {"kind": "MeshService", "name": "s", "port": 1}});
        outbounds["outbound"] = (0..=MAX_OUTBOUNDS).map(outbound).collect();
        assert!(refused(&outbounds).concat().contains("has 1001 entries"));
    }

    #[test]
    fn tags_and_the_whole_are_bounded_too() {
        assert!(
            refused(&inbounds(1, &"x".repeat(MAX_TAG_BYTES + 1)))
                .concat()
                .contains("at most 253")
        );
        let mut many = inbounds(1, "x");
        many["inbound"][0]["tags"] = (0..=MAX_TAGS)
            .map(|n| (format!("t{n}"), json!("x")))
            .chain([("kuma.io/service".to_owned(), json!("s"))])
            .collect();
        assert!(refused(&many).concat().contains("has 66 tags, at most 64"));
        let tags: serde_json::Map<_, _> = (0..60)
            .map(|n| (format!("t{n}"), json!("x".repeat(200))))
            .chain([("kuma.io/service".to_owned(), json!("s"))])
            .collect();
        let mut wide = inbounds(MAX_INBOUNDS, "x");
        for inbound in wide["inbound"].as_array_mut().unwrap() {
            inbound["tags"] = Value::Object(tags.clone());
        }
        assert!(refused(&wide).concat().contains("bytes, at most 262144"));
    }
}
