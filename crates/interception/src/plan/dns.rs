//! Queries: which of them go to the agent, and how what the application sends and what the agent and Envoy send is kept apart in conntrack.
//!
//! The agent asks the servers that the application meant to ask, perhaps from the same port: two connections that conntrack cannot tell
//! apart unless they are in different zones. Packets of one connection must all be in the same zone, else the answer is not recognised as one:
//! its addresses are not translated back, and a stateful firewall drops it. So every packet between a name server that is intercepted and
//! anybody but the application is in [`ZONE_UPSTREAM`], whoever asks: the agent, an excluded user, or a container whose queries this host
//! forwards.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{ChainRules, DNS_PORT, LOOPBACK, OUTBOUND_DNS, OUTPUT, PREROUTING, Planner, tcp_to};
use crate::config::{Dns, Owner};
use crate::rule::{Match, Protocol, Rule, Table, TableRules, Target};

/// Conntrack zone of all queries that are not intercepted, and of the answers to them.
const ZONE_UPSTREAM: u16 = 1;
/// Conntrack zone of the application's queries and of the agent's answers.
const ZONE_APPLICATION: u16 = 2;
/// Conntrack zone of the connections that Envoy opens.
///
/// Both Envoy and an application may connect from one port to one address, one after the other. As long as conntrack remembers a
/// connection of Envoy that nobody answered (two minutes), it takes the application's for the same one, and does what was decided for
/// that: it is not redirected, and never answered either.
const ZONE_PROXY: u16 = 3;
/// Docker's name server in a container. Rules of Docker in the nat table lead queries to another port, from which the answers come.
const DOCKER_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// Queries over UDP and those over TCP.
pub(super) fn queries() -> [Vec<Match>; 2] {
    [
        udp_to(DNS_PORT).to_vec(),
        vec![Match::Protocol(Protocol::Tcp), Match::OpensConnectionTo(DNS_PORT)],
    ]
}

fn udp_to(port: u16) -> [Match; 2] {
    let protocol = Protocol::Udp;
    [Match::Protocol(protocol), Match::DestinationPort(protocol, port.into())]
}

fn udp_from(port: u16) -> [Match; 2] {
    [Match::Protocol(Protocol::Udp), Match::SourcePort(Protocol::Udp, port)]
}

/// Conditions in the order that [`Match`] asks for.
fn all(parts: &[&[Match]]) -> Vec<Match> {
    parts.concat()
}

impl Planner<'_> {
    /// The DNS settings, unless no name server belongs to this family.
    pub(super) fn dns(&self) -> Option<&Dns> {
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

    /// `address` of each intercepted server, nothing if all servers are: one list of conditions per rule.
    fn each_server(&self, dns: &Dns, address: fn(IpNet) -> Match) -> Vec<Vec<Match>> {
        match dns.servers {
            None => vec![Vec::new()],
            Some(_) => self
                .servers(dns)
                .into_iter()
                .map(|server| vec![address(server)])
                .collect(),
        }
    }

    /// Addresses that are intercepted as servers and excluded as destinations, one list of conditions per rule.
    fn excluded_servers(&self, dns: &Dns) -> Vec<Vec<Match>> {
        let excluded = self.excluded_networks(&self.config.outbound.traffic);
        match dns.servers {
            None => excluded.map(|net| vec![Match::Destination(net)]).collect(),
            Some(_) => {
                let excluded: Vec<IpNet> = excluded.collect();
                self.servers(dns)
                    .into_iter()
                    .filter(|server| excluded.iter().any(|net| net.contains(server)))
                    .map(|server| vec![Match::Destination(server)])
                    .collect()
            }
        }
    }

    /// Conditions on the sender of queries that are left alone, for one protocol.
    fn excluded_senders(&self, protocol: Protocol) -> Vec<Match> {
        let exclusions = self.config.outbound.exclude_uids.iter();
        exclusions
            .filter(|exclusion| exclusion.protocol == protocol)
            .filter(|exclusion| {
                exclusion.ports.is_empty() || exclusion.ports.iter().any(|ports| ports.contains(DNS_PORT))
            })
            .map(|exclusion| Match::OwnerUid(exclusion.uids.clone()))
            .chain([self.owner()])
            .collect()
    }

    /// The chain of all queries of this host's programs: what returns from it is not intercepted.
    pub(super) fn outbound_dns(&self) -> Vec<Rule> {
        let Some(dns) = self.dns() else {
            return Vec::new();
        };
        let mut chain = ChainRules::new(OUTBOUND_DNS);
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            for sender in self.excluded_senders(protocol) {
                let comment = if sender == self.owner() {
                    "leave the queries of kuma-dp alone"
                } else {
                    "skip further processing for configured ports and users"
                };
                chain.append([Match::Protocol(protocol), sender], Target::Return, comment);
            }
        }
        for server in self.excluded_servers(dns) {
            chain.append(
                server,
                Target::Return,
                "skip further processing for configured IP address",
            );
        }
        let excluded = &self.config.outbound.traffic.exclude_ports;
        if excluded.iter().any(|ports| ports.contains(DNS_PORT)) {
            chain.append(tcp_to(DNS_PORT), Target::Return, "exclude configured outbound port");
        }
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            for server in self.each_server(dns, Match::Destination) {
                chain.append(
                    all(&[&server, &[Match::Protocol(protocol)]]),
                    Target::Redirect(dns.port),
                    "redirect queries of the application to kuma-dp",
                );
            }
        }
        chain.rules
    }

    /// The first rule that names a zone for a packet counts.
    pub(super) fn raw(&self) -> TableRules {
        let mut output = ChainRules::new(OUTPUT);
        let mut prerouting = ChainRules::new(PREROUTING);
        if let Some(dns) = self.dns().filter(|dns| dns.conntrack_zone_split) {
            self.zones_of_output(dns, &mut output);
            self.zones_of_prerouting(dns, &mut prerouting);
            output.append(
                [Match::Protocol(Protocol::Tcp), self.owner()],
                Target::ConntrackZoneOfOrigin(ZONE_PROXY),
                "assign connections that kuma-dp opens to conntrack zone 3",
            );
        }
        TableRules {
            table: Table::Raw,
            chains: Vec::new(),
            rules: [prerouting.rules, output.rules].concat(),
        }
    }

    fn zones_of_output(&self, dns: &Dns, output: &mut ChainRules) {
        let upstream = Target::ConntrackZone(ZONE_UPSTREAM);
        let application = Target::ConntrackZone(ZONE_APPLICATION);
        for server in self.each_server(dns, Match::Destination) {
            for sender in self.excluded_senders(Protocol::Udp) {
                output.append(
                    all(&[&server, &udp_to(DNS_PORT), &[sender]]),
                    upstream.clone(),
                    "assign queries that are not intercepted to conntrack zone 1",
                );
            }
        }
        for server in self.excluded_servers(dns) {
            output.append(
                all(&[&server, &udp_to(DNS_PORT)]),
                upstream.clone(),
                "assign queries that are not intercepted to conntrack zone 1",
            );
        }
        // Whether the agent marks its answers is up to it; its port alone identifies them.
        let sender = match self.config.owner {
            Owner::Uid(_) => vec![self.owner()],
            Owner::Mark(_) => Vec::new(),
        };
        output.append(
            all(&[&udp_from(dns.port), &sender]),
            application.clone(),
            "assign answers of kuma-dp to conntrack zone 2",
        );
        for server in self.each_server(dns, Match::Destination) {
            output.append(
                all(&[&server, &udp_to(DNS_PORT)]),
                application.clone(),
                "assign queries of the application to conntrack zone 2",
            );
        }
        let comment = "assign answers of name servers on this host to conntrack zone 1";
        for server in self.each_server(dns, Match::Source) {
            output.append(
                all(&[&server, &[Match::OutInterface(LOOPBACK)], &udp_from(DNS_PORT)]),
                upstream.clone(),
                comment,
            );
        }
        let docker = IpNet::from(DOCKER_SERVER);
        if self.family.has(&docker)
            && dns
                .servers
                .as_ref()
                .is_none_or(|servers| servers.contains(&DOCKER_SERVER))
        {
            output.append(
                [Match::Source(docker), Match::Protocol(Protocol::Udp)],
                upstream,
                comment,
            );
        }
    }

    fn zones_of_prerouting(&self, dns: &Dns, prerouting: &mut ChainRules) {
        let networks = self.config.virtual_networks.iter();
        for network in networks.filter(|network| self.family.has(&network.cidr)) {
            prerouting.append(
                all(&[&[Match::InInterface(network.interface.clone())], &udp_to(DNS_PORT)]),
                Target::ConntrackZone(ZONE_APPLICATION),
                "assign queries of the virtual network to conntrack zone 2",
            );
        }
        for server in self.each_server(dns, Match::Source) {
            prerouting.append(
                all(&[&server, &udp_from(DNS_PORT)]),
                Target::ConntrackZone(ZONE_UPSTREAM),
                "assign answers of name servers to conntrack zone 1",
            );
        }
        for server in self.each_server(dns, Match::Destination) {
            prerouting.append(
                all(&[&server, &udp_to(DNS_PORT), &[Match::ToOtherHost]]),
                Target::ConntrackZone(ZONE_UPSTREAM),
                "assign queries that this host forwards to conntrack zone 1",
            );
        }
    }
}
