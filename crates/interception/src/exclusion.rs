//! The small languages of exclusions: ports, user ids, networks.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::Error;
use crate::rule::Protocol;

/// One port or an inclusive range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port, equal to `first` for a single one.
    pub last: u16,
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}:{}", self.first, self.last)
        }
    }
}

impl PortRange {
    /// Whether `port` is one of the range.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Reads `80` or `8000-8010`.
    pub fn parse(field: &str, text: &str) -> Result<Self, Error> {
        let wrong = || Error::invalid(field, text, "is not a port (1-65535) or a range such as 8000-8010");
        let port = |part: &str| {
            let port: u16 = part.trim().parse().map_err(|_| wrong())?;
            if port == 0 { Err(wrong()) } else { Ok(port) }
        };
        let range = match text.split_once('-') {
            Some((first, last)) => Self {
                first: port(first)?,
                last: port(last)?,
            },
            None => Self::from(port(text)?),
        };
        if range.first > range.last {
            return Err(Error::invalid(
                field,
                text,
                "is a range whose end lies before its start",
            ));
        }
        Ok(range)
    }

    /// Reads each entry.
    pub fn parse_all(field: &str, texts: &[String]) -> Result<Vec<Self>, Error> {
        texts.iter().map(|text| Self::parse(field, text)).collect()
    }
}

/// Traffic of certain users to certain ports that is not intercepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UidExclusion {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Destination ports; empty means all.
    pub ports: Vec<PortRange>,
    /// User id or range of ids, as iptables reads it: `1000` or `1000-1010`.
    pub uids: String,
}

impl UidExclusion {
    /// Reads `[[protocol:]ports:]uids`: `1000`, `22:1000-1010`, `tcp:80,8000-8010:1000`, `*:*:1000`. Without a protocol both are meant.
    pub fn parse(field: &str, text: &str) -> Result<Vec<Self>, Error> {
        let parts: Vec<&str> = text.split(':').map(str::trim).collect();
        let (protocol, ports, uids) = match parts.as_slice() {
            [uids] => ("*", "*", *uids),
            [ports, uids] => ("*", *ports, *uids),
            [protocol, ports, uids] => (*protocol, *ports, *uids),
            _ => return Err(Error::invalid(field, text, "is not of the form protocol:ports:uids")),
        };
        let protocols = match protocol {
            "tcp" => vec![Protocol::Tcp],
            "udp" => vec![Protocol::Udp],
            "*" | "" => vec![Protocol::Tcp, Protocol::Udp],
            _ => return Err(Error::invalid(field, text, "names a protocol other than tcp, udp or *")),
        };
        let ports = if ports == "*" || ports.is_empty() {
            Vec::new()
        } else {
            ports
                .split(',')
                .map(|port| PortRange::parse(field, port))
                .collect::<Result<Vec<_>, _>>()?
        };
        let slots: usize = ports.iter().map(|p| if p.first == p.last { 1 } else { 2 }).sum();
        if slots > 15 {
            return Err(Error::invalid(
                field,
                text,
                "lists more than 15 ports (a range counts as two), split it into several entries",
            ));
        }
        let uids = parse_uids(field, text, uids)?;
        Ok(protocols
            .into_iter()
            .map(|protocol| Self {
                protocol,
                ports: ports.clone(),
                uids: uids.clone(),
            })
            .collect())
    }
}

fn parse_uids(field: &str, text: &str, uids: &str) -> Result<String, Error> {
    let wrong = || {
        Error::invalid(
            field,
            text,
            "has no user id or range of ids such as 1000-1010 at its end",
        )
    };
    let (first, last) = uids.split_once('-').unwrap_or((uids, uids));
    let first: u32 = first.parse().map_err(|_| wrong())?;
    let last: u32 = last.parse().map_err(|_| wrong())?;
    if first > last {
        return Err(Error::invalid(
            field,
            text,
            "is a range of user ids whose end lies before its start",
        ));
    }
    Ok(if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    })
}

/// A bridge of virtual machines or containers whose traffic is intercepted too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualNetwork {
    /// Interface name, for example `docker0`.
    pub interface: String,
    /// Addresses behind it; traffic between them is left alone.
    pub cidr: IpNet,
}

impl VirtualNetwork {
    /// Reads `docker0:172.17.0.0/16`.
    pub fn parse(field: &str, text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::invalid(
                field,
                text,
                "is not of the form interface:CIDR, for example docker0:172.17.0.0/16",
            )
        };
        let (interface, cidr) = text.split_once(':').ok_or_else(wrong)?;
        // The name ends up in a line of iptables-restore: nothing that could start another argument may pass.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@');
        if interface.is_empty() || interface.len() > 15 || interface.starts_with('-') || !interface.chars().all(plain) {
            return Err(Error::invalid(
                field,
                text,
                "does not start with the name of a network interface",
            ));
        }
        let cidr: IpNet = cidr.parse().map_err(|_| wrong())?;
        Ok(Self {
            interface: interface.to_owned(),
            cidr: cidr.trunc(),
        })
    }
}

/// Reads an address or a CIDR; an address becomes a network of one.
pub fn parse_network(field: &str, text: &str) -> Result<IpNet, Error> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    text.parse::<IpNet>()
        .map(|net| net.trunc())
        .map_err(|_| Error::invalid(field, text, "is not an IP address or CIDR"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn ports_and_ranges() {
        assert_eq!(PortRange::parse("f", "80").unwrap().to_string(), "80");
        assert_eq!(PortRange::parse("f", "8000-8010").unwrap().to_string(), "8000:8010");
        for bad in ["0", "65536", "-1", "", "8010-8000", "http", "1-2-3"] {
            let message = PortRange::parse("redirect.inbound.excludePorts", bad)
                .unwrap_err()
                .to_string();
            assert!(
                message.starts_with(&format!("redirect.inbound.excludePorts: {bad:?}")),
                "{message}"
            );
        }
    }

    #[test]
    fn uid_exclusions() {
        let one = UidExclusion::parse("f", "tcp:80,8000-8010:1000-1010").unwrap();
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].uids, "1000-1010");
        assert_eq!(one[0].ports.len(), 2);
        assert_eq!(UidExclusion::parse("f", "1000").unwrap().len(), 2);
        assert_eq!(UidExclusion::parse("f", "*:*:1000").unwrap()[0].ports, []);
        let many = format!(
            "tcp:{}:1",
            (1..=16).map(|p| p.to_string()).collect::<Vec<_>>().join(",")
        );
        for bad in [
            "",
            "tcp:80:",
            "sctp:80:1",
            "tcp:x:1",
            "a:b:c:d",
            "5-1",
            "tcp:80:root",
            many.as_str(),
        ] {
            assert!(UidExclusion::parse("f", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks() {
        assert_eq!(parse_network("f", "10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(parse_network("f", "10.0.0.1/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(parse_network("f", "fd00::1").unwrap().to_string(), "fd00::1/128");
        assert!(parse_network("f", "10.0.0.1/33").is_err());
        assert!(VirtualNetwork::parse("f", "docker0:172.17.0.0/16").is_ok());
        for bad in [
            "docker0",
            "docker0:x",
            ":10.0.0.0/8",
            "a b:10.0.0.0/8",
            "-j:10.0.0.0/8",
            "a\nb:10.0.0.0/8",
        ] {
            assert!(VirtualNetwork::parse("f", bad).is_err(), "{bad}");
        }
    }
}
