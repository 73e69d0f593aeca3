//! iptables rules as values, and their text.
//!
//! The text has the form that `iptables-save` prints (order of matches, prefix lengths, `-m tcp`), so that an installed rule can be
//! recognised by comparing text, and that `iptables-restore --noflush` reads.

use std::fmt;

use ipnet::IpNet;

use crate::exclusion::PortRange;

/// Prefix of the comment that every rule of ours carries.
pub const COMMENT_PREFIX: &str = "kuma/mesh/transparent/proxy/";
/// Prefix of the names of all chains of ours.
pub const CHAIN_PREFIX: &str = "KUMA_MESH_";

/// `--syn` as it is saved.
const SYN: &str = "--tcp-flags FIN,SYN,RST,ACK SYN";

/// IP version that a rule set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// `iptables`
    Ipv4,
    /// `ip6tables`
    Ipv6,
}

impl Family {
    /// Whether `net` belongs to this family.
    pub fn has(self, net: &IpNet) -> bool {
        matches!((self, net), (Self::Ipv4, IpNet::V4(_)) | (Self::Ipv6, IpNet::V6(_)))
    }

    /// `IPv4` or `IPv6`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }
}

/// iptables table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Before connection tracking; selects conntrack zones.
    Raw,
    /// Drops invalid packets.
    Mangle,
    /// Redirection.
    Nat,
}

impl Table {
    /// All tables that may hold rules of ours, in the order in which they are installed.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Mangle, Self::Nat];

    /// Name as iptables writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
            Self::Nat => "nat",
        }
    }
}

/// Transport protocol of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

impl Protocol {
    /// Name as iptables writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A condition. Within a rule the order must be: addresses, interfaces, protocol, the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// `-s`
    Source(IpNet),
    /// `-d`
    Destination(IpNet),
    /// `! -d`
    NotDestination(IpNet),
    /// `-i`
    InInterface(String),
    /// `-o`
    OutInterface(&'static str),
    /// `-p`
    Protocol(Protocol),
    /// `-m tcp --syn`, in the form in which it is saved: the first packet of a TCP connection.
    OpensConnection,
    /// The first packet of a TCP connection to this port.
    OpensConnectionTo(u16),
    /// `-m tcp --dport`
    DestinationPort(Protocol, PortRange),
    /// `-m tcp ! --dport`
    NotDestinationPort(Protocol, u16),
    /// `-m udp --sport`
    SourcePort(Protocol, u16),
    /// `-m multiport --dports`; at most 15 ports, a range counts as two.
    DestinationPorts(Vec<PortRange>),
    /// `-m owner --uid-owner`, an id or a range `first-last`
    OwnerUid(String),
    /// `-m owner ! --uid-owner`
    NotOwnerUid(u32),
    /// `-m mark --mark`
    Mark(u32),
    /// `-m mark ! --mark`
    NotMark(u32),
    /// `-m addrtype ! --dst-type LOCAL`: not to an address of this host
    ToOtherHost,
    /// `-m conntrack --ctstate INVALID`
    InvalidState,
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(net) => write!(f, "-s {net}"),
            Self::Destination(net) => write!(f, "-d {net}"),
            Self::NotDestination(net) => write!(f, "! -d {net}"),
            Self::InInterface(name) => write!(f, "-i {name}"),
            Self::OutInterface(name) => write!(f, "-o {name}"),
            Self::Protocol(protocol) => write!(f, "-p {}", protocol.name()),
            Self::OpensConnection => write!(f, "-m tcp {SYN}"),
            Self::OpensConnectionTo(port) => write!(f, "-m tcp --dport {port} {SYN}"),
            Self::DestinationPort(protocol, ports) => {
                write!(f, "-m {} --dport {ports}", protocol.name())
            }
            Self::NotDestinationPort(protocol, port) => {
                write!(f, "-m {} ! --dport {port}", protocol.name())
            }
            Self::SourcePort(protocol, port) => write!(f, "-m {} --sport {port}", protocol.name()),
            Self::DestinationPorts(ports) => {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                write!(f, "-m multiport --dports {}", ports.join(","))
            }
            Self::OwnerUid(uids) => write!(f, "-m owner --uid-owner {uids}"),
            Self::NotOwnerUid(uid) => write!(f, "-m owner ! --uid-owner {uid}"),
            Self::Mark(mark) => write!(f, "-m mark --mark {mark:#x}"),
            Self::NotMark(mark) => write!(f, "-m mark ! --mark {mark:#x}"),
            Self::ToOtherHost => write!(f, "-m addrtype ! --dst-type LOCAL"),
            Self::InvalidState => write!(f, "-m conntrack --ctstate INVALID"),
        }
    }
}

/// What happens to a packet that meets all conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Leave the chain.
    Return,
    /// Drop the packet.
    Drop,
    /// Continue in a user-defined chain.
    Chain(&'static str),
    /// Redirect to a local port.
    Redirect(u16),
    /// Track the connection in this conntrack zone.
    ConntrackZone(u16),
    /// Track packets of the direction in which the connection was opened in this conntrack zone, and answers in the usual one.
    ConntrackZoneOfOrigin(u16),
    /// Write to the kernel log and go on.
    Log {
        /// Text before each line.
        prefix: &'static str,
        /// syslog level.
        level: u8,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return => write!(f, "-j RETURN"),
            Self::Drop => write!(f, "-j DROP"),
            Self::Chain(name) => write!(f, "-j {name}"),
            Self::Redirect(port) => write!(f, "-j REDIRECT --to-ports {port}"),
            Self::ConntrackZone(zone) => write!(f, "-j CT --zone {zone}"),
            Self::ConntrackZoneOfOrigin(zone) => write!(f, "-j CT --zone-orig {zone}"),
            Self::Log { prefix, level } => {
                write!(f, "-j LOG --log-prefix \"{prefix}\" --log-level {level}")
            }
        }
    }
}

/// Where in its chain a rule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the end.
    Append,
    /// At this position, counted from 1.
    Insert(u32),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Chain that holds it.
    pub chain: &'static str,
    /// Where in the chain.
    pub place: Place,
    /// All conditions.
    pub matches: Vec<Match>,
    /// What happens.
    pub target: Target,
    /// Why the rule exists, without the prefix `kuma/mesh/transparent/proxy/`; `None` leaves the comment out.
    pub comment: Option<&'static str>,
}

impl Rule {
    /// The same rule without its comment.
    pub fn without_comment(self) -> Self {
        Self { comment: None, ..self }
    }

    /// The rule without its place: what follows `-A chain `.
    pub fn specification(&self) -> String {
        let mut parts: Vec<String> = self.matches.iter().map(ToString::to_string).collect();
        if let Some(comment) = self.comment {
            parts.push(format!("-m comment --comment \"{COMMENT_PREFIX}{comment}\""));
        }
        parts.push(self.target.to_string());
        parts.join(" ")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Append => write!(f, "-A {} {}", self.chain, self.specification()),
            Place::Insert(position) => {
                write!(f, "-I {} {position} {}", self.chain, self.specification())
            }
        }
    }
}

/// The rules of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRules {
    /// The table.
    pub table: Table,
    /// Chains of ours, created before the rules.
    pub chains: Vec<&'static str>,
    /// Rules in order of installation.
    pub rules: Vec<Rule>,
}

impl fmt::Display for TableRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "*{}", self.table.name())?;
        for chain in &self.chains {
            writeln!(f, ":{chain} - [0:0]")?;
        }
        for rule in &self.rules {
            writeln!(f, "{rule}")?;
        }
        writeln!(f, "COMMIT")
    }
}

/// All rules for one IP family, as `iptables-restore --noflush` reads them on a host without rules of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    /// IP version.
    pub family: Family,
    /// One entry per table with rules, in the order of [`Table::ALL`].
    pub tables: Vec<TableRules>,
}

impl RuleSet {
    /// The same rules without comments, for kernels that have no comment match.
    pub fn without_comments(mut self) -> Self {
        for table in &mut self.tables {
            for rule in &mut table.rules {
                rule.comment = None;
            }
        }
        self
    }
}

impl fmt::Display for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}", self.family.name())?;
        for table in &self.tables {
            write!(f, "{table}")?;
        }
        Ok(())
    }
}
