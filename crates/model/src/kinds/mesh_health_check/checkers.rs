//! What a health check does.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::policy::values::{HeaderModifier, HeaderNameValue};
use crate::violation::Violations;

/// Checks by connecting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tcp {
    /// True if it is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// What is sent, in base64; nothing if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// What the answer must contain, in this order, each in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive: Option<Vec<String>>,
}

/// Checks by a GET request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Http {
    /// True if it is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Its path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers_to_add: Option<RequestHeaders>,
    /// Statuses of a healthy endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_statuses: Option<Vec<u32>>,
}

/// Headers of a check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestHeaders {
    /// Headers that get this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<Vec<HeaderNameValue>>,
    /// Headers that get this value beside what they had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add: Option<Vec<HeaderNameValue>>,
}

/// Checks by a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Grpc {
    /// True if it is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// The service that the call asks about; the server as a whole if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// The authority of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
}

/// The bytes of a payload; `None` unless it is base64 of at least one byte.
pub fn payload(written: &str) -> Option<Vec<u8>> {
    let bytes = BASE64_STANDARD.decode(written).ok()?;
    (!bytes.is_empty()).then_some(bytes)
}

impl Tcp {
    pub(super) fn check(&self, path: &str, violations: &mut Violations) {
        let send = self.send.iter().map(|send| (format!("{path}.send"), send));
        let receive = self.receive.iter().flatten().enumerate();
        let receive = receive.map(|(index, block)| (format!("{path}.receive[{index}]"), block));
        for (path, written) in send.chain(receive) {
            if payload(written).is_none() {
                violations.add(
                    path,
                    format!("is \"{written}\", must be base64 of at least one byte, for example UElORw0K for PING and a line end"),
                );
            }
        }
    }
}

impl Http {
    pub(super) fn check(&self, path: &str, violations: &mut Violations) {
        if let Some(found) = &self.path
            && !(found.starts_with('/') && found.chars().all(|c| c.is_ascii_graphic()))
        {
            violations.add(
                format!("{path}.path"),
                format!("is \"{found}\", must start with / and have neither spaces nor other than ASCII characters; write %20 for a space"),
            );
        }
        if let Some(headers) = &self.request_headers_to_add {
            headers.check(&format!("{path}.requestHeadersToAdd"), violations);
        }
        for (index, status) in self.expected_statuses.iter().flatten().enumerate() {
            if !(100..=599).contains(status) {
                violations.add(
                    format!("{path}.expectedStatuses[{index}]"),
                    format!("is {status}, must be between 100 and 599"),
                );
            }
        }
    }
}

impl RequestHeaders {
    fn check(&self, path: &str, violations: &mut Violations) {
        let (set, add) = (
            self.set.as_deref().unwrap_or_default(),
            self.add.as_deref().unwrap_or_default(),
        );
        if set.is_empty() && add.is_empty() {
            violations.add(path, "must have at least one defined: set, add");
            return;
        }
        let modifier = HeaderModifier {
            set: self.set.clone(),
            add: self.add.clone(),
            remove: None,
        };
        modifier.check(path, violations);
    }
}

impl Grpc {
    pub(super) fn check(&self, path: &str, violations: &mut Violations) {
        if let Some(authority) = &self.authority
            && !authority.chars().all(|c| c.is_ascii_graphic())
        {
            violations.add(
                format!("{path}.authority"),
                format!("is \"{authority}\", must be a host name, and a port if need be, such as grpc.example.com:443"),
            );
        }
    }
}
