//! What a rule changes about its requests and responses.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::kinds::check_port;
use crate::name;
use crate::policy::values::{Decimal, HeaderModifier, only_field_of_type, percentage, required};
use crate::policy::{BackendRef, TargetKind};
use crate::violation::Violations;

use super::matches::check_path;

/// Statuses of redirects.
const REDIRECT_STATUSES: [u32; 5] = [301, 302, 303, 307, 308];

/// One change; the field of its type is set, and no other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    /// What kind of change.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub how: Option<FilterType>,
    /// Of the request's headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_header_modifier: Option<HeaderModifier>,
    /// Of the response's headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_header_modifier: Option<HeaderModifier>,
    /// The client is sent elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_redirect: Option<RequestRedirect>,
    /// Of host and path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_rewrite: Option<UrlRewrite>,
    /// A copy goes elsewhere too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_mirror: Option<RequestMirror>,
}

/// Kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterType {
    /// [`Filter::request_header_modifier`].
    RequestHeaderModifier,
    /// [`Filter::response_header_modifier`].
    ResponseHeaderModifier,
    /// [`Filter::request_redirect`].
    RequestRedirect,
    /// [`Filter::url_rewrite`].
    URLRewrite,
    /// [`Filter::request_mirror`].
    RequestMirror,
}

/// An answer that names another URL; what is absent stays as in the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestRedirect {
    /// `http` or `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
    /// The port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// 301, 302, 303, 307 or 308.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u32>,
}

/// A request for another host or path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UrlRewrite {
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
    /// Builtin gateways only, of which there are none here: the host is that of the backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_to_backend_hostname: Option<bool>,
}

/// Another path; the field of its type is set, and no other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathRewrite {
    /// What is replaced.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub how: Option<PathRewriteType>,
    /// A path, instead of the request's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_full_path: Option<String>,
    /// A path, instead of the prefix that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_prefix_match: Option<String>,
}

/// What of a path is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathRewriteType {
    /// All of it.
    ReplaceFullPath,
    /// The prefix that matched.
    ReplacePrefixMatch,
}

/// A copy of the request, whose response is discarded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestMirror {
    /// Of how many requests, from 0 to 100; of all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentage: Option<Decimal>,
    /// Where it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_ref: Option<BackendRef>,
}

impl FilterType {
    /// The name as written.
    pub fn name(self) -> &'static str {
        match self {
            FilterType::RequestHeaderModifier => "RequestHeaderModifier",
            FilterType::ResponseHeaderModifier => "ResponseHeaderModifier",
            FilterType::RequestRedirect => "RequestRedirect",
            FilterType::URLRewrite => "URLRewrite",
            FilterType::RequestMirror => "RequestMirror",
        }
    }
}

impl Filter {
    /// `only_prefixes` is true if all matches of the rule are path prefixes.
    pub(super) fn check(&self, top: TargetKind, only_prefixes: bool, path: &str, violations: &mut Violations) {
        let Some(how) = self.how else {
            violations.add(
                format!("{path}.type"),
                "must be defined: RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect, URLRewrite or RequestMirror",
            );
            return;
        };
        let fields = [
            ("requestHeaderModifier", self.request_header_modifier.is_some()),
            ("responseHeaderModifier", self.response_header_modifier.is_some()),
            ("requestRedirect", self.request_redirect.is_some()),
            ("urlRewrite", self.url_rewrite.is_some()),
            ("requestMirror", self.request_mirror.is_some()),
        ];
        only_field_of_type(how.name(), &fields, path, violations);
        if let Some(modifier) = &self.request_header_modifier {
            modifier.check(&format!("{path}.requestHeaderModifier"), violations);
        }
        if let Some(modifier) = &self.response_header_modifier {
            modifier.check(&format!("{path}.responseHeaderModifier"), violations);
        }
        if let Some(redirect) = &self.request_redirect {
            redirect.check(only_prefixes, &format!("{path}.requestRedirect"), violations);
        }
        if let Some(rewrite) = &self.url_rewrite {
            rewrite.check(top, only_prefixes, &format!("{path}.urlRewrite"), violations);
        }
        if let Some(mirror) = &self.request_mirror {
            percentage(
                mirror.percentage,
                format!("{path}.requestMirror.percentage"),
                violations,
            );
            required(
                mirror.backend_ref.is_some(),
                format!("{path}.requestMirror.backendRef"),
                violations,
            );
        }
    }
}

impl RequestRedirect {
    fn check(&self, only_prefixes: bool, path: &str, violations: &mut Violations) {
        if let Some(scheme) = self
            .scheme
            .as_deref()
            .filter(|scheme| !matches!(*scheme, "http" | "https"))
        {
            violations.add(
                format!("{path}.scheme"),
                format!("is \"{scheme}\", must be http or https"),
            );
        }
        check_hostname(self.hostname.as_deref(), format!("{path}.hostname"), violations);
        if let Some(rewrite) = &self.path {
            rewrite.check(only_prefixes, &format!("{path}.path"), violations);
        }
        if let Some(port) = self.port {
            check_port(port, format!("{path}.port"), violations);
        }
        if let Some(status) = self.status_code.filter(|status| !REDIRECT_STATUSES.contains(status)) {
            violations.add(
                format!("{path}.statusCode"),
                format!("is {status}, must be 301, 302, 303, 307 or 308"),
            );
        }
    }
}

impl UrlRewrite {
    fn check(&self, top: TargetKind, only_prefixes: bool, path: &str, violations: &mut Violations) {
        check_hostname(self.hostname.as_deref(), format!("{path}.hostname"), violations);
        if let Some(rewrite) = &self.path {
            rewrite.check(only_prefixes, &format!("{path}.path"), violations);
        }
        if self.host_to_backend_hostname != Some(true) {
            return;
        }
        let path = format!("{path}.hostToBackendHostname");
        if top != TargetKind::MeshGateway {
            violations.add(
                path,
                "must not be set unless spec.targetRef.kind is MeshGateway; use hostname",
            );
        } else if self.hostname.is_some() {
            violations.add(path, "must not be set together with hostname");
        }
    }
}

impl PathRewrite {
    fn check(&self, only_prefixes: bool, path: &str, violations: &mut Violations) {
        let is_prefix = match self.how {
            Some(how) => how == PathRewriteType::ReplacePrefixMatch,
            None => {
                violations.add(
                    format!("{path}.type"),
                    "must be defined: ReplaceFullPath or ReplacePrefixMatch",
                );
                return;
            }
        };
        let fields = [
            ("replaceFullPath", self.replace_full_path.is_some()),
            ("replacePrefixMatch", self.replace_prefix_match.is_some()),
        ];
        let name = if is_prefix {
            "ReplacePrefixMatch"
        } else {
            "ReplaceFullPath"
        };
        only_field_of_type(name, &fields, path, violations);
        if let Some(value) = &self.replace_full_path {
            check_path(value, format!("{path}.replaceFullPath"), violations);
        }
        // An empty one leaves the prefix out.
        if let Some(value) = self.replace_prefix_match.as_ref().filter(|value| !value.is_empty()) {
            check_path(value, format!("{path}.replacePrefixMatch"), violations);
        }
        if is_prefix && !only_prefixes {
            violations.add(
                format!("{path}.type"),
                "must not be ReplacePrefixMatch unless every match of the rule has a path of type PathPrefix; use ReplaceFullPath",
            );
        }
    }
}

fn check_hostname(hostname: Option<&str>, path: String, violations: &mut Violations) {
    let Some(hostname) = hostname else { return };
    let is_name =
        name::check_subdomain(hostname).is_ok() && hostname.split('.').all(|label| label.len() <= name::MAX_LABEL);
    if !is_name || hostname.parse::<IpAddr>().is_ok() {
        violations.add(
            path,
            format!("is \"{hostname}\", must be a DNS name in lower case (RFC 1123), not an IP address"),
        );
    }
}
