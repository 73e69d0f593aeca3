//! After what a request is tried again, in Envoy's words.

use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use meshspan_model::kinds::mesh_retry::{GrpcRetryOn, HttpCondition, HttpRetryOn};
use meshspan_model::policy::values::HeaderMatch;

use crate::policies::header_match::header_matcher;

/// Where nothing is said, of requests.
const REQUESTS: [&str; 3] = ["gateway-error", "connect-failure", "refused-stream"];
/// Where nothing is said, of gRPC calls.
const CALLS: [&str; 7] = [
    "cancelled",
    "connect-failure",
    "gateway-error",
    "refused-stream",
    "reset",
    "resource-exhausted",
    "unavailable",
];

/// After what a call met nobody.
const UNREACHED: [&str; 3] = ["connect-failure", "refused-stream", "reset"];

/// The values of `retryOn`, sorted by what Envoy calls them.
pub(super) struct Conditions {
    /// `retry_on`.
    pub(super) retry_on: String,
    /// `retriable_status_codes`.
    pub(super) statuses: Vec<u32>,
    /// Of `retriable_request_headers`.
    pub(super) methods: Vec<HeaderMatcher>,
}

/// A list of nothing but methods says which requests are tried again, not after what, and one of statuses says nothing of
/// requests without an answer: both add to what is usual, and an empty list changes nothing, as in the reference.
pub(super) fn of_requests(retry_on: Option<&[HttpRetryOn]>, by_response_headers: bool) -> Conditions {
    let (mut names, mut statuses, mut methods) = (Vec::new(), Vec::new(), Vec::new());
    for on in retry_on.unwrap_or_default() {
        match on {
            HttpRetryOn::Condition(condition) => names.push(name(*condition)),
            HttpRetryOn::Status(status) => statuses.push(u32::from(*status)),
            HttpRetryOn::Method(method) => methods.push(header_matcher(&HeaderMatch {
                name: ":method".to_owned(),
                value: Some(method.name().to_owned()),
                ..Default::default()
            })),
        }
    }
    if names.is_empty() {
        names.extend(REQUESTS);
    }
    if !statuses.is_empty() {
        names.push("retriable-status-codes");
    }
    if by_response_headers {
        names.push("retriable-headers");
    }
    Conditions {
        retry_on: names.join(","),
        statuses,
        methods,
    }
}

/// Calls that met nobody are unavailable as well, only that no server says so but the client's own proxy.
pub(super) fn of_calls(retry_on: Option<&[GrpcRetryOn]>) -> String {
    match retry_on {
        None | Some([]) => CALLS.join(","),
        Some(list) => {
            let mut names: Vec<_> = list.iter().map(|on| status(*on)).collect();
            if list.contains(&GrpcRetryOn::Unavailable) {
                names.extend(UNREACHED);
            }
            names.join(",")
        }
    }
}

fn name(condition: HttpCondition) -> &'static str {
    match condition {
        HttpCondition::ServerError => "5xx",
        HttpCondition::GatewayError => "gateway-error",
        HttpCondition::Reset => "reset",
        HttpCondition::Retriable4xx => "retriable-4xx",
        HttpCondition::ConnectFailure => "connect-failure",
        HttpCondition::EnvoyRatelimited => "envoy-ratelimited",
        HttpCondition::RefusedStream => "refused-stream",
        HttpCondition::Http3PostConnectFailure => "http3-post-connect-failure",
    }
}

/// Envoy spells `cancelled` with two l, other than gRPC and Kuma.
fn status(on: GrpcRetryOn) -> &'static str {
    match on {
        GrpcRetryOn::Canceled => "cancelled",
        GrpcRetryOn::DeadlineExceeded => "deadline-exceeded",
        GrpcRetryOn::Internal => "internal",
        GrpcRetryOn::ResourceExhausted => "resource-exhausted",
        GrpcRetryOn::Unavailable => "unavailable",
    }
}
