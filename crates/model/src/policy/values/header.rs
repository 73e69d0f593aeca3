//! HTTP headers in confs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::violation::Violations;

use super::check::{check_count, check_unique};
use super::regex::check_regex;

/// Most headers of one list.
pub const MAX_HEADERS: usize = 16;
/// Most characters of a header name.
const MAX_NAME: usize = 256;
/// Most bytes of a header value.
const MAX_VALUE: usize = 8192;

/// A condition on a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderMatch {
    /// How the value is compared.
    #[serde(rename = "type")]
    pub how: HeaderMatchType,
    /// The header, in lower case.
    pub name: String,
    /// What it is compared with; none for [`HeaderMatchType::Present`] and [`HeaderMatchType::Absent`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// How header values are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HeaderMatchType {
    /// The whole value.
    #[default]
    Exact,
    /// The header is there.
    Present,
    /// An RE2 expression for the whole value.
    RegularExpression,
    /// The header is not there.
    Absent,
    /// The start of the value.
    Prefix,
}

/// A header and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderNameValue {
    /// The header.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Changes to headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderModifier {
    /// Headers that get this value, whatever they had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<Vec<HeaderNameValue>>,
    /// Headers that get this value beside what they had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add: Option<Vec<HeaderNameValue>>,
    /// Headers that go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove: Option<Vec<String>>,
}

/// Adds what is wrong with the name of a header.
pub fn check_header_name(name: &str, path: &str, violations: &mut Violations) {
    let token = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(token) {
        violations.add(
            path,
            format!("is \"{name}\", must be the name of a header in lower case, of 1 to {MAX_NAME} characters"),
        );
    }
}

impl HeaderMatch {
    /// Adds everything that is wrong.
    pub fn check(&self, path: &str, violations: &mut Violations) {
        check_header_name(&self.name, &format!("{path}.name"), violations);
        let path = format!("{path}.value");
        match (self.how, self.value.as_deref()) {
            (HeaderMatchType::Present | HeaderMatchType::Absent, Some(_)) => {
                violations.add(path, "must not be set with type Present or Absent");
            }
            (HeaderMatchType::Exact, None)
            | (HeaderMatchType::Prefix | HeaderMatchType::RegularExpression, None | Some("")) => {
                violations.add(path, "must be defined");
            }
            (HeaderMatchType::RegularExpression, Some(value)) => check_regex(value, path, violations),
            _ => {}
        }
    }

    /// Checks a list of conditions: not too many, and no header twice.
    pub fn check_list(matches: &[HeaderMatch], path: &str, violations: &mut Violations) {
        check_count(matches.len(), MAX_HEADERS, path, violations);
        let mut names = BTreeSet::new();
        for (index, found) in matches.iter().enumerate() {
            let path = format!("{path}[{index}]");
            found.check(&path, violations);
            check_unique(&mut names, "header", &found.name, &format!("{path}.name"), violations);
        }
    }
}

impl HeaderModifier {
    /// Adds everything that is wrong.
    pub fn check(&self, path: &str, violations: &mut Violations) {
        let set = self.set.as_deref().unwrap_or_default();
        let add = self.add.as_deref().unwrap_or_default();
        let remove = self.remove.as_deref().unwrap_or_default();
        if set.is_empty() && add.is_empty() && remove.is_empty() {
            violations.add(path, "must have at least one defined: set, add, remove");
        }
        let mut names = BTreeSet::new();
        for (field, list) in [("set", set), ("add", add)] {
            check_count(list.len(), MAX_HEADERS, &format!("{path}.{field}"), violations);
            for (index, header) in list.iter().enumerate() {
                let path = format!("{path}.{field}[{index}]");
                check_modified(&header.name, &format!("{path}.name"), violations);
                check_unique(&mut names, "header", &header.name, &format!("{path}.name"), violations);
                let value = &header.value;
                if value.is_empty() || value.len() > MAX_VALUE || value.contains(['\0', '\r', '\n']) {
                    violations.add(
                        format!("{path}.value"),
                        format!("must be defined, in one line of at most {MAX_VALUE} bytes"),
                    );
                }
            }
        }
        check_count(remove.len(), MAX_HEADERS, &format!("{path}.remove"), violations);
        for (index, name) in remove.iter().enumerate() {
            let path = format!("{path}.remove[{index}]");
            check_modified(name, &path, violations);
            check_unique(&mut names, "header", name, &path, violations);
        }
    }
}

/// Envoy refuses to modify the header that says where a request goes.
fn check_modified(name: &str, path: &str, violations: &mut Violations) {
    check_header_name(name, path, violations);
    if name == "host" {
        violations.add(
            path,
            "is \"host\", which cannot be modified; use a URLRewrite with hostname",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str) -> HeaderNameValue {
        HeaderNameValue {
            name: name.to_owned(),
            value: "v".to_owned(),
        }
    }

    #[test]
    fn a_header_is_modified_once_and_named_in_lower_case() {
        let modifier = HeaderModifier {
            set: Some(vec![header("x-a"), header("X-B")]),
            add: Some(vec![header("x-c\r\nx-d: 1")]),
            remove: Some(vec!["x-a".to_owned()]),
        };
        let mut violations = Violations::new();
        modifier.check("f", &mut violations);
        let text = violations.to_string();
        assert!(text.contains("f.set[1].name: is \"X-B\""), "{text}");
        assert!(text.contains("f.add[0].name"), "{text}");
        assert!(
            text.contains("f.remove[0]: header \"x-a\" is named more than once"),
            "{text}"
        );
        assert_eq!(violations.iter().count(), 3, "{text}");
    }

    #[test]
    fn conditions_have_a_value_where_it_means_something() {
        let condition = |how, value: Option<&str>| HeaderMatch {
            how,
            name: "x".to_owned(),
            value: value.map(str::to_owned),
        };
        let wrong = |condition: HeaderMatch| {
            let mut violations = Violations::new();
            condition.check("h", &mut violations);
            violations.to_string()
        };
        assert_eq!(wrong(condition(HeaderMatchType::Exact, Some("a"))), "");
        assert_eq!(wrong(condition(HeaderMatchType::Present, None)), "");
        assert_eq!(
            wrong(condition(HeaderMatchType::Prefix, None)),
            "h.value: must be defined"
        );
        assert!(wrong(condition(HeaderMatchType::Absent, Some("a"))).contains("must not be set"));
    }
}
