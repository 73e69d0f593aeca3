//! What is tried again: the values of `retryOn`.

use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// Before the method, as in `HttpMethodGet`.
const METHOD: &str = "HttpMethod";

/// Status codes that have a name in HTTP (IANA's registry, and 418).
const STATUSES: [u16; 62] = [
    100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400,
    401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425,
    426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];

/// When an HTTP request is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HttpRetryOn {
    /// After such a failure.
    Condition(HttpCondition),
    /// Only if the request has this method, or another one in the list.
    Method(HttpMethod),
    /// After a response with this status.
    Status(u16),
}

/// Ways in which a request fails; Envoy's, in upper camel case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HttpCondition {
    /// Any status of 500 and above, and no response at all.
    #[serde(rename = "5xx")]
    ServerError,
    /// Status 502, 503 or 504.
    GatewayError,
    /// No response at all.
    Reset,
    /// Status 409.
    Retriable4xx,
    /// No connection.
    ConnectFailure,
    /// The header `x-envoy-ratelimited`.
    EnvoyRatelimited,
    /// HTTP/2 error REFUSED_STREAM.
    RefusedStream,
    /// An HTTP/3 connection that fails after its handshake.
    Http3PostConnectFailure,
}

/// Methods of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum HttpMethod {
    Connect,
    Delete,
    Get,
    Head,
    Options,
    Patch,
    Post,
    Put,
    Trace,
}

/// Status codes after which a gRPC call is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum GrpcRetryOn {
    Canceled,
    DeadlineExceeded,
    Internal,
    ResourceExhausted,
    Unavailable,
}

impl HttpMethod {
    /// As requests say it.
    pub fn name(self) -> &'static str {
        match self {
            HttpMethod::Connect => "CONNECT",
            HttpMethod::Delete => "DELETE",
            HttpMethod::Get => "GET",
            HttpMethod::Head => "HEAD",
            HttpMethod::Options => "OPTIONS",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Post => "POST",
            HttpMethod::Put => "PUT",
            HttpMethod::Trace => "TRACE",
        }
    }
}

impl HttpRetryOn {
    fn parse(text: &str) -> Option<Self> {
        let named: StrDeserializer<'_, ValueError> = text.into_deserializer();
        if let Ok(condition) = HttpCondition::deserialize(named) {
            return Some(Self::Condition(condition));
        }
        if let Some(method) = text.strip_prefix(METHOD) {
            let method: StrDeserializer<'_, ValueError> = method.into_deserializer();
            return HttpMethod::deserialize(method).ok().map(Self::Method);
        }
        let status = text.parse().ok().filter(|status| STATUSES.contains(status));
        status.map(Self::Status)
    }
}

impl Serialize for HttpRetryOn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Condition(condition) => condition.serialize(serializer),
            Self::Method(method) => serializer.collect_str(&format_args!("{METHOD}{method:?}")),
            Self::Status(status) => serializer.collect_str(status),
        }
    }
}

impl<'de> Deserialize<'de> for HttpRetryOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Value::deserialize(deserializer)?;
        let text = match &written {
            Value::String(text) => text.clone(),
            Value::Number(status) => {
                return Err(de::Error::custom(format!("is {status}, must be a string; quote it")));
            }
            _ => String::new(),
        };
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "is {written}, must be 5xx, GatewayError, Reset, Retriable4xx, ConnectFailure, EnvoyRatelimited, \
                 RefusedStream, Http3PostConnectFailure, a method such as HttpMethodGet, or a status of HTTP such as \"503\""
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_value_is_read_and_written_back() {
        for text in [
            "5xx",
            "GatewayError",
            "Reset",
            "Retriable4xx",
            "ConnectFailure",
            "EnvoyRatelimited",
            "RefusedStream",
            "Http3PostConnectFailure",
            "HttpMethodConnect",
            "HttpMethodDelete",
            "HttpMethodGet",
            "HttpMethodHead",
            "HttpMethodOptions",
            "HttpMethodPatch",
            "HttpMethodPost",
            "HttpMethodPut",
            "HttpMethodTrace",
            "429",
        ] {
            let read: HttpRetryOn = serde_json::from_value(text.into()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), text);
        }
        let number = serde_json::from_value::<HttpRetryOn>(503.into()).unwrap_err();
        assert_eq!(number.to_string(), "is 503, must be a string; quote it");
        for unknown in ["599", "99", "503 "] {
            assert!(
                serde_json::from_value::<HttpRetryOn>(unknown.into()).is_err(),
                "{unknown}"
            );
        }
    }
}
