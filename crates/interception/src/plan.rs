//! From a configuration to the rules, without touching the host.
//!
//! The rules are those of `spec/dataplane.md` §7, with these differences:
//!
//! * Only packets that open a connection are looked at. A session that was open before the rules were, of which conntrack knows nothing if
//!   nothing needed it so far, goes on as it was.
//! * What is left alone returns from a chain of ours, never from a built-in one: rules of others that come later, such as those of Docker's
//!   embedded name server, still apply to it.
//! * Excluded ports are excluded even if they are among the included ones.

mod dns;

use ipnet::IpNet;

use crate::config::{Config, Owner, Traffic};
use crate::exclusion::PortRange;
use crate::rule::{Family, Match, Place, Protocol, Rule, RuleSet, Table, TableRules, Target};

const PREROUTING: &str = "PREROUTING";
const OUTPUT: &str = "OUTPUT";
const INBOUND: &str = "KUMA_MESH_INBOUND";
const INBOUND_REDIRECT: &str = "KUMA_MESH_INBOUND_REDIRECT";
const OUTBOUND: &str = "KUMA_MESH_OUTBOUND";
const OUTBOUND_REDIRECT: &str = "KUMA_MESH_OUTBOUND_REDIRECT";
const OUTBOUND_DNS: &str = "KUMA_MESH_OUTBOUND_DNS";
const LOOPBACK: &str = "lo";
const DNS_PORT: u16 = 53;

/// The rules that `config` means for one IP family.
pub fn plan(config: &Config, family: Family) -> RuleSet {
    let planner = Planner { config, family };
    let tables = [planner.raw(), planner.mangle(), planner.nat()]
        .into_iter()
        .filter(|table| !table.rules.is_empty())
        .collect();
    let rules = RuleSet { family, tables };
    if config.comments {
        rules
    } else {
        rules.without_comments()
    }
}

struct Planner<'a> {
    config: &'a Config,
    family: Family,
}

/// The rules of one chain; keeps the position of rules that go to its head.
struct ChainRules {
    chain: &'static str,
    head: u32,
    rules: Vec<Rule>,
}

impl ChainRules {
    fn new(chain: &'static str) -> Self {
        Self {
            chain,
            head: 0,
            rules: Vec::new(),
        }
    }

    /// Adds a rule at the end of the chain.
    fn append(&mut self, matches: impl IntoIterator<Item = Match>, target: Target, comment: &'static str) {
        self.add(Place::Append, matches, target, comment);
    }

    /// Adds a rule at the head of the chain, after those already added there.
    fn insert(&mut self, matches: impl IntoIterator<Item = Match>, target: Target, comment: &'static str) {
        self.head += 1;
        self.add(Place::Insert(self.head), matches, target, comment);
    }

    fn add(&mut self, place: Place, matches: impl IntoIterator<Item = Match>, target: Target, comment: &'static str) {
        self.rules.push(Rule {
            chain: self.chain,
            place,
            matches: matches.into_iter().collect(),
            target,
            comment: Some(comment),
        });
    }
}

fn tcp() -> Match {
    Match::Protocol(Protocol::Tcp)
}

/// The first packet of a connection.
fn new_tcp() -> [Match; 2] {
    [tcp(), Match::OpensConnection]
}

fn tcp_to(ports: impl Into<PortRange>) -> [Match; 2] {
    [tcp(), Match::DestinationPort(Protocol::Tcp, ports.into())]
}

impl Planner<'_> {
    fn owner(&self) -> Match {
        match self.config.owner {
            Owner::Uid(uid) => Match::OwnerUid(uid.to_string()),
            Owner::Mark(mark) => Match::Mark(mark),
        }
    }

    fn not_owner(&self) -> Match {
        match self.config.owner {
            Owner::Uid(uid) => Match::NotOwnerUid(uid),
            Owner::Mark(mark) => Match::NotMark(mark),
        }
    }

    /// 127.0.0.1 or ::1
    fn localhost(&self) -> IpNet {
        match self.family {
            Family::Ipv4 => IpNet::from(std::net::IpAddr::from([127, 0, 0, 1])),
            Family::Ipv6 => IpNet::from(std::net::IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16])),
        }
    }

    /// The address from which Envoy connects to the application: 127.0.0.6 or ::6.
    fn passthrough_source(&self) -> IpNet {
        match self.family {
            Family::Ipv4 => IpNet::from(std::net::IpAddr::from([127, 0, 0, 6])),
            Family::Ipv6 => IpNet::from(std::net::IpAddr::from([0, 0, 0, 0, 0, 0, 0, 6u16])),
        }
    }

    /// What tells the excluded traffic of users, one list per rule.
    fn excluded_users(&self, protocol: Protocol) -> impl Iterator<Item = Vec<Match>> {
        let exclusions = self.config.outbound.exclude_uids.iter();
        exclusions
            .filter(move |exclusion| exclusion.protocol == protocol)
            .map(|exclusion| {
                let ports = (!exclusion.ports.is_empty()).then(|| Match::DestinationPorts(exclusion.ports.clone()));
                [Match::Protocol(exclusion.protocol)]
                    .into_iter()
                    .chain(ports)
                    .chain([Match::OwnerUid(exclusion.uids.clone())])
                    .collect()
            })
    }

    fn excluded_networks<'a>(&'a self, traffic: &'a Traffic) -> impl Iterator<Item = IpNet> + 'a {
        traffic
            .exclude_networks
            .iter()
            .copied()
            .filter(|net| self.family.has(net))
    }

    fn mangle(&self) -> TableRules {
        let mut prerouting = ChainRules::new(PREROUTING);
        if self.config.drop_invalid_packets {
            prerouting.append([Match::InvalidState], Target::Drop, "drop packets in invalid state");
        }
        TableRules {
            table: Table::Mangle,
            chains: Vec::new(),
            rules: prerouting.rules,
        }
    }

    fn nat(&self) -> TableRules {
        let config = self.config;
        let redirect = |chain, port| {
            let mut rules = ChainRules::new(chain);
            rules.append(
                [tcp()],
                Target::Redirect(port),
                "redirect traffic to the port of the proxy",
            );
            rules.rules
        };
        TableRules {
            table: Table::Nat,
            chains: [INBOUND, INBOUND_REDIRECT, OUTBOUND, OUTBOUND_REDIRECT]
                .into_iter()
                .chain(self.dns().map(|_| OUTBOUND_DNS))
                .collect(),
            rules: [
                self.prerouting(),
                self.output(),
                self.outbound_dns(),
                self.inbound(),
                redirect(INBOUND_REDIRECT, config.inbound.port),
                self.outbound(),
                redirect(OUTBOUND_REDIRECT, config.outbound.traffic.port),
            ]
            .concat(),
        }
    }

    fn prerouting(&self) -> Vec<Rule> {
        let config = self.config;
        let mut chain = ChainRules::new(PREROUTING);
        if let Some(level) = config.log_level {
            let prefix = "PREROUTING:";
            chain.append([], Target::Log { prefix, level }, "log matching packets");
        }
        let networks = config
            .virtual_networks
            .iter()
            .filter(|network| self.family.has(&network.cidr));
        let mut jump_at_head = config.inbound.insert;
        for network in networks {
            jump_at_head = true;
            let interface = Match::InInterface(network.interface.clone());
            if let Some(dns) = self.dns() {
                for query in dns::queries() {
                    chain.insert(
                        [vec![interface.clone()], query].concat(),
                        Target::Redirect(dns.port),
                        "redirect queries of the virtual network to kuma-dp",
                    );
                }
            }
            chain.insert(
                [
                    Match::NotDestination(network.cidr),
                    interface,
                    tcp(),
                    Match::OpensConnection,
                ],
                Target::Redirect(config.outbound.traffic.port),
                "redirect traffic of the virtual network to the outbound port",
            );
        }
        let comment = "redirect inbound traffic to the custom chain for processing";
        if jump_at_head {
            chain.insert(new_tcp(), Target::Chain(INBOUND), comment);
        } else {
            chain.append(new_tcp(), Target::Chain(INBOUND), comment);
        }
        chain.rules
    }

    fn output(&self) -> Vec<Rule> {
        let config = self.config;
        let mut chain = ChainRules::new(OUTPUT);
        if let Some(level) = config.log_level {
            let prefix = "OUTPUT:";
            chain.insert([], Target::Log { prefix, level }, "log matching packets");
        }
        if self.dns().is_some() {
            for query in dns::queries() {
                chain.insert(
                    query,
                    Target::Chain(OUTBOUND_DNS),
                    "redirect queries to the custom chain for processing",
                );
            }
        }
        let comment = "redirect outbound traffic to the custom chain for processing";
        if config.outbound.traffic.insert {
            chain.insert(new_tcp(), Target::Chain(OUTBOUND), comment);
        } else {
            chain.append(new_tcp(), Target::Chain(OUTBOUND), comment);
        }
        chain.rules
    }

    fn inbound(&self) -> Vec<Rule> {
        let traffic = &self.config.inbound;
        let mut chain = ChainRules::new(INBOUND);
        if !traffic.enabled {
            chain.append([tcp()], Target::Return, "inbound redirection is disabled");
            return chain.rules;
        }
        for net in self.excluded_networks(traffic) {
            chain.append(
                [Match::Source(net)],
                Target::Return,
                "skip further processing for configured IP address",
            );
        }
        for ports in &traffic.exclude_ports {
            chain.append(tcp_to(*ports), Target::Return, "exclude configured inbound port");
        }
        for ports in &traffic.include_ports {
            chain.append(
                tcp_to(*ports),
                Target::Chain(INBOUND_REDIRECT),
                "redirect configured inbound port",
            );
        }
        if traffic.include_ports.is_empty() {
            chain.append([tcp()], Target::Chain(INBOUND_REDIRECT), "redirect all inbound traffic");
        }
        chain.rules
    }

    fn outbound(&self) -> Vec<Rule> {
        let traffic = &self.config.outbound.traffic;
        let mut chain = ChainRules::new(OUTBOUND);
        if !traffic.enabled {
            chain.append([tcp()], Target::Return, "outbound redirection is disabled");
            return chain.rules;
        }
        for matches in self.excluded_users(Protocol::Tcp) {
            chain.append(
                matches,
                Target::Return,
                "skip further processing for configured ports and users",
            );
        }
        for net in self.excluded_networks(traffic) {
            chain.append(
                [Match::Destination(net)],
                Target::Return,
                "skip further processing for configured IP address",
            );
        }
        for ports in &traffic.exclude_ports {
            chain.append(tcp_to(*ports), Target::Return, "exclude configured outbound port");
        }
        chain.append(
            [Match::Source(self.passthrough_source()), Match::OutInterface(LOOPBACK)],
            Target::Return,
            "leave traffic from the proxy to the application alone",
        );
        // The agent's questions to a name server on a loopback address are no inbound traffic.
        let but_queries = self.dns().map(|_| Match::NotDestinationPort(Protocol::Tcp, DNS_PORT));
        chain.append(
            [
                Match::NotDestination(self.localhost()),
                Match::OutInterface(LOOPBACK),
                tcp(),
            ]
            .into_iter()
            .chain(but_queries)
            .chain([self.owner()]),
            Target::Chain(INBOUND_REDIRECT),
            "traffic of the proxy to an address of this host is inbound traffic",
        );
        chain.append(
            [Match::OutInterface(LOOPBACK), tcp(), self.not_owner()],
            Target::Return,
            "leave loopback traffic of the application alone",
        );
        chain.append(
            [self.owner()],
            Target::Return,
            "leave outbound traffic of the proxy alone",
        );
        chain.append(
            [Match::Destination(self.localhost())],
            Target::Return,
            "leave traffic to localhost alone",
        );
        let redirect = Target::Chain(OUTBOUND_REDIRECT);
        for ports in &traffic.include_ports {
            chain.append(tcp_to(*ports), redirect.clone(), "redirect configured outbound port");
        }
        if traffic.include_ports.is_empty() {
            chain.append([], redirect, "redirect all other outbound traffic");
        }
        chain.rules
    }
}
