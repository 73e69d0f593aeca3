//! `Node` of the first request of a type: who asks, and what it can do (`spec/zone-sync.md` §1.4).

use std::collections::{BTreeSet, HashMap};

use envoy_types::pb::google::protobuf::value::Kind as ValueKind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value};
use meshspan_model::kinds::zone_insight::{CpVersion, KdsVersion};

use crate::feature::Feature;
use crate::proto::discovery::Node;
use crate::text::bounded;

/// What a control plane says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its instance id, `<hostname>-<4 characters>`.
    pub instance_id: String,
    /// Its versions.
    pub version: CpVersion,
    /// Its configuration as JSON, secrets masked; empty on the global.
    pub config: String,
}

/// Longest configuration that is kept of a peer, in bytes.
const MAX_CONFIG: usize = 256 * 1024;

/// Longest other text that is kept of a peer, in bytes.
const MAX_TEXT: usize = 300;

/// The node of a first request; its id is the zone's name on both sync streams.
pub(crate) fn describe(zone: &str, about: &About) -> Node {
    let version = fields([
        ("version", text(&about.version.version)),
        ("gitTag", text(&about.version.git_tag)),
        ("gitCommit", text(&about.version.git_commit)),
        ("buildDate", text(&about.version.build_date)),
    ]);
    let features = Feature::OF_NODE.iter().map(|feature| text(feature.name())).collect();
    let metadata = fields([
        ("version", structure(fields([("kumaCp", structure(version))]))),
        ("config", text(&about.config)),
        ("control-plane-id", text(&about.instance_id)),
        ("features", value(ValueKind::ListValue(ListValue { values: features }))),
    ]);
    Node {
        id: zone.to_owned(),
        metadata: Some(metadata),
        ..Node::default()
    }
}

/// The node of acknowledgements: only its id.
pub(crate) fn plain(zone: &str) -> Node {
    Node {
        id: zone.to_owned(),
        ..Node::default()
    }
}

/// The known features of a node.
pub(crate) fn features(node: &Node) -> BTreeSet<Feature> {
    let list = match metadata(node, "features") {
        Some(ValueKind::ListValue(list)) => list.values.as_slice(),
        _ => &[],
    };
    Feature::parse_all(list.iter().filter_map(as_text))
}

/// What a peer says about itself; `None` without metadata.
pub(crate) fn about(node: &Node) -> Option<About> {
    node.metadata.as_ref()?;
    let get = |key: &str| match metadata(node, key) {
        Some(ValueKind::StringValue(text)) => text.clone(),
        _ => String::new(),
    };
    let cp = match metadata(node, "version") {
        Some(ValueKind::StructValue(version)) => version.fields.get("kumaCp").and_then(|cp| match &cp.kind {
            Some(ValueKind::StructValue(cp)) => Some(cp),
            _ => None,
        }),
        _ => None,
    };
    let part = |key: &str| {
        cp.and_then(|cp| cp.fields.get(key))
            .and_then(as_text)
            .map(|text| bounded(text, MAX_TEXT))
            .unwrap_or_default()
    };
    let version = CpVersion {
        version: part("version"),
        git_tag: part("gitTag"),
        git_commit: part("gitCommit"),
        build_date: part("buildDate"),
        kuma_cp_global_compatible: false,
    };
    let mut config = get("config");
    if config.len() > MAX_CONFIG {
        config = String::new();
    }
    Some(About {
        instance_id: bounded(&get("control-plane-id"), MAX_TEXT),
        version,
        config,
    })
}

/// The version entry of an insight; compatible means same major and at most two minors apart.
pub(crate) fn insight_version(peer: &About, ours: &str) -> KdsVersion {
    let parse = |version: &str| -> Option<(u64, u64)> {
        let mut parts = version.trim_start_matches('v').split(['.', '-', '+']);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let compatible = match (parse(&peer.version.version), parse(ours)) {
        (Some((major, minor)), Some((our_major, our_minor))) => major == our_major && minor.abs_diff(our_minor) <= 2,
        _ => false,
    };
    KdsVersion {
        kuma_cp: CpVersion {
            kuma_cp_global_compatible: compatible,
            ..peer.version.clone()
        },
    }
}

fn metadata<'a>(node: &'a Node, key: &str) -> Option<&'a ValueKind> {
    node.metadata.as_ref()?.fields.get(key)?.kind.as_ref()
}

fn as_text(value: &Value) -> Option<&str> {
    match &value.kind {
        Some(ValueKind::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn value(kind: ValueKind) -> Value {
    Value { kind: Some(kind) }
}

fn text(text: &str) -> Value {
    value(ValueKind::StringValue(text.to_owned()))
}

fn structure(content: Struct) -> Value {
    value(ValueKind::StructValue(content))
}

fn fields<const N: usize>(entries: [(&str, Value); N]) -> Struct {
    Struct {
        fields: entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect::<HashMap<_, _>>(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let version = CpVersion {
            version: "2.9.13".into(),
            git_tag: "v2.9.13".into(),
            ..CpVersion::default()
        };
        let said = About {
            instance_id: "host-1a2b".into(),
            version,
            config: "{}".into(),
        };
        let node = describe("west", &said);
        assert_eq!(node.id, "west");
        assert_eq!(about(&node).unwrap(), said);
        assert_eq!(features(&node), Feature::OF_NODE.iter().copied().collect());
        assert!(about(&plain("west")).is_none() && features(&plain("west")).is_empty());
        for (ours, compatible) in [
            ("2.9.0", true),
            ("2.11.1", true),
            ("2.12.0", false),
            ("3.9.0", false),
            ("dev", false),
        ] {
            assert_eq!(
                insight_version(&said, ours).kuma_cp.kuma_cp_global_compatible,
                compatible,
                "{ours}"
            );
        }
    }
}
