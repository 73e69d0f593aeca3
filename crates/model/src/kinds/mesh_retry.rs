//! MeshRetry (`spec/policies.md` §2.2): what is tried again, how often and where.

mod conditions;
mod host_selection;

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::policy::values::{HeaderMatch, MAX_HEADERS, at_least, check_header_name, positive, required_at_least_one};
use crate::policy::{Conf as PolicyConf, Place, PolicyKind, PolicySpec};
use crate::violation::Violations;

pub use conditions::{GrpcRetryOn, HttpCondition, HttpMethod, HttpRetryOn};
pub use host_selection::{HostPredicate, HostSelection};

/// Retries.
pub type MeshRetry = PolicySpec<Conf>;

/// Retries by protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    /// Of connections that carry bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
    /// Of HTTP/1.1 and HTTP/2 requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Of gRPC calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Grpc>,
}

/// Retries of connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tcp {
    /// Attempts to connect, the first one among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connect_attempt: Option<u32>,
}

/// Retries of HTTP requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Http {
    /// Attempts after the first; 0 means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_retries: Option<u32>,
    /// How long one attempt may take, 0 for any time; the timeout of the request limits all of them together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<GoDuration>,
    /// The pause before a retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_off: Option<BackOff>,
    /// The pause where a response says how long to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limited_back_off: Option<RateLimitedBackOff>,
    /// What is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<Vec<HttpRetryOn>>,
    /// Only requests that one of these fits are tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retriable_request_headers: Option<Vec<HeaderMatch>>,
    /// Responses that one of these fits are tried again, beside what `retryOn` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retriable_response_headers: Option<Vec<HeaderMatch>>,
    /// Where retries go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_selection: Option<Vec<HostSelection>>,
    /// How often a host that `host_selection` excludes is drawn before it is taken after all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_selection_max_attempts: Option<u32>,
}

/// Retries of gRPC calls. `host_selection` is not in the reference, although zones fail for calls as for requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Grpc {
    /// Attempts after the first; 0 means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_retries: Option<u32>,
    /// How long one attempt may take, 0 for any time; the timeout of the request limits all of them together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<GoDuration>,
    /// The pause before a retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_off: Option<BackOff>,
    /// The pause where a response says how long to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limited_back_off: Option<RateLimitedBackOff>,
    /// What is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<Vec<GrpcRetryOn>>,
    /// Where retries go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_selection: Option<Vec<HostSelection>>,
    /// How often a host that `host_selection` excludes is drawn before it is taken after all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_selection_max_attempts: Option<u32>,
}

/// A pause that grows with each retry and has a random part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackOff {
    /// The first pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_interval: Option<GoDuration>,
    /// No pause is longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_interval: Option<GoDuration>,
}

/// A pause that the response asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimitedBackOff {
    /// Headers in which responses say how long to wait; the first that is there counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_headers: Option<Vec<ResetHeader>>,
    /// Responses that ask for more get the usual pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_interval: Option<GoDuration>,
}

/// A header that says how long to wait.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResetHeader {
    /// Its name, in lower case.
    pub name: String,
    /// What its value is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<ResetHeaderFormat>,
}

/// What the value of a [`ResetHeader`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetHeaderFormat {
    /// A number of seconds.
    Seconds,
    /// A point in time, in seconds since 1970.
    UnixTimestamp,
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshRetry;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        required_at_least_one(
            &[
                ("tcp", self.tcp.is_some()),
                ("http", self.http.is_some()),
                ("grpc", self.grpc.is_some()),
            ],
            place.path,
            violations,
        );
        if let Some(tcp) = &self.tcp {
            tcp.check(&place.field("tcp"), violations);
        }
        if let Some(http) = &self.http {
            http.check(&place.field("http"), violations);
        }
        if let Some(grpc) = &self.grpc {
            grpc.check(&place.field("grpc"), violations);
        }
    }
}

impl Tcp {
    fn check(&self, path: &str, violations: &mut Violations) {
        required_at_least_one(
            &[("maxConnectAttempt", self.max_connect_attempt.is_some())],
            path,
            violations,
        );
        at_least(
            self.max_connect_attempt,
            1,
            format!("{path}.maxConnectAttempt"),
            violations,
        );
    }
}

impl Http {
    fn check(&self, path: &str, violations: &mut Violations) {
        required_at_least_one(
            &[
                ("numRetries", self.num_retries.is_some()),
                ("perTryTimeout", self.per_try_timeout.is_some()),
                ("backOff", self.back_off.is_some()),
                ("rateLimitedBackOff", self.rate_limited_back_off.is_some()),
                ("retryOn", self.retry_on.is_some()),
                ("retriableRequestHeaders", self.retriable_request_headers.is_some()),
                ("retriableResponseHeaders", self.retriable_response_headers.is_some()),
                ("hostSelection", self.host_selection.is_some()),
                ("hostSelectionMaxAttempts", self.host_selection_max_attempts.is_some()),
            ],
            path,
            violations,
        );
        check_pauses(&self.back_off, &self.rate_limited_back_off, path, violations);
        for (field, matches) in [
            ("retriableRequestHeaders", &self.retriable_request_headers),
            ("retriableResponseHeaders", &self.retriable_response_headers),
        ] {
            let matches = matches.as_deref().unwrap_or_default();
            HeaderMatch::check_list(matches, &format!("{path}.{field}"), violations);
        }
        HostSelection::check_list(&self.host_selection, &format!("{path}.hostSelection"), violations);
    }
}

impl Grpc {
    fn check(&self, path: &str, violations: &mut Violations) {
        required_at_least_one(
            &[
                ("numRetries", self.num_retries.is_some()),
                ("perTryTimeout", self.per_try_timeout.is_some()),
                ("backOff", self.back_off.is_some()),
                ("rateLimitedBackOff", self.rate_limited_back_off.is_some()),
                ("retryOn", self.retry_on.is_some()),
                ("hostSelection", self.host_selection.is_some()),
                ("hostSelectionMaxAttempts", self.host_selection_max_attempts.is_some()),
            ],
            path,
            violations,
        );
        check_pauses(&self.back_off, &self.rate_limited_back_off, path, violations);
        HostSelection::check_list(&self.host_selection, &format!("{path}.hostSelection"), violations);
    }
}

fn check_pauses(
    back_off: &Option<BackOff>,
    rate_limited: &Option<RateLimitedBackOff>,
    path: &str,
    violations: &mut Violations,
) {
    if let Some(back_off) = back_off {
        back_off.check(&format!("{path}.backOff"), violations);
    }
    if let Some(rate_limited) = rate_limited {
        rate_limited.check(&format!("{path}.rateLimitedBackOff"), violations);
    }
}

impl BackOff {
    fn check(&self, path: &str, violations: &mut Violations) {
        required_at_least_one(
            &[
                ("baseInterval", self.base_interval.is_some()),
                ("maxInterval", self.max_interval.is_some()),
            ],
            path,
            violations,
        );
        positive(self.base_interval, format!("{path}.baseInterval"), violations);
        positive(self.max_interval, format!("{path}.maxInterval"), violations);
        if let (Some(base), Some(max)) = (self.base_interval, self.max_interval)
            && max < base
        {
            violations.add(
                format!("{path}.maxInterval"),
                format!("is {max}, must not be shorter than baseInterval, {base}"),
            );
        }
    }
}

impl RateLimitedBackOff {
    fn check(&self, path: &str, violations: &mut Violations) {
        if self.reset_headers.as_ref().is_none_or(Vec::is_empty) {
            violations.add(
                format!("{path}.resetHeaders"),
                "must be defined: the headers in which responses say how long to wait",
            );
        }
        positive(self.max_interval, format!("{path}.maxInterval"), violations);
        let count = self.reset_headers.as_ref().map_or(0, Vec::len);
        if count > MAX_HEADERS {
            violations.add(
                format!("{path}.resetHeaders"),
                format!("has {count} items, must have no more than {MAX_HEADERS}"),
            );
        }
        for (index, header) in self.reset_headers.iter().flatten().enumerate() {
            let path = format!("{path}.resetHeaders[{index}]");
            check_header_name(&header.name, &format!("{path}.name"), violations);
            if header.format.is_none() {
                violations.add(format!("{path}.format"), "must be defined: Seconds or UnixTimestamp");
            }
        }
    }
}
