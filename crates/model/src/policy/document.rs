//! The `spec` of a policy as written: its parts, with each conf left as JSON.

use crate::Violations;
use crate::reading::readable;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::spiffe_id;
use super::target_kind::TargetKind;
use super::target_ref::TargetRef;

/// `spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Document {
    /// The proxies; absent means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Outgoing traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<ToItem>>,
    /// Incoming traffic, old form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<FromItem>>,
    /// Incoming traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<RuleItem>>,
    /// The proxy as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// An item of `to`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ToItem {
    /// The destinations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// The conf; routes have `rules` instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Routing rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<Value>>,
    /// Hostnames of builtin gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostnames: Option<Vec<String>>,
}

/// An item of `from`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FromItem {
    /// The clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// The conf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// An item of `rules`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleItem {
    /// The clients, any of these; absent or empty means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<Vec<RuleMatch>>,
    /// The conf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// A selection of clients; all that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleMatch {
    /// The client's identity.
    #[serde(rename = "spiffeID", skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<SpiffeIdMatch>,
    /// The server name that the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<SniMatch>,
}

/// `spiffeID`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SpiffeIdMatch {
    /// How `value` is compared.
    #[serde(rename = "type")]
    pub how: SpiffeIdMatchType,
    /// An identity or the start of one.
    pub value: String,
}

impl SpiffeIdMatch {
    /// True of an identity that is meant, or of a prefix all of whose identities are. A prefix ends where a part of the path
    /// ends.
    pub fn matches(&self, id: &str) -> bool {
        match self.how {
            SpiffeIdMatchType::Exact => id == self.value,
            SpiffeIdMatchType::Prefix => {
                let rest = id.strip_prefix(self.value.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

/// How identities are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SpiffeIdMatchType {
    /// As a whole.
    Exact,
    /// From the start.
    Prefix,
}

/// `sni`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SniMatch {
    /// How `value` is compared.
    #[serde(rename = "type")]
    pub how: SniMatchType,
    /// A server name.
    pub value: String,
}

/// How server names are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SniMatchType {
    /// As a whole.
    Exact,
}

/// Longest identity or server name: a URI SAN that TLS libraries take.
const MAX_CLIENT_NAME: usize = 2048;

impl RuleMatch {
    /// Adds everything that is wrong.
    pub fn check(&self, path: &str, violations: &mut Violations) {
        if self.spiffe_id.is_none() && self.sni.is_none() {
            violations.add(path, "must have spiffeID or sni");
        }
        let mut bounded = |field: &str, value: &str| {
            if value.len() > MAX_CLIENT_NAME {
                violations.add(
                    format!("{path}.{field}.value"),
                    format!("has {} bytes, must have no more than {MAX_CLIENT_NAME}", value.len()),
                );
            }
        };
        if let Some(sni) = &self.sni {
            bounded("sni", &sni.value);
        }
        if let Some(spiffe_id) = &self.spiffe_id {
            bounded("spiffeID", &spiffe_id.value);
            if spiffe_id.value.len() <= MAX_CLIENT_NAME
                && let Err(reason) = spiffe_id::check(&spiffe_id.value)
            {
                violations.add(format!("{path}.spiffeID.value"), reason);
            }
        }
        if self.sni.as_ref().is_some_and(|sni| sni.value.is_empty()) {
            violations.add(format!("{path}.sni.value"), "must be defined");
        }
    }
}

impl Document {
    /// Reads a `spec`. Unknown fields outside of confs are left out, and their paths go to `unknown`.
    ///
    /// # Errors
    /// The path of the first field whose type does not fit.
    pub fn parse(spec: &Value, unknown: &mut Vec<String>) -> Result<Self, Violations> {
        if !spec.is_object() {
            return Err(Violations::one("spec", "must be an object"));
        }
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(spec, &mut track);
        let result = serde_ignored::deserialize(tracked, |path| unknown.push(path_of(&path)));
        result.map_err(|error| {
            let path = match track.path().to_string().as_str() {
                "." => "spec".to_owned(),
                path => format!("spec.{path}"),
            };
            Violations::one(path, readable(&error.to_string()))
        })
    }

    /// The top-level reference, with its default.
    pub fn top(&self) -> TargetRef {
        self.target_ref.clone().unwrap_or_else(TargetRef::mesh)
    }

    /// The kind of the top-level reference; that of all proxies if it is missing or unknown.
    pub fn top_kind(&self) -> TargetKind {
        let kind = self.target_ref.as_ref().map(|top| top.kind.as_str());
        kind.and_then(TargetKind::from_name).unwrap_or(TargetKind::Mesh)
    }

    /// Items of `to`.
    pub fn to(&self) -> &[ToItem] {
        self.to.as_deref().unwrap_or_default()
    }

    /// Items of `from`.
    pub fn from(&self) -> &[FromItem] {
        self.from.as_deref().unwrap_or_default()
    }

    /// Items of `rules`.
    pub fn rules(&self) -> &[RuleItem] {
        self.rules.as_deref().unwrap_or_default()
    }
}

/// The path of a field of a `spec` in the form that violations have.
fn path_of(path: &serde_ignored::Path<'_>) -> String {
    match relative_path(path).as_str() {
        "" => "spec".to_owned(),
        field => format!("spec.{field}"),
    }
}

/// The path of a field in the form that violations have, from where parsing began.
pub(crate) fn relative_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", relative_path(parent)),
        Path::Map { parent, key } => match relative_path(parent).as_str() {
            "" => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            relative_path(parent)
        }
    }
}
