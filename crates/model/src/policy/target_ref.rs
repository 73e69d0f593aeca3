//! `targetRef`: which proxies, destinations or clients a policy or an item is about (`spec/policies.md` §1.2).

use std::collections::BTreeMap;

use crate::{Violations, name};
use serde::{Deserialize, Serialize};

use super::target_kind::{TargetKind, one_of};

/// A reference, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRef {
    /// A [`TargetKind`] by name.
    pub kind: String,
    /// Name of the resource; a tag value for MeshService at the top level and in `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Kubernetes namespace of the resource; the policy's own by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels that all must match, instead of name and namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Name of a port or inbound, or its number as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// Tags that all must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// `Sidecar`, `Gateway`; none means both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_types: Option<Vec<String>>,
    /// Reserved, refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh: Option<String>,
}

/// Value of `proxyTypes`.
pub const SIDECAR: &str = "Sidecar";
/// Value of `proxyTypes`.
pub const GATEWAY: &str = "Gateway";

/// Where a reference stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `spec.targetRef`: proxies.
    Top,
    /// `spec.to[].targetRef`: destinations.
    To,
    /// `spec.from[].targetRef`: clients.
    From,
}

/// What is accepted at one place of one policy kind.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// Where.
    pub level: Level,
    /// Which kinds.
    pub kinds: &'static [TargetKind],
    /// Whether a MeshGateway may have `tags`.
    pub listener_tags: bool,
}

/// How a kind uses `name` and `labels`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// Neither.
    None,
    /// Name only, required.
    Name,
    /// One of both, required.
    NameOrLabels,
    /// One of both, or none for all.
    Optional,
}

/// Which fields a kind has.
struct Fields {
    naming: Naming,
    namespace: bool,
    section: bool,
    tags: bool,
    proxy_types: bool,
}

fn fields(kind: TargetKind, accepted: &Accepted) -> Fields {
    let none = Fields {
        naming: Naming::None,
        namespace: false,
        section: false,
        tags: false,
        proxy_types: false,
    };
    let resource = Fields {
        naming: Naming::NameOrLabels,
        namespace: true,
        ..none
    };
    match kind {
        TargetKind::Mesh => Fields {
            proxy_types: accepted.level == Level::Top,
            ..none
        },
        TargetKind::MeshSubset => Fields {
            tags: true,
            proxy_types: accepted.level == Level::Top,
            ..none
        },
        TargetKind::MeshGateway => Fields {
            naming: Naming::Name,
            tags: accepted.listener_tags,
            ..none
        },
        TargetKind::Dataplane => Fields {
            naming: Naming::Optional,
            namespace: true,
            section: true,
            ..none
        },
        // Of proxies and clients it means a tag value, which has neither labels nor ports.
        TargetKind::MeshService if accepted.level != Level::To => Fields {
            naming: Naming::Name,
            ..none
        },
        TargetKind::MeshService | TargetKind::MeshMultiZoneService => Fields {
            section: true,
            ..resource
        },
        TargetKind::MeshExternalService | TargetKind::MeshHTTPRoute => resource,
        TargetKind::MeshServiceSubset => Fields {
            naming: Naming::Name,
            tags: true,
            ..none
        },
    }
}

impl TargetRef {
    /// A reference to everything.
    pub fn mesh() -> Self {
        Self {
            kind: TargetKind::Mesh.name().to_owned(),
            ..Self::default()
        }
    }

    /// The name, or "".
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The namespace, or "".
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// The section, or "".
    pub fn section_name(&self) -> &str {
        self.section_name.as_deref().unwrap_or_default()
    }

    /// True if it says by labels what it means.
    pub fn has_labels(&self) -> bool {
        self.labels.as_ref().is_some_and(|labels| !labels.is_empty())
    }

    /// True if proxies of that type are meant.
    pub fn includes_proxy_type(&self, proxy_type: &str) -> bool {
        self.proxy_types
            .as_ref()
            .is_none_or(|types| types.is_empty() || types.iter().any(|listed| listed == proxy_type))
    }

    /// Adds every violation, with paths below `path`. Returns the kind if it is one that is accepted here.
    pub fn check(&self, accepted: &Accepted, path: &str, violations: &mut Violations) -> Option<TargetKind> {
        if self.kind.is_empty() {
            violations.add(
                format!("{path}.kind"),
                format!("must be defined: {}", one_of(accepted.kinds)),
            );
            return None;
        }
        let Some(kind) = TargetKind::from_name(&self.kind).filter(|kind| accepted.kinds.contains(kind)) else {
            violations.add(
                format!("{path}.kind"),
                format!(
                    "value is not supported: \"{}\", must be {}",
                    self.kind,
                    one_of(accepted.kinds)
                ),
            );
            return None;
        };
        let fields = fields(kind, accepted);
        if self.mesh.is_some() {
            violations.add(format!("{path}.mesh"), format!("must not be set with kind {kind}"));
        }
        let mut refuse = |field: &str, set: bool| {
            if set {
                violations.add(format!("{path}.{field}"), format!("must not be set with kind {kind}"));
            }
        };
        let has_tags = self.tags.as_ref().is_some_and(|tags| !tags.is_empty());
        let by_labels = matches!(fields.naming, Naming::NameOrLabels | Naming::Optional);
        refuse("name", fields.naming == Naming::None && !self.name().is_empty());
        refuse("labels", !by_labels && self.has_labels());
        refuse("namespace", !fields.namespace && !self.namespace().is_empty());
        refuse("sectionName", !fields.section && !self.section_name().is_empty());
        refuse("tags", !fields.tags && has_tags);
        refuse("proxyTypes", !fields.proxy_types && self.proxy_types.is_some());
        self.check_naming(kind, fields.naming, path, violations);
        if fields.tags {
            check_tags(self.tags.iter().flatten(), &format!("{path}.tags"), violations);
        }
        if by_labels {
            self.check_labels(path, violations);
        }
        if fields.section && !self.section_name().is_empty() {
            check_section(self.section_name(), &format!("{path}.sectionName"), violations);
        }
        if fields.proxy_types {
            self.check_proxy_types(path, violations);
        }
        Some(kind)
    }

    fn check_naming(&self, kind: TargetKind, naming: Naming, path: &str, violations: &mut Violations) {
        if naming == Naming::None {
            return;
        }
        let name_path = format!("{path}.name");
        if self.has_labels() && naming != Naming::Name {
            if !self.name().is_empty() || !self.namespace().is_empty() {
                violations.add(
                    format!("{path}.labels"),
                    "either labels or name and namespace must be specified",
                );
            }
            return;
        }
        match (self.name(), naming) {
            ("", Naming::Optional) if self.namespace().is_empty() => {}
            ("", Naming::Name) => violations.add(name_path, format!("must be set with kind {kind}")),
            ("", _) => violations.add(name_path, format!("must be set with kind {kind}, or labels instead")),
            (name, _) => check_name(name, &name_path, violations),
        }
        if !self.namespace().is_empty() {
            check_name(self.namespace(), &format!("{path}.namespace"), violations);
        }
    }

    fn check_labels(&self, path: &str, violations: &mut Violations) {
        for (key, value) in self.labels.iter().flatten() {
            let path = format!("{path}.labels[\"{key}\"]");
            if let Err(reason) = name::check_label_key(key) {
                violations.add(&path, reason);
            }
            if let Err(reason) = name::check_label_value(value) {
                violations.add(&path, reason);
            }
        }
    }

    fn check_proxy_types(&self, path: &str, violations: &mut Violations) {
        for (index, listed) in self.proxy_types.iter().flatten().enumerate() {
            if listed != SIDECAR && listed != GATEWAY {
                violations.add(
                    format!("{path}.proxyTypes[{index}]"),
                    format!("value is not supported: \"{listed}\", must be {SIDECAR} or {GATEWAY}"),
                );
            }
        }
    }
}

/// Checks the name of a referenced resource; looser than names of new resources, since a tag value may have any case
/// of separators.
pub(crate) fn check_name(name: &str, path: &str, violations: &mut Violations) {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_');
    if !name.chars().all(allowed) {
        violations.add(
            path,
            "invalid characters: must consist of lower case alphanumeric characters, '-', '.' and '_'.",
        );
    }
    if name.len() > name::MAX_NAME {
        violations.add(
            path,
            format!("has {} characters, must be no more than {}", name.len(), name::MAX_NAME),
        );
    }
}

/// Checks tags.
pub(crate) fn check_tags<'a>(
    tags: impl Iterator<Item = (&'a String, &'a String)>,
    path: &str,
    violations: &mut Violations,
) {
    let in_value = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    for (key, value) in tags {
        let path_of_key = format!("{path}[\"{key}\"]");
        if key.is_empty() {
            violations.add(path, "tag name must be non-empty");
        } else if !key.chars().all(|c| in_value(c) || c == '/') {
            violations.add(
                &path_of_key,
                "tag name must consist of alphanumeric characters, dots, dashes, slashes, colons and underscores",
            );
        }
        if value.is_empty() {
            violations.add(&path_of_key, "tag value must be non-empty");
        } else if !value.chars().all(in_value) {
            violations.add(
                &path_of_key,
                "tag value must consist of alphanumeric characters, dots, dashes, colons and underscores",
            );
        }
    }
}

fn check_section(section: &str, path: &str, violations: &mut Violations) {
    if let Err(reason) = name::check_label_value(section) {
        let reason = reason.trim_start_matches("label value ");
        violations.add(path, format!("name or number of a port: {reason}"));
    }
}
