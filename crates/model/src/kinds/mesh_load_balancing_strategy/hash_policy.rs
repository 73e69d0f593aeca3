//! What of a request or connection consistent hashing looks at.

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::policy::values::check_header_name;
use crate::violation::Violations;

/// One source of the hash; the block of its type must be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HashPolicy {
    /// The source; must be set.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<HashPolicyType>,
    /// True ends the list here once there is a hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal: Option<bool>,
    /// For [`HashPolicyType::Header`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<Header>,
    /// For [`HashPolicyType::Cookie`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Cookie>,
    /// For [`HashPolicyType::Connection`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// For [`HashPolicyType::QueryParameter`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_parameter: Option<QueryParameter>,
    /// For [`HashPolicyType::FilterState`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_state: Option<FilterState>,
}

/// Sources of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HashPolicyType {
    /// A request header.
    Header,
    /// A cookie.
    Cookie,
    /// The client's connection.
    Connection,
    /// A parameter of the URL.
    QueryParameter,
    /// An object that Envoy keeps with the request or connection.
    FilterState,
}

/// A request header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Its name, in any case; `:authority` and the like too.
    pub name: String,
}

/// A cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// If set, Envoy makes a cookie for clients without one; 0 makes it last as long as the client's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<GoDuration>,
    /// Path of the cookie that is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// The client's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// True hashes the client's IP address.
    #[serde(rename = "sourceIP", skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<bool>,
}

/// A parameter of the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueryParameter {
    /// Its name; case matters.
    pub name: String,
}

/// An object in Envoy's filter state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilterState {
    /// Its key.
    pub key: String,
}

/// Adds everything that is wrong with a list.
pub(super) fn check_list(policies: Option<&[HashPolicy]>, path: &str, violations: &mut Violations) {
    for (index, policy) in policies.into_iter().flatten().enumerate() {
        policy.check(&format!("{path}[{index}]"), violations);
    }
}

impl HashPolicy {
    fn check(&self, path: &str, violations: &mut Violations) {
        let (block, is_set) = match self.kind {
            None => {
                violations.add(
                    format!("{path}.type"),
                    "must be defined: Header, Cookie, Connection, QueryParameter or FilterState",
                );
                return;
            }
            Some(HashPolicyType::Header) => ("header", self.header.is_some()),
            Some(HashPolicyType::Cookie) => ("cookie", self.cookie.is_some()),
            Some(HashPolicyType::Connection) => ("connection", self.connection.is_some()),
            Some(HashPolicyType::QueryParameter) => ("queryParameter", self.query_parameter.is_some()),
            Some(HashPolicyType::FilterState) => ("filterState", self.filter_state.is_some()),
        };
        if !is_set {
            violations.add(format!("{path}.{block}"), "must be defined for that type");
        }
        if let Some(header) = &self.header {
            // HTTP ignores the case of header names, and existing policies have any.
            let name = header.name.to_ascii_lowercase();
            let name = name.strip_prefix(':').unwrap_or(&name);
            check_header_name(name, &format!("{path}.header.name"), violations);
        }
        if let Some(cookie) = &self.cookie {
            cookie.check(&format!("{path}.cookie"), violations);
        }
        if let Some(parameter) = &self.query_parameter {
            check_key(&parameter.name, format!("{path}.queryParameter.name"), violations);
        }
        if let Some(state) = &self.filter_state {
            check_key(&state.key, format!("{path}.filterState.key"), violations);
        }
    }
}

impl Cookie {
    fn check(&self, path: &str, violations: &mut Violations) {
        let separator = |c: char| c.is_ascii_control() || "()<>@,;:\\\"/[]?={} ".contains(c);
        if self.name.is_empty() || !self.name.is_ascii() || self.name.contains(separator) {
            violations.add(
                format!("{path}.name"),
                format!("is \"{}\", must be the name of a cookie", self.name.escape_debug()),
            );
        }
        if let Some(cookie_path) = &self.path {
            let wrong = |c: char| c.is_control() || c == ';';
            if !cookie_path.starts_with('/') || cookie_path.contains(wrong) {
                violations.add(
                    format!("{path}.path"),
                    format!(
                        "is \"{}\", must be an absolute path such as /cart",
                        cookie_path.escape_debug()
                    ),
                );
            }
        }
    }
}

fn check_key(key: &str, path: String, violations: &mut Violations) {
    if key.is_empty() {
        violations.add(path, "must not be empty");
    }
}
