//! Where collectors of logs, traces and metrics listen: `host:port`, or a URL.

use std::net::Ipv6Addr;

use crate::violation::Violations;

/// A host and, if one is written, a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// An IP address, without the brackets of IPv6, or a DNS name.
    pub host: &'a str,
    /// A port; absent means the usual one of the protocol.
    pub port: Option<u16>,
}

impl<'a> Endpoint<'a> {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            let port = match after {
                "" => None,
                after => Some(read_port(after.strip_prefix(':')?)?),
            };
            return Some(Self { host, port });
        }
        let (host, port) = match text.split_once(':') {
            None => (text, None),
            Some((host, port)) => (host, Some(read_port(port)?)),
        };
        // Names of containers have underscores, and resolve.
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        (!host.is_empty() && host.chars().all(in_name)).then_some(Self { host, port })
    }
}

fn read_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// A URL, taken apart as far as confs need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'a> {
    /// Before `://`, such as `http`.
    pub scheme: &'a str,
    /// Where it leads.
    pub endpoint: Endpoint<'a>,
    /// Path, query and fragment; empty if there is none.
    pub path: &'a str,
}

impl<'a> Url<'a> {
    /// Reads `scheme://host[:port][/path]`; user names and passwords are not accepted.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let clean = |c: char| c.is_ascii_graphic();
        (!scheme.is_empty() && path.chars().all(clean)).then_some(Self {
            scheme,
            endpoint: Endpoint::parse(authority)?,
            path,
        })
    }

    /// True for `http` and `https`.
    pub fn is_http(&self) -> bool {
        matches!(self.scheme, "http" | "https")
    }
}

/// An endpoint must be set, and be a host with an optional port.
pub fn check_endpoint(endpoint: Option<&str>, path: String, violations: &mut Violations) {
    match endpoint.unwrap_or_default() {
        "" => violations.add(path, "must be defined, for example \"otel-collector:4317\""),
        text if Endpoint::parse(text).is_none() => violations.add(
            path,
            format!("is \"{text}\", must be a host and a port without a scheme, for example \"otel-collector:4317\""),
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn endpoints_are_hosts_with_or_without_a_port() {
        let parsed = |text| Endpoint::parse(text).map(|endpoint| (endpoint.host, endpoint.port));
        assert_eq!(parsed("otel"), Some(("otel", None)));
        assert_eq!(parsed("otel_1.mesh:4317"), Some(("otel_1.mesh", Some(4317))));
        assert_eq!(parsed("10.0.0.1:1"), Some(("10.0.0.1", Some(1))));
        assert_eq!(parsed("[::1]:4317"), Some(("::1", Some(4317))));
        assert_eq!(parsed("[fd00::7]"), Some(("fd00::7", None)));
        for wrong in [
            "",
            ":1",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a:b",
            "a b",
            "::1",
            "[::1",
            "[::1]4317",
            "[a]:1",
            "http://a:1",
            "a/b",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("http://zipkin:9411/api/v2/spans?x=1#y").unwrap();
        assert_eq!(
            (url.scheme, url.endpoint.host, url.endpoint.port),
            ("http", "zipkin", Some(9411))
        );
        assert_eq!(url.path, "/api/v2/spans?x=1#y");
        assert!(url.is_http());
        assert_eq!(Url::parse("https://[::1]?q").unwrap().path, "?q");
        for wrong in [
            "zipkin:9411",
            "://a",
            "http://",
            "http://user@a",
            "http://a/ b",
            "http://a/é",
        ] {
            assert_eq!(Url::parse(wrong), None, "{wrong}");
        }
    }
}
