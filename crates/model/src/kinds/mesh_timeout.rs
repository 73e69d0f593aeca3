//! MeshTimeout (`spec/policies.md` §2.1): how long connections, requests and streams may take.

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::policy::values::{positive, required_at_least_one};
use crate::policy::{Conf as PolicyConf, Part, Place, PolicyKind, PolicySpec, TargetKind};
use crate::violation::Violations;

/// Timeouts.
pub type MeshTimeout = PolicySpec<Conf>;

/// Timeouts; 0 switches one off, where that is possible.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    /// Until a connection is established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_timeout: Option<GoDuration>,
    /// For a TCP connection without bytes, or an HTTP connection without requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<GoDuration>,
    /// Of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
}

/// Timeouts of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Http {
    /// From the end of the request to the end of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<GoDuration>,
    /// For a stream without events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_idle_timeout: Option<GoDuration>,
    /// Of a stream as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_stream_duration: Option<GoDuration>,
    /// Of a connection as a whole; after it the connection is drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_duration: Option<GoDuration>,
    /// Until the headers of a request are complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers_timeout: Option<GoDuration>,
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshTimeout;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        required_at_least_one(
            &[
                ("connectionTimeout", self.connection_timeout.is_some()),
                ("idleTimeout", self.idle_timeout.is_some()),
                ("http", self.http.is_some()),
            ],
            place.path,
            violations,
        );
        positive(self.connection_timeout, place.field("connectionTimeout"), violations);
        let http = self.http.clone().unwrap_or_default();
        if self.http.is_some() {
            required_at_least_one(
                &[
                    ("requestTimeout", http.request_timeout.is_some()),
                    ("streamIdleTimeout", http.stream_idle_timeout.is_some()),
                    ("maxStreamDuration", http.max_stream_duration.is_some()),
                    ("maxConnectionDuration", http.max_connection_duration.is_some()),
                    ("requestHeadersTimeout", http.request_headers_timeout.is_some()),
                ],
                &place.field("http"),
                violations,
            );
        }
        if is_about_a_route(place) {
            for (field, is_set) in [
                ("connectionTimeout", self.connection_timeout.is_some()),
                ("idleTimeout", self.idle_timeout.is_some()),
                ("http.maxStreamDuration", http.max_stream_duration.is_some()),
                ("http.maxConnectionDuration", http.max_connection_duration.is_some()),
                ("http.requestHeadersTimeout", http.request_headers_timeout.is_some()),
            ] {
                if is_set {
                    violations.add(
                        place.field(field),
                        "must not be set for a MeshHTTPRoute: it is about connections, which routes share",
                    );
                }
            }
        }
    }
}

fn is_about_a_route(place: &Place<'_>) -> bool {
    let target = place.target.map(|target| target.kind.as_str());
    place.part == Part::To
        && (place.top == TargetKind::MeshHTTPRoute || target == Some(TargetKind::MeshHTTPRoute.name()))
}
