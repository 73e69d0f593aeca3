//! What can go wrong between a command and a control plane, in words that say what to do.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

/// Longest piece of an answer that is not ours which is shown, in characters.
const MAX_SHOWN: usize = 500;

/// Why a request gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is unusable.
    #[error("the control plane address {url:?} cannot be used: {reason}; give one like http://localhost:5681")]
    Address { url: String, reason: String },
    /// A configured header is unusable.
    #[error(
        "header {name:?} cannot be sent: use ASCII letters and dashes in its name and printable ASCII in its value"
    )]
    Header { name: String },
    /// The token is unusable.
    #[error("the token holds characters that no token has: give the text exactly as it was generated")]
    Token,
    /// A certificate or key file is unusable.
    #[error("{what} {} cannot be used: {reason}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// Nobody answers, or TLS fails.
    #[error("cannot reach the control plane at {url}: {reason}; {}{}", unreachable_remedy(*certificate), wrong_port_text(url))]
    Unreachable {
        url: String,
        reason: String,
        /// True if the server is there but its certificate was refused.
        certificate: bool,
    },
    /// The answer did not come in time.
    #[error(
        "the control plane at {url} gave no answer within {timeout:?}: see its log, or wait longer with --api-timeout"
    )]
    Timeout { url: String, timeout: Duration },
    /// The answer is not what a control plane says.
    #[error(
        "the answer of {url} cannot be used: {reason}; is this the REST API of a control plane (port 5681 or 5682)?{}",
        wrong_port_text(url)
    )]
    Malformed { url: String, reason: String },
    /// The control plane refuses.
    #[error(transparent)]
    Api(ApiError),
}

impl ClientError {
    /// The control plane says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api(error) if error.status == StatusCode::NOT_FOUND)
    }

    /// No answer came, so asking for the next resource would fail as well.
    pub fn is_connection_problem(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. })
    }
}

/// What is on a port that is not the API's, by default.
pub(super) fn wrong_port(url: &str) -> Option<String> {
    let port = url.parse::<http::Uri>().ok()?.port_u16()?;
    let found = match port {
        5678 => "where proxies connect",
        5685 => "where control planes of zones connect to the global one",
        5680 => "health and metrics of a control plane",
        9901 => "an Envoy's admin interface",
        _ => return None,
    };
    Some(format!(
        "; port {port} is {found}, the API is http://…:5681 or https://…:5682"
    ))
}

fn wrong_port_text(url: &str) -> String {
    wrong_port(url).unwrap_or_default()
}

fn unreachable_remedy(certificate: bool) -> &'static str {
    if certificate {
        "give the CA that signed the server's certificate with --ca-cert-file"
    } else {
        "start it with `meshspan cp run`, or name another one with --address or `meshspan config control-planes switch`"
    }
}

/// A field of a request and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidParameter {
    /// Path of the field, may be empty.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

/// The error object of the API (`spec/http-api.md` §1), or what came instead of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// What failed; empty if the answer was no error object.
    pub title: String,
    /// Why; the raw answer if it was no error object.
    pub detail: String,
    /// Which fields.
    pub invalid_parameters: Vec<InvalidParameter>,
}

impl std::error::Error for ApiError {}

/// Titles of refusals that come from paths which a control plane does have.
const KNOWN_PATH: [&str; 2] = ["Failed to retrieve Mesh", "Method not allowed"];

impl ApiError {
    /// True if the control plane has no such path, as one of another version or make.
    pub fn is_unknown_path(&self) -> bool {
        let is_refused = matches!(self.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
        is_refused && !KNOWN_PATH.contains(&self.title.as_str())
    }

    /// Reads the answer, whatever it is: routers and proxies answer in plain text.
    pub fn read(status: StatusCode, body: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let title = text("title");
        if title.is_empty() {
            return Self {
                status,
                title,
                detail: String::from_utf8_lossy(body).trim().chars().take(MAX_SHOWN).collect(),
                invalid_parameters: Vec::new(),
            };
        }
        let new = parameters(&document, "invalid_parameters", "reason");
        let detail = text("detail");
        Self {
            status,
            title,
            detail: if detail.is_empty() { text("details") } else { detail },
            invalid_parameters: if new.is_empty() {
                parameters(&document, "causes", "message")
            } else {
                new
            },
        }
    }
}

fn parameters(document: &Value, list: &str, reason: &str) -> Vec<InvalidParameter> {
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let entries = document.get(list).and_then(Value::as_array).into_iter().flatten();
    entries
        .map(|entry| InvalidParameter {
            field: text(entry, "field"),
            reason: text(entry, reason),
        })
        .collect()
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.title.is_empty() {
            write!(f, "the control plane answered {}", self.status)?;
            if !self.detail.is_empty() {
                write!(f, ": {}", self.detail)?;
            }
        } else {
            write!(f, "{} ({})", self.title, self.detail)?;
        }
        for InvalidParameter { field, reason } in &self.invalid_parameters {
            match field.as_str() {
                "" => write!(f, "\n* {reason}")?,
                field => write!(f, "\n* {field}: {reason}")?,
            }
        }
        match self.status {
            StatusCode::UNAUTHORIZED => write!(
                f,
                "\ngive a valid token with --token; `meshspan generate user-token` makes one"
            ),
            StatusCode::FORBIDDEN => write!(
                f,
                "\nask on the control plane's own host (http://localhost:5681), or with the token of an administrator \
                 (--token): `meshspan generate user-token --name NAME --group mesh-system:admin --valid-for 24h` makes one \
                 there"
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(status: StatusCode, body: &str) -> String {
        ApiError::read(status, body.as_bytes()).to_string()
    }

    #[test]
    fn shows_title_detail_and_fields() {
        let new = r#"{"title":"Could not process a resource","detail":"Resource is not valid",
            "invalid_parameters":[{"field":"spec.ports","reason":"cannot be empty"},{"field":"","reason":"x"}],
            "causes":[{"field":"old","message":"old"}]}"#;
        let expected = "Could not process a resource (Resource is not valid)\n* spec.ports: cannot be empty\n* x";
        assert_eq!(shown(StatusCode::BAD_REQUEST, new), expected);
        let old = r#"{"title":"T","details":"D","causes":[{"field":"f","message":"m"}]}"#;
        assert_eq!(shown(StatusCode::BAD_REQUEST, old), "T (D)\n* f: m");
    }

    #[test]
    fn ports_of_other_servers_are_recognised() {
        let error = |url: &str| {
            let (url, reason) = (url.to_owned(), "x".to_owned());
            ClientError::Malformed { url, reason }.to_string()
        };
        assert!(error("http://cp:5678/meshes").contains("port 5678 is where proxies connect"));
        assert!(error("http://cp:5681/meshes").ends_with("(port 5681 or 5682)?"));
    }

    #[test]
    fn shows_answers_that_are_no_error_object() {
        assert_eq!(
            shown(StatusCode::NOT_FOUND, "404: Page Not Found\n"),
            "the control plane answered 404 Not Found: 404: Page Not Found"
        );
        assert_eq!(
            shown(StatusCode::BAD_REQUEST, ""),
            "the control plane answered 400 Bad Request"
        );
    }
}
