//! The operators of Envoy 1.40 and what each of them takes.
//!
//! Measured: each row was given to `envoy --mode validate`, and a test of projection does so again.

/// Operators without parameters, in alphabetical order.
pub const PLAIN_OPERATORS: &[&str] = &[
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_RETRANSMITTED",
    "BYTES_SENT",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER_SERIAL",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_GROUP",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DURATION",
    "FILTER_CHAIN_NAME",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "LISTENER_NAME",
    "LOCAL_REPLY_BODY",
    "PACKETS_RETRANSMITTED",
    "PROTOCOL",
    "REQUEST_DURATION",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "RESPONSE_CODE",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION",
    "ROUNDTRIP_DURATION",
    "ROUTE_NAME",
    "ROUTE_RESOLUTION_COUNT",
    "ROUTE_RESOLUTION_TIME_US",
    "SPAN_ID",
    "STREAM_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOST",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAMES_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_IP_SAN",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_IP_SAN",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_SERVER_NAME",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_GROUP",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];

/// What an operator takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Nothing.
    Plain,
    /// `(HEADER?ALTERNATIVE):length`.
    Header,
    /// Optional: a format as of `strftime`.
    Time,
    /// `(KEY):length`.
    Key,
    /// `(KEY)`.
    KeyWithoutLength,
    /// `(TYPE:KEY…):length`.
    Metadata,
    /// `(KEY:TYPE:FIELD):length`.
    FilterState,
    /// `(FROM:TO:PRECISION)`.
    Duration,
    /// Optional: one of these.
    OneOf(&'static [&'static str], &'static str),
    /// Optional: `(WITH_QUERY:WHICH):length`.
    Path,
    /// Optional: `(ORIG|DECODED):length`.
    Query,
    /// Optional: the length of a network's prefix in bits.
    Mask,
    /// Parameters in a language of its own.
    Unchecked,
}

/// What an operator takes; `None` if there is no such operator.
pub(super) fn syntax(name: &str) -> Option<Syntax> {
    Some(match name {
        "REQ" | "REQUEST_HEADER" | "RESP" | "RESPONSE_HEADER" | "TRAILER" | "RESPONSE_TRAILER" => Syntax::Header,
        "START_TIME" | "START_TIME_LOCAL" | "EMIT_TIME" | "EMIT_TIME_LOCAL" => Syntax::Time,
        "DOWNSTREAM_PEER_CERT_V_START" | "DOWNSTREAM_PEER_CERT_V_END" => Syntax::Time,
        "UPSTREAM_PEER_CERT_V_START" | "UPSTREAM_PEER_CERT_V_END" => Syntax::Time,
        "DYNAMIC_METADATA" | "ENVIRONMENT" | "QUERY_PARAM" => Syntax::Key,
        "CLUSTER_METADATA" | "UPSTREAM_METADATA" => Syntax::KeyWithoutLength,
        "METADATA" => Syntax::Metadata,
        "FILTER_STATE" | "UPSTREAM_FILTER_STATE" => Syntax::FilterState,
        "COMMON_DURATION" => Syntax::Duration,
        "GRPC_STATUS" => Syntax::OneOf(
            &["CAMEL_STRING", "SNAKE_STRING", "NUMBER"],
            "takes CAMEL_STRING, SNAKE_STRING or NUMBER as parameter, and no length",
        ),
        "REQUESTED_SERVER_NAME" => Syntax::OneOf(
            &["SNI_ONLY", "SNI_FIRST", "HOST_FIRST"],
            "takes SNI_ONLY, SNI_FIRST or HOST_FIRST as parameter, and no length",
        ),
        "RESPONSE_CODE_DETAILS" => Syntax::OneOf(
            &["ALLOW_WHITESPACES"],
            "takes ALLOW_WHITESPACES as parameter, and no length",
        ),
        "PATH" => Syntax::Path,
        "QUERY_PARAMS" => Syntax::Query,
        "CEL" | "COALESCE" => Syntax::Unchecked,
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" | "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT" => Syntax::Mask,
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Syntax::Mask,
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" | "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Syntax::Mask,
        _ if PLAIN_OPERATORS.binary_search(&name).is_ok() => Syntax::Plain,
        _ => return None,
    })
}

impl Syntax {
    /// Checks parameters, "" for none, and whether a length may follow.
    ///
    /// # Errors
    /// What would be right.
    pub(super) fn check(self, parameters: &str, has_length: bool) -> Result<(), &'static str> {
        let (is_right, expected) = match self {
            Syntax::Plain => (
                parameters.is_empty() && !has_length,
                "takes neither parameters nor a length",
            ),
            Syntax::Header => (
                is_headers(parameters),
                "needs the name of a header as parameter, or two as in (X-A?X-B)",
            ),
            Syntax::Time => (
                !has_length && !breaks_line(parameters),
                "takes a strftime format without %n as parameter, and no length",
            ),
            Syntax::Key => (!parameters.is_empty(), "needs a key as parameter"),
            Syntax::KeyWithoutLength => (
                !parameters.is_empty() && !has_length,
                "needs a key as parameter, and takes no length",
            ),
            Syntax::Metadata => (
                METADATA_TYPES.contains(&first(parameters)),
                "needs DYNAMIC, CLUSTER, ROUTE, UPSTREAM_HOST, LISTENER, LISTENER_FILTER_CHAIN or VIRTUAL_HOST and a key \
                 as parameters, as in (ROUTE:KEY)",
            ),
            Syntax::FilterState => (
                is_filter_state(parameters),
                "needs a key as parameter, as in (KEY), (KEY:PLAIN), (KEY:TYPED) or (KEY:FIELD:NAME)",
            ),
            Syntax::Duration => (
                !has_length && is_duration(parameters),
                "needs two points in time as parameters and may name ms, us or ns, as in (DS_RX_BEG:DS_TX_END:ms)",
            ),
            Syntax::OneOf(values, expected) => (!has_length && is_one_of(parameters, values), expected),
            Syntax::Path => (
                is_path(parameters),
                "takes WQ or NQ, and then ORIG, PATH or ORIG_OR_PATH as parameters, as in (NQ:ORIG)",
            ),
            Syntax::Query => (
                is_one_of(parameters, &["ORIG", "DECODED"]),
                "takes ORIG or DECODED as parameter",
            ),
            Syntax::Mask => (
                !has_length && (parameters.is_empty() || parameters.parse().is_ok_and(|bits: u8| bits <= 128)),
                "takes the length of a prefix from 0 to 128 as parameter, and no length",
            ),
            Syntax::Unchecked => (false, "is not supported"),
        };
        if is_right { Ok(()) } else { Err(expected) }
    }
}

const METADATA_TYPES: &[&str] = &[
    "DYNAMIC",
    "CLUSTER",
    "ROUTE",
    "UPSTREAM_HOST",
    "LISTENER",
    "LISTENER_FILTER_CHAIN",
    "VIRTUAL_HOST",
];

fn is_one_of(parameters: &str, values: &[&str]) -> bool {
    parameters.is_empty() || values.contains(&parameters)
}

/// The first of parameters that colons separate.
fn first(parameters: &str) -> &str {
    parameters.split(':').next().unwrap_or_default()
}

fn is_headers(parameters: &str) -> bool {
    let is_name = |name: &str| {
        let name = name.strip_prefix(':').unwrap_or(name);
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.!#$&'*+^`|~".contains(&byte))
    };
    match parameters.split_once('?') {
        None => is_name(parameters),
        Some((header, alternative)) => is_name(header) && is_name(alternative),
    }
}

/// True if `strftime` would write the end of a line: `%n`, also with flags, width and modifier.
fn breaks_line(format: &str) -> bool {
    format.match_indices('%').any(|(index, sign)| {
        let specifier = format.get(index + sign.len()..).unwrap_or_default();
        let conversion = specifier
            .trim_start_matches(['-', '_', '0', '^', '#'])
            .trim_start_matches(|c: char| ('1'..='9').contains(&c));
        conversion.starts_with('n') || conversion.starts_with("En") || conversion.starts_with("On")
    })
}

fn is_filter_state(parameters: &str) -> bool {
    let parts: Vec<_> = parameters.split(':').collect();
    match parts.as_slice() {
        [key] | [key, "PLAIN" | "TYPED"] => !key.is_empty(),
        [key, "FIELD", field] => !key.is_empty() && !field.is_empty(),
        _ => false,
    }
}

fn is_duration(parameters: &str) -> bool {
    let parts: Vec<_> = parameters.split(':').collect();
    match parts.as_slice() {
        [from, to] | [from, to, "ms" | "us" | "ns"] => !from.is_empty() && !to.is_empty(),
        _ => false,
    }
}

fn is_path(parameters: &str) -> bool {
    let (query, which) = parameters.split_once(':').unwrap_or((parameters, ""));
    is_one_of(query, &["WQ", "NQ"]) && is_one_of(which, &["ORIG", "PATH", "ORIG_OR_PATH"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_is_found_and_found_once() {
        assert!(PLAIN_OPERATORS.is_sorted());
        for name in PLAIN_OPERATORS {
            assert_eq!(syntax(name), Some(Syntax::Plain), "{name}");
        }
    }

    #[test]
    fn parameters_are_those_that_envoy_takes() {
        let takes = |name: &str, parameters: &str, has_length: bool| {
            syntax(name).is_some_and(|syntax| syntax.check(parameters, has_length).is_ok())
        };
        for (name, right, wrong) in [
            ("DURATION", &[""][..], &["x"][..]),
            (
                "REQ",
                &[":METHOD", "X-A?:PATH"],
                &["", "a b", "a:b", "a?b?c", "::a", "a?"],
            ),
            (
                "START_TIME",
                &["", "%Y/%m", "%3f", "%E9S"],
                &["%n", "a%-5n", "%En", "%%n"],
            ),
            ("DYNAMIC_METADATA", &["a:b"], &[""]),
            ("CLUSTER_METADATA", &["a"], &[""]),
            ("METADATA", &["ROUTE:a", "ROUTE"], &["", "NO:a", "route"]),
            (
                "FILTER_STATE",
                &["a", "a:PLAIN", "a:FIELD:b"],
                &["", ":PLAIN", "a:NO", "a:FIELD:", "a:PLAIN:b"],
            ),
            (
                "COMMON_DURATION",
                &["A:B", "A:B:us"],
                &["", "A", "A:B:s", ":B", "A:B:ms:x"],
            ),
            ("GRPC_STATUS", &["", "NUMBER"], &["number"]),
            ("PATH", &["", "WQ", "NQ:ORIG", ":PATH"], &["ORIG", "WQ:NO", "WQ:ORIG:x"]),
            ("QUERY_PARAMS", &["", "ORIG"], &["x"]),
            ("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", &["", "24"], &["129", "-1", "x"]),
        ] {
            for parameters in right {
                assert!(takes(name, parameters, false), "{name}({parameters})");
            }
            for parameters in wrong {
                assert!(!takes(name, parameters, false), "{name}({parameters})");
            }
        }
        for name in ["REQ", "DYNAMIC_METADATA", "FILTER_STATE"] {
            assert!(takes(name, "x", true), "{name}");
        }
        for name in [
            "DURATION",
            "START_TIME",
            "GRPC_STATUS",
            "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        ] {
            assert!(!takes(name, "", true), "{name}");
        }
        assert!(!takes("CLUSTER_METADATA", "a", true));
        assert_eq!(syntax("NOPE"), None);
    }
}
