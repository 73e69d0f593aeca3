//! MeshPassthrough (`spec/policies.md` §2.15): traffic to destinations that the mesh does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::kinds::check_port;
use crate::name;
use crate::policy::values::required;
use crate::policy::{Conf as PolicyConf, Place, PolicyKind, PolicySpec};
use crate::violation::Violations;

/// Traffic to destinations outside the mesh.
pub type MeshPassthrough = PolicySpec<Conf>;

/// What may leave the mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    /// How much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passthrough_mode: Option<Mode>,
    /// With [`Mode::Matched`], what; the lists of several policies are joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append_match: Option<Vec<Match>>,
}

/// How much may leave the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Everything.
    All,
    /// Nothing.
    None,
    /// What the matches say.
    Matched,
}

/// Destinations outside the mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Match {
    /// What `value` is.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub what: Option<MatchType>,
    /// A domain, an address or a network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The port that clients use; all of them if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// What is spoken there; `tcp` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

/// What the value of a match is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchType {
    /// A DNS name, or `*.` and a DNS name.
    Domain,
    /// An address.
    IP,
    /// A network.
    CIDR,
}

/// What is spoken with a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Bytes, told apart by address.
    #[default]
    Tcp,
    /// TLS, told apart by server name.
    Tls,
    /// gRPC.
    Grpc,
    /// HTTP/1.1.
    Http,
    /// HTTP/2.
    Http2,
    /// MySQL, where the server speaks first.
    Mysql,
}

impl Protocol {
    /// The name as written.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Tls => "tls",
            Protocol::Grpc => "grpc",
            Protocol::Http => "http",
            Protocol::Http2 => "http2",
            Protocol::Mysql => "mysql",
        }
    }

    /// True for protocols with requests.
    pub fn has_requests(self) -> bool {
        matches!(self, Protocol::Grpc | Protocol::Http | Protocol::Http2)
    }
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshPassthrough;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        let mut seen = BTreeSet::new();
        let mut protocol_of_port = BTreeMap::new();
        for (index, found) in self.append_match.iter().flatten().enumerate() {
            let path = format!("{}[{index}]", place.field("appendMatch"));
            found.check(&path, violations);
            let protocol = found.protocol.unwrap_or_default();
            if let Some(value) = found.value.as_deref().filter(|value| !value.is_empty())
                && !seen.insert((found.port, protocol, value))
            {
                violations.add(
                    format!("{path}.value"),
                    format!(
                        "is \"{value}\", which an earlier match has with the same port and protocol; remove one of them"
                    ),
                );
            }
            if protocol.has_requests() {
                let first = *protocol_of_port.entry(found.port).or_insert(protocol);
                if first != protocol {
                    violations.add(
                        format!("{path}.protocol"),
                        format!(
                            "is {}, must be {} as in an earlier match of the same port: requests of one port are read in one way",
                            protocol.name(),
                            first.name()
                        ),
                    );
                }
            }
        }
    }
}

impl Match {
    fn check(&self, path: &str, violations: &mut Violations) {
        required(self.what.is_some(), format!("{path}.type"), violations);
        if let Some(port) = self.port {
            check_port(port, format!("{path}.port"), violations);
        }
        let protocol = self.protocol.unwrap_or_default();
        if protocol == Protocol::Mysql && self.port.is_none() {
            violations.add(format!("{path}.port"), "must be defined with protocol mysql");
        }
        let value = self.value.as_deref().unwrap_or_default();
        let value_path = format!("{path}.value");
        if value.is_empty() {
            violations.add(value_path, "must be defined");
            return;
        }
        match self.what {
            Some(MatchType::Domain) => self.check_domain(value, path, violations),
            Some(MatchType::IP) if value.parse::<IpAddr>().is_err() => {
                violations.add(value_path, format!("is \"{value}\", must be an IP address"));
            }
            Some(MatchType::CIDR) if value.parse::<IpNet>().is_err() => violations.add(
                value_path,
                format!("is \"{value}\", must be a network such as 10.0.0.0/8"),
            ),
            _ => {}
        }
    }

    fn check_domain(&self, value: &str, path: &str, violations: &mut Violations) {
        let protocol = self.protocol.unwrap_or_default();
        if matches!(protocol, Protocol::Tcp | Protocol::Mysql) {
            violations.add(
                format!("{path}.protocol"),
                format!(
                    "is {}, whose connections do not say which domain they are for; must be tls, http, http2 or grpc, or the match of type IP or CIDR",
                    protocol.name()
                ),
            );
        }
        let wildcard = value.strip_prefix("*.");
        if name::check_subdomain(&wildcard.unwrap_or(value).to_ascii_lowercase()).is_err() {
            violations.add(
                format!("{path}.value"),
                format!("is \"{value}\", must be a DNS name, or \"*.\" and a DNS name"),
            );
        }
        if wildcard.is_some() && protocol.has_requests() && self.port.is_none() {
            violations.add(
                format!("{path}.port"),
                format!("must be defined for a wildcard with protocol {}", protocol.name()),
            );
        }
    }
}
