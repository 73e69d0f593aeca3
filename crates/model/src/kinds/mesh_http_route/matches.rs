//! Which requests a rule is about.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::policy::values::{HeaderMatch, MAX_HEADERS, check_count, check_regex, check_unique};
use crate::violation::Violations;

/// Most characters of a path.
pub const MAX_PATH: usize = 1024;
/// Most characters of the name of a query parameter; Envoy's limit.
const MAX_QUERY_PARAM: usize = 1024;

/// A condition on requests; everything that is set must hold, and nothing set means all requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Match {
    /// On the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// On the method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// On headers, of which all must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<HeaderMatch>>,
    /// On query parameters, of which all must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_params: Option<Vec<QueryParamMatch>>,
}

/// A condition on the path, without its query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathMatch {
    /// How it is compared.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub how: Option<PathMatchType>,
    /// What it is compared with.
    pub value: String,
}

/// How paths are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathMatchType {
    /// The whole path.
    Exact,
    /// The first segments: `/a` fits `/a` and `/a/b`, not `/ab`.
    PathPrefix,
    /// An RE2 expression for the whole path.
    RegularExpression,
}

/// Methods of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `CONNECT`.
    Connect,
    /// `DELETE`.
    Delete,
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
    /// `OPTIONS`.
    Options,
    /// `PATCH`.
    Patch,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `TRACE`.
    Trace,
}

/// A condition on a query parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueryParamMatch {
    /// How the value is compared.
    #[serde(rename = "type")]
    pub how: QueryParamMatchType,
    /// The parameter.
    pub name: String,
    /// What it is compared with.
    pub value: String,
}

/// How values of query parameters are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueryParamMatchType {
    /// The whole value.
    #[default]
    Exact,
    /// An RE2 expression for the whole value.
    RegularExpression,
}

impl Method {
    /// The method on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Method::Connect => "CONNECT",
            Method::Delete => "DELETE",
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Options => "OPTIONS",
            Method::Patch => "PATCH",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Trace => "TRACE",
        }
    }
}

impl Match {
    pub(super) fn check(&self, path: &str, violations: &mut Violations) {
        if let Some(found) = &self.path {
            found.check(&format!("{path}.path"), violations);
        }
        let headers = self.headers.as_deref().unwrap_or_default();
        HeaderMatch::check_list(headers, &format!("{path}.headers"), violations);
        let params = self.query_params.as_deref().unwrap_or_default();
        check_count(params.len(), MAX_HEADERS, &format!("{path}.queryParams"), violations);
        let mut names = BTreeSet::new();
        for (index, param) in params.iter().enumerate() {
            let path = format!("{path}.queryParams[{index}]");
            param.check(&path, violations);
            check_unique(
                &mut names,
                "query parameter",
                &param.name,
                &format!("{path}.name"),
                violations,
            );
        }
    }
}

impl PathMatch {
    fn check(&self, path: &str, violations: &mut Violations) {
        let field = format!("{path}.value");
        match self.how {
            None => violations.add(
                format!("{path}.type"),
                "must be defined: Exact, PathPrefix or RegularExpression",
            ),
            Some(_) if self.value.is_empty() => violations.add(field, "must be defined"),
            Some(PathMatchType::Exact) => check_path(&self.value, field, violations),
            Some(PathMatchType::PathPrefix) if self.value.len() > 1 && self.value.ends_with('/') => violations.add(
                field,
                format!(
                    "is \"{}\", must not end with /: only whole segments are matched anyway",
                    self.value
                ),
            ),
            Some(PathMatchType::PathPrefix) => check_path(&self.value, field, violations),
            Some(PathMatchType::RegularExpression) => check_regex(&self.value, field, violations),
        }
    }
}

impl QueryParamMatch {
    fn check(&self, path: &str, violations: &mut Violations) {
        if self.name.is_empty() || self.name.len() > MAX_QUERY_PARAM {
            violations.add(
                format!("{path}.name"),
                format!("must be defined, with at most {MAX_QUERY_PARAM} characters"),
            );
        }
        if self.how == QueryParamMatchType::RegularExpression {
            match self.value.as_str() {
                "" => violations.add(format!("{path}.value"), "must be defined"),
                value => check_regex(value, format!("{path}.value"), violations),
            }
        }
    }
}

/// Checks a path as it is on the wire.
pub(super) fn check_path(value: &str, path: String, violations: &mut Violations) {
    let is_path = value.starts_with('/') && value.chars().all(|c| c.is_ascii_graphic() && c != '?' && c != '#');
    if !is_path {
        violations.add(
            path,
            format!("is \"{value}\", must be a path that starts with /, without query and fragment, with special characters percent-encoded"),
        );
    } else if value.len() > MAX_PATH {
        violations.add(
            path,
            format!(
                "has {} characters, a path must have no more than {MAX_PATH}",
                value.len()
            ),
        );
    }
}
