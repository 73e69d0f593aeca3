//! Settings after validation: everything that a rule needs, in types that cannot be wrong.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::error::Error;
use crate::exclusion::{PortRange, UidExclusion, VirtualNetwork, parse_network};
use crate::rule::Family;
use crate::settings::{Settings, TrafficSettings};

const SSH_PORT: u16 = 22;

/// How Envoy's own sockets are told from the application's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// They belong to this user.
    Uid(u32),
    /// They carry this `SO_MARK`.
    Mark(u32),
}

/// IP versions that are intercepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpFamilyMode {
    /// Both.
    DualStack,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}

impl IpFamilyMode {
    /// The families, IPv4 first.
    pub fn families(self) -> &'static [Family] {
        match self {
            Self::DualStack => &[Family::Ipv4, Family::Ipv6],
            Self::Ipv4 => &[Family::Ipv4],
            Self::Ipv6 => &[Family::Ipv6],
        }
    }
}

/// One direction of the application's traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// Whether it is intercepted.
    pub enabled: bool,
    /// Envoy's port.
    pub port: u16,
    /// Only these ports, if any.
    pub include_ports: Vec<PortRange>,
    /// Not these ports, even if they are among `include_ports`.
    pub exclude_ports: Vec<PortRange>,
    /// Not these sources (inbound) or destinations (outbound).
    pub exclude_networks: Vec<IpNet>,
    /// Jump at the head of the built-in chain rather than at its end.
    pub insert: bool,
}

impl Traffic {
    /// Whether new connections to `port` are led to Envoy.
    pub fn intercepts(&self, port: u16) -> bool {
        let among = |ranges: &[PortRange]| ranges.iter().any(|range| range.contains(port));
        self.enabled && !among(&self.exclude_ports) && (self.include_ports.is_empty() || among(&self.include_ports))
    }
}

/// Traffic that the application sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// What both directions have.
    pub traffic: Traffic,
    /// Traffic of other users that is left alone.
    pub exclude_uids: Vec<UidExclusion>,
}

/// Interception of the application's queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// The agent's port.
    pub port: u16,
    /// Servers whose queries are intercepted; `None` means any.
    pub servers: Option<Vec<IpAddr>>,
    /// Keep the application's and the agent's own queries apart in conntrack.
    pub conntrack_zone_split: bool,
}

/// Everything that rules are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Envoy's sockets.
    pub owner: Owner,
    /// IP versions.
    pub ip_family_mode: IpFamilyMode,
    /// Traffic to the application.
    pub inbound: Traffic,
    /// Traffic of the application.
    pub outbound: Outbound,
    /// Queries of the application.
    pub dns: Option<Dns>,
    /// Bridges whose traffic is intercepted as well.
    pub virtual_networks: Vec<VirtualNetwork>,
    /// syslog level if packets are logged.
    pub log_level: Option<u8>,
    /// Drop packets that conntrack finds invalid.
    pub drop_invalid_packets: bool,
    /// Whether rules carry comments.
    pub comments: bool,
}

impl Config {
    /// Validates `settings`. `owner` and `name_servers` are facts of the host.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the path and the value of the first setting that is wrong.
    pub fn new(settings: &Settings, owner: Owner, name_servers: &[IpAddr]) -> Result<Self, Error> {
        if settings.store_firewalld {
            return Err(Error::invalid(
                "storeFirewalld",
                true,
                "is not supported: install the rules at boot instead, for example from a systemd unit",
            ));
        }
        let redirect = &settings.redirect;
        if !redirect.inbound.exclude_ports_for_uids.is_empty() {
            return Err(Error::invalid(
                "redirect.inbound.excludePortsForUIDs",
                redirect.inbound.exclude_ports_for_uids.join(";"),
                "cannot work: the kernel does not know the user that sent an incoming packet",
            ));
        }
        let mut exclude_uids = Vec::new();
        for text in &redirect.outbound.exclude_ports_for_uids {
            exclude_uids.extend(UidExclusion::parse("redirect.outbound.excludePortsForUIDs", text)?);
        }
        let config = Self {
            owner,
            ip_family_mode: ip_family_mode(&settings.ip_family_mode)?,
            inbound: traffic("redirect.inbound", &redirect.inbound)?,
            outbound: Outbound {
                traffic: traffic("redirect.outbound", &redirect.outbound)?,
                exclude_uids,
            },
            dns: dns(settings, name_servers)?,
            virtual_networks: redirect
                .vnet
                .networks
                .iter()
                .map(|text| VirtualNetwork::parse("redirect.vnet.networks", text))
                .collect::<Result<_, _>>()?,
            log_level: log_level(settings)?,
            drop_invalid_packets: settings.drop_invalid_packets,
            comments: !settings.comments.disabled,
        };
        config.check_ports_differ()?;
        Ok(config)
    }

    /// What a user should know before these rules are in force: `families` are those that are intercepted on this host, `ssh_port` is the
    /// one through which the user is logged in.
    pub(crate) fn warnings(&self, families: &[Family], ssh_port: Option<u16>) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut ssh_ports = vec![SSH_PORT];
        ssh_ports.extend(ssh_port.filter(|port| *port != SSH_PORT));
        for port in ssh_ports.into_iter().filter(|port| self.inbound.intercepts(*port)) {
            warnings.push(format!(
                "new connections to port {port} (SSH) are led to Envoy: while the agent does not run nobody can log in there, \
                 though open sessions go on; leave the port alone with --exclude-inbound-ports {port}"
            ));
        }
        if self.dns.is_some() && !self.virtual_networks.is_empty() {
            warnings.push(
                "queries of virtual networks arrive at the address of their interface: run the agent with --dns-proxy-address 0.0.0.0, else they \
                 are refused"
                    .to_owned(),
            );
        }
        let servers = self.dns.as_ref().and_then(|dns| dns.servers.as_ref());
        let (asked, missed): (Vec<IpAddr>, Vec<IpAddr>) = servers
            .into_iter()
            .flatten()
            .partition(|server| families.iter().any(|family| family.has(&IpNet::from(**server))));
        if !missed.is_empty() {
            let missed: Vec<String> = missed.iter().map(ToString::to_string).collect();
            let consequence = if asked.is_empty() {
                "no query is intercepted and no name of the mesh resolves"
            } else {
                "names of the mesh do not resolve when they are asked"
            };
            let intercepted: Vec<&str> = families.iter().map(|family| family.name()).collect();
            warnings.push(format!(
                "queries to the name servers {} are not intercepted, since only {} traffic is: {consequence}; give the host name servers of \
                 an intercepted IP version, or choose another --ip-family-mode",
                missed.join(", "),
                intercepted.join(" and ")
            ));
        }
        warnings
    }

    fn check_ports_differ(&self) -> Result<(), Error> {
        if self.inbound.port == self.outbound.traffic.port {
            return Err(Error::invalid(
                "redirect.inbound.port",
                self.inbound.port,
                "is also redirect.outbound.port: Envoy needs two different ports",
            ));
        }
        Ok(())
    }
}

fn ip_family_mode(text: &str) -> Result<IpFamilyMode, Error> {
    match text {
        "dualstack" => Ok(IpFamilyMode::DualStack),
        "ipv4" => Ok(IpFamilyMode::Ipv4),
        "ipv6" => Ok(IpFamilyMode::Ipv6),
        _ => Err(Error::invalid("ipFamilyMode", text, "is not dualstack, ipv4 or ipv6")),
    }
}

fn port(field: &str, value: u32) -> Result<u16, Error> {
    u16::try_from(value)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| Error::invalid(field, value, "is out of range, a port is 1-65535"))
}

fn traffic(path: &str, settings: &TrafficSettings) -> Result<Traffic, Error> {
    let networks_field = format!("{path}.excludePortsForIPs");
    Ok(Traffic {
        enabled: settings.enabled,
        port: port(&format!("{path}.port"), settings.port)?,
        include_ports: PortRange::parse_all(&format!("{path}.includePorts"), &settings.include_ports.0)?,
        exclude_ports: PortRange::parse_all(&format!("{path}.excludePorts"), &settings.exclude_ports.0)?,
        exclude_networks: settings
            .exclude_ports_for_ips
            .iter()
            .map(|text| parse_network(&networks_field, text))
            .collect::<Result<_, _>>()?,
        insert: settings.insert_redirect_instead_of_append,
    })
}

fn dns(settings: &Settings, name_servers: &[IpAddr]) -> Result<Option<Dns>, Error> {
    let dns = &settings.redirect.dns;
    if !dns.enabled && !dns.capture_all {
        return Ok(None);
    }
    if !dns.capture_all && name_servers.is_empty() {
        return Err(Error::invalid(
            "redirect.dns.resolvConfigPath",
            &dns.resolv_config_path,
            "names no name server: correct it or capture all queries with --redirect-all-dns-traffic",
        ));
    }
    Ok(Some(Dns {
        port: port("redirect.dns.port", dns.port)?,
        servers: (!dns.capture_all).then(|| name_servers.to_vec()),
        conntrack_zone_split: !dns.skip_conntrack_zone_split,
    }))
}

fn log_level(settings: &Settings) -> Result<Option<u8>, Error> {
    if settings.log.level > 7 {
        return Err(Error::invalid(
            "log.level",
            settings.log.level,
            "is not a syslog level (0-7)",
        ));
    }
    Ok(settings.log.enabled.then_some(settings.log.level))
}

/// Reads `2s`, `500ms`, `1m`.
pub fn parse_duration(field: &str, text: &str) -> Result<Duration, Error> {
    let wrong = || Error::invalid(field, text, "is not a duration such as 500ms, 2s or 1m");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return Err(wrong()),
    };
    Ok(unit * number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    fn error(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        Config::new(&settings, Owner::Uid(5678), &[]).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_valid() {
        let config = Config::new(&Settings::default(), Owner::Uid(5678), &[]).unwrap();
        assert_eq!((config.inbound.port, config.outbound.traffic.port), (15006, 15001));
        assert_eq!(config.dns, None);
    }

    #[test]
    fn wrong_values_are_named() {
        assert_eq!(
            error(|s| s.redirect.inbound.port = 70000),
            "redirect.inbound.port: \"70000\" is out of range, a port is 1-65535"
        );
        assert!(error(|s| s.redirect.outbound.port = 0).starts_with("redirect.outbound.port: \"0\""));
        assert!(error(|s| s.redirect.outbound.port = 15006).contains("two different ports"));
        assert!(error(|s| s.ip_family_mode = "ipv5".into()).starts_with("ipFamilyMode: \"ipv5\""));
        assert!(error(|s| s.redirect.dns.enabled = true).contains("names no name server"));
        assert!(error(|s| s.redirect.inbound.exclude_ports_for_uids = vec!["1".into()]).contains("incoming"));
        assert!(
            error(|s| s.redirect.outbound.exclude_ports_for_ips = vec!["x".into()])
                .starts_with("redirect.outbound.excludePortsForIPs: \"x\"")
        );
        assert!(error(|s| s.store_firewalld = true).starts_with("storeFirewalld"));
        assert!(error(|s| s.log.level = 8).starts_with("log.level"));
    }

    #[test]
    fn dangers_are_named() {
        let families = [Family::Ipv4];
        let warnings = |change: &dyn Fn(&mut Settings), name_servers: &[&str], ssh_port| {
            let mut settings = Settings::default();
            change(&mut settings);
            let name_servers: Vec<IpAddr> = name_servers.iter().map(|server| server.parse().unwrap()).collect();
            let config = Config::new(&settings, Owner::Uid(5678), &name_servers).unwrap();
            config.warnings(&families, ssh_port)
        };
        let ports = |list: &str| crate::settings::Ports(list.split(',').map(str::to_owned).collect());
        let ssh = warnings(&|_| {}, &[], Some(2222));
        assert!(ssh[0].contains("--exclude-inbound-ports 22") && ssh[1].contains("--exclude-inbound-ports 2222"));
        assert!(warnings(&|s| s.redirect.inbound.exclude_ports = ports("20-30"), &[], Some(22)).is_empty());
        assert!(warnings(&|s| s.redirect.inbound.include_ports = ports("80"), &[], None).is_empty());
        assert!(warnings(&|s| s.redirect.inbound.enabled = false, &[], None).is_empty());

        let dns = |s: &mut Settings| {
            s.redirect.inbound.enabled = false;
            s.redirect.dns.enabled = true;
        };
        assert!(warnings(&dns, &["10.0.0.1"], None).is_empty());
        let some = warnings(&dns, &["10.0.0.1", "fd00::1"], None);
        assert!(
            some[0].contains("servers fd00::1 are not") && some[0].contains("when they are asked"),
            "{some:?}"
        );
        let bridge = |s: &mut Settings| {
            dns(s);
            s.redirect.vnet.networks = vec!["docker0:172.17.0.0/16".to_owned()];
        };
        assert!(
            warnings(&bridge, &["10.0.0.1"], None)
                .concat()
                .contains("--dns-proxy-address 0.0.0.0")
        );
        let none = warnings(&dns, &["fd00::1"], None);
        assert!(
            none[0].contains("only IPv4") && none[0].contains("no name of the mesh resolves"),
            "{none:?}"
        );
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("f", "2s").unwrap(), Duration::from_secs(2));
        assert_eq!(parse_duration("f", "500ms").unwrap(), Duration::from_millis(500));
        for bad in ["", "2", "s", "-1s", "1h", "99999999999s"] {
            assert!(parse_duration("f", bad).is_err(), "{bad}");
        }
    }
}
