//! From a configuration to the rules, without touching the host.
//!
//! The rules and their order are those of `spec/dataplane.md` §7.

use ipnet::IpNet;

use crate::config::{Config, Dns, Owner, Traffic};
use crate::exclusion::PortRange;
use crate::rule::{Family, Match, Place, Protocol, Rule, RuleSet, Table, TableRules, Target};

const PREROUTING: &str = "PREROUTING";
const OUTPUT: &str = "OUTPUT";
const INBOUND: &str = "KUMA_MESH_INBOUND";
const INBOUND_REDIRECT: &str = "KUMA_MESH_INBOUND_REDIRECT";
const OUTBOUND: &str = "KUMA_MESH_OUTBOUND";
const OUTBOUND_REDIRECT: &str = "KUMA_MESH_OUTBOUND_REDIRECT";
/// Docker's chain that leads queries to 127.0.0.11 to its own server.
pub const DOCKER_OUTPUT: &str = "DOCKER_OUTPUT";
const LOOPBACK: &str = "lo";
const DNS_PORT: u16 = 53;
/// Conntrack zone of the agent's own queries and of the answers to them.
const ZONE_UPSTREAM: u16 = 1;
/// Conntrack zone of the application's queries and of the agent's answers.
const ZONE_APPLICATION: u16 = 2;

/// The rules that `config` means for one IP family.
///
/// `docker_output` says that the host's nat table has Docker's chain for its embedded name server, to which Envoy's own queries must go.
pub fn plan(config: &Config, family: Family, docker_output: bool) -> RuleSet {
    let planner = Planner {
        config,
        family,
        docker_output,
    };
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
    docker_output: bool,
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

fn tcp_to(ports: impl Into<PortRange>) -> [Match; 2] {
    [tcp(), Match::DestinationPort(Protocol::Tcp, ports.into())]
}

fn udp_to(port: u16) -> [Match; 2] {
    [
        Match::Protocol(Protocol::Udp),
        Match::DestinationPort(Protocol::Udp, port.into()),
    ]
}

fn udp_from(port: u16) -> [Match; 2] {
    [Match::Protocol(Protocol::Udp), Match::SourcePort(Protocol::Udp, port)]
}

fn and(matches: impl IntoIterator<Item = Match>, last: Match) -> Vec<Match> {
    matches.into_iter().chain([last]).collect()
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

    /// The DNS settings, unless no name server belongs to this family.
    fn dns(&self) -> Option<&Dns> {
        self.config
            .dns
            .as_ref()
            .filter(|dns| dns.servers.is_none() || !self.servers(dns).is_empty())
    }

    fn servers(&self, dns: &Dns) -> Vec<IpNet> {
        dns.servers
            .iter()
            .flatten()
            .map(|server| IpNet::from(*server))
            .filter(|server| self.family.has(server))
            .collect()
    }

    /// Conditions that select queries to intercept, one list per rule.
    fn queries(&self, dns: &Dns, to_port: [Match; 2]) -> Vec<Vec<Match>> {
        if dns.servers.is_none() {
            return vec![to_port.to_vec()];
        }
        self.servers(dns)
            .into_iter()
            .map(|server| {
                let mut matches = vec![Match::Destination(server)];
                matches.extend(to_port.clone());
                matches
            })
            .collect()
    }

    fn excluded_networks<'a>(&'a self, traffic: &'a Traffic) -> impl Iterator<Item = IpNet> + 'a {
        traffic
            .exclude_networks
            .iter()
            .copied()
            .filter(|net| self.family.has(net))
    }

    fn raw(&self) -> TableRules {
        let mut output = ChainRules::new(OUTPUT);
        let mut prerouting = ChainRules::new(PREROUTING);
        if let Some(dns) = self.dns().filter(|dns| dns.conntrack_zone_split) {
            let zone = Target::ConntrackZone;
            output.append(
                and(udp_to(DNS_PORT), self.owner()),
                zone(ZONE_UPSTREAM),
                "assign connections of kuma-dp to its name servers to conntrack zone 1",
            );
            let answers = udp_from(dns.port);
            // Whether the agent marks its answers is up to it; its port alone identifies them.
            let answers = match self.config.owner {
                Owner::Uid(_) => and(answers, self.owner()),
                Owner::Mark(_) => answers.to_vec(),
            };
            output.append(
                answers,
                zone(ZONE_APPLICATION),
                "assign answers of kuma-dp to conntrack zone 2",
            );
            for query in self.queries(dns, udp_to(DNS_PORT)) {
                output.append(
                    query,
                    zone(ZONE_APPLICATION),
                    "assign queries of the application to conntrack zone 2",
                );
            }
            let comment = "assign answers of name servers to conntrack zone 1";
            if dns.servers.is_none() {
                prerouting.append(udp_from(DNS_PORT), zone(ZONE_UPSTREAM), comment);
            }
            for server in self.servers(dns) {
                let from_server = [vec![Match::Source(server)], udp_from(DNS_PORT).to_vec()].concat();
                prerouting.append(from_server, zone(ZONE_UPSTREAM), comment);
            }
        }
        TableRules {
            table: Table::Raw,
            chains: Vec::new(),
            rules: [prerouting.rules, output.rules].concat(),
        }
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
            chains: vec![INBOUND, INBOUND_REDIRECT, OUTBOUND, OUTBOUND_REDIRECT],
            rules: [
                self.prerouting(),
                self.output(),
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
                chain.insert(
                    [vec![interface.clone()], udp_to(DNS_PORT).to_vec()].concat(),
                    Target::Redirect(dns.port),
                    "redirect queries of the virtual network to kuma-dp",
                );
            }
            chain.insert(
                [Match::NotDestination(network.cidr), interface, tcp()],
                Target::Redirect(config.outbound.traffic.port),
                "redirect traffic of the virtual network to the outbound port",
            );
        }
        let comment = "redirect inbound traffic to the custom chain for processing";
        if jump_at_head {
            chain.insert([tcp()], Target::Chain(INBOUND), comment);
        } else {
            chain.append([tcp()], Target::Chain(INBOUND), comment);
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
        for exclusion in &config.outbound.exclude_uids {
            let mut matches = vec![Match::Protocol(exclusion.protocol)];
            if !exclusion.ports.is_empty() {
                matches.push(Match::DestinationPorts(exclusion.ports.clone()));
            }
            matches.push(Match::OwnerUid(exclusion.uids.clone()));
            chain.insert(
                matches,
                Target::Return,
                "skip further processing for configured ports and users",
            );
        }
        for net in self.excluded_networks(&config.outbound.traffic) {
            chain.insert(
                [Match::Destination(net)],
                Target::Return,
                "skip further processing for configured IP address",
            );
        }
        if let Some(dns) = self.dns() {
            chain.insert(
                and(udp_to(DNS_PORT), self.owner()),
                if self.docker_output {
                    Target::Chain(DOCKER_OUTPUT)
                } else {
                    Target::Return
                },
                "leave the queries of kuma-dp alone",
            );
            for query in self.queries(dns, udp_to(DNS_PORT)) {
                chain.insert(
                    query,
                    Target::Redirect(dns.port),
                    "redirect queries of the application to kuma-dp",
                );
            }
        }
        let comment = "redirect outbound traffic to the custom chain for processing";
        if config.outbound.traffic.insert {
            chain.insert([tcp()], Target::Chain(OUTBOUND), comment);
        } else {
            chain.append([tcp()], Target::Chain(OUTBOUND), comment);
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
        for ports in &traffic.include_ports {
            chain.append(
                tcp_to(*ports),
                Target::Chain(INBOUND_REDIRECT),
                "redirect configured inbound port",
            );
        }
        if traffic.include_ports.is_empty() {
            for ports in &traffic.exclude_ports {
                chain.append(tcp_to(*ports), Target::Return, "exclude configured inbound port");
            }
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
        if traffic.include_ports.is_empty() {
            for ports in &traffic.exclude_ports {
                chain.append(tcp_to(*ports), Target::Return, "exclude configured outbound port");
            }
        }
        chain.append(
            [Match::Source(self.passthrough_source()), Match::OutInterface(LOOPBACK)],
            Target::Return,
            "leave traffic from the proxy to the application alone",
        );
        // Queries to a name server on a loopback address must reach the DNS rule below.
        let but_queries = self.dns().map(|_| Match::NotDestinationPort(Protocol::Tcp, DNS_PORT));
        let on_loopback = |first: Option<Match>, last: Match| -> Vec<Match> {
            first
                .into_iter()
                .chain([Match::OutInterface(LOOPBACK), tcp()])
                .chain(but_queries.clone())
                .chain([last])
                .collect()
        };
        chain.append(
            on_loopback(Some(Match::NotDestination(self.localhost())), self.owner()),
            Target::Chain(INBOUND_REDIRECT),
            "traffic of the proxy to an address of this host is inbound traffic",
        );
        chain.append(
            on_loopback(None, self.not_owner()),
            Target::Return,
            "leave loopback traffic of the application alone",
        );
        chain.append(
            [self.owner()],
            Target::Return,
            "leave outbound traffic of the proxy alone",
        );
        if let Some(dns) = self.dns() {
            for query in self.queries(dns, tcp_to(DNS_PORT)) {
                chain.append(
                    query,
                    Target::Redirect(dns.port),
                    "redirect queries over TCP to kuma-dp",
                );
            }
        }
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
