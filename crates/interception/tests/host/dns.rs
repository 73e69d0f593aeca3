//! Queries: of the application, of the agent, of those who are left alone, in the company of other rules.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use meshspan_interception::InstallArgs;
use socket2::{Domain, Socket, Type};

use super::network::{Peer, answer_with, in_own_network, receive, rules, run};
use super::{args, installed};

const MARK: u32 = 77;

/// Interception of queries to the servers of a resolv.conf with these lines.
fn servers_of(resolv_conf: &str) -> InstallArgs {
    let path = Path::new("/run/resolv.conf");
    std::fs::write(path, resolv_conf).unwrap();
    InstallArgs {
        kuma_dp_mark: Some(MARK),
        redirect_dns: Some(true),
        redirect_all_dns_traffic: Some(false),
        config: Some(format!("redirect: {{dns: {{resolvConfigPath: {}}}}}", path.display())),
        ..args()
    }
}

fn all_servers() -> InstallArgs {
    InstallArgs {
        kuma_dp_mark: Some(MARK),
        ..args()
    }
}

/// A query from a socket with `mark`, and what comes back.
fn ask(server: &str, mark: u32) -> String {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_mark(mark).unwrap();
    let socket = UdpSocket::from(socket);
    socket.connect(server).unwrap();
    socket.send(b"query").unwrap();
    receive(&socket)
}

fn ask_by_tcp(server: &str, mark: u32) -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_mark(mark).unwrap();
    let server: SocketAddr = server.parse().unwrap();
    socket.connect_timeout(&server.into(), Duration::from_secs(10)).unwrap();
    let mut answer = String::new();
    TcpStream::from(socket).read_to_string(&mut answer).unwrap();
    answer
}

/// An agent without names of its own: it passes each query on, as the agent does, from a marked socket.
fn agent(server: &'static str) {
    let socket = UdpSocket::bind("127.0.0.1:15053").unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let answer = format!("agent: {}", ask(server, MARK));
            socket.send_to(answer.as_bytes(), from).unwrap();
        }
    });
    greeting("127.0.0.1:15053", "agent");
}

fn greeting(address: &str, word: &'static str) {
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(word.as_bytes());
        }
    });
}

/// What Docker puts into each container of a network of the user's.
fn docker() {
    let tcp_and_udp = [("tcp", "35215"), ("udp", "50126")];
    let nat = |rule: &str| {
        let words: Vec<&str> = ["-t", "nat"].into_iter().chain(rule.split(' ')).collect();
        run("iptables-nft", &words);
    };
    nat("-N DOCKER_OUTPUT");
    nat("-N DOCKER_POSTROUTING");
    nat("-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT");
    nat("-A POSTROUTING -d 127.0.0.11/32 -j DOCKER_POSTROUTING");
    for (protocol, port) in tcp_and_udp {
        nat(&format!(
            "-A DOCKER_OUTPUT -d 127.0.0.11/32 -p {protocol} --dport 53 -j DNAT --to-destination 127.0.0.11:{port}"
        ));
        nat(&format!(
            "-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p {protocol} --sport {port} -j SNAT --to-source :53"
        ));
    }
    answer_with(UdpSocket::bind("127.0.0.11:50126").unwrap(), "docker");
    greeting("127.0.0.11:35215", "docker");
}

#[test]
fn behind_the_name_server_of_docker() {
    in_own_network("dns::behind_the_name_server_of_docker", || {
        docker();
        agent("127.0.0.11:53");
        installed(&all_servers());
        super::uninstalled(&all_servers());
        let before = rules("nft");
        for args in [servers_of("nameserver 127.0.0.11"), all_servers()] {
            installed(&args);
            assert_eq!(ask("127.0.0.11:53", 0), "agent: docker");
            assert_eq!(ask_by_tcp("127.0.0.11:53", 0), "agent");
            assert_eq!(ask_by_tcp("127.0.0.11:53", MARK), "docker");

            let excluded = InstallArgs {
                exclude_outbound_ports_for_uids: vec!["53:0".to_owned()],
                ..args
            };
            installed(&excluded);
            assert_eq!(
                ask("127.0.0.11:53", 0),
                "docker",
                "excluded users still reach Docker's server"
            );
        }
        super::uninstalled(&all_servers());
        assert_eq!(rules("nft"), before);
    });
}

#[test]
fn a_dry_run_prints_what_an_installation_makes() {
    in_own_network("dns::a_dry_run_prints_what_an_installation_makes", || {
        docker();
        let args = servers_of("nameserver 127.0.0.11");
        let mut printed = Vec::new();
        let dry_run = InstallArgs {
            dry_run: true,
            ..args.clone()
        };
        meshspan_interception::install(&dry_run, &mut printed).unwrap();
        installed(&args);
        let made = rules("nft");
        let printed = String::from_utf8(printed).unwrap();
        let rules_of = |text: &str, name: &str| -> Vec<String> {
            let chain = format!("-A {name} ");
            text.lines()
                .filter(|line| line.starts_with(&chain))
                .map(str::to_owned)
                .collect()
        };
        for chain in [
            "INBOUND",
            "INBOUND_REDIRECT",
            "OUTBOUND",
            "OUTBOUND_REDIRECT",
            "OUTBOUND_DNS",
        ] {
            let name = format!("KUMA_MESH_{chain}");
            let mut printed = rules_of(&printed, &name);
            assert!(!printed.is_empty(), "{name}");
            // Both IP versions, but for the chain of queries: there is no IPv6 server.
            printed.sort();
            let mut made = rules_of(&made, &name);
            made.sort();
            assert_eq!(printed, made);
        }
    });
}

#[test]
fn a_stateful_firewall_lets_answers_in_whoever_asks() {
    in_own_network("dns::a_stateful_firewall_lets_answers_in_whoever_asks", || {
        let peer = Peer::new();
        peer.spawn(|| {
            answer_with(UdpSocket::bind("10.0.0.1:53").unwrap(), "server");
        })
        .join()
        .unwrap();
        answer_with(UdpSocket::bind("127.0.0.53:53").unwrap(), "stub");
        for rule in [
            "-A INPUT -p udp -m conntrack --ctstate ESTABLISHED -j ACCEPT",
            "-A INPUT -p udp --dport 53 -d 127.0.0.0/8 -j ACCEPT",
            "-A INPUT -p udp --dport 15053 -j ACCEPT",
            "-A INPUT -p udp -j DROP",
        ] {
            run("iptables-nft", &rule.split(' ').collect::<Vec<_>>());
        }
        let answered = |args: InstallArgs, why: &str| {
            installed(&args);
            assert_eq!(ask("10.0.0.1:53", MARK), "server", "{why}: the agent");
            assert_eq!(ask("127.0.0.53:53", MARK), "stub", "{why}: the agent, on loopback");
        };
        agent("10.0.0.1:53");
        for args in [servers_of("nameserver 10.0.0.1\nnameserver 127.0.0.53"), all_servers()] {
            answered(args.clone(), "none excluded");
            assert_eq!(ask("10.0.0.1:53", 0), "agent: server");
            let user = InstallArgs {
                exclude_outbound_ports_for_uids: vec!["udp:53:0".to_owned()],
                ..args.clone()
            };
            answered(user, "an excluded user");
            assert_eq!(ask("10.0.0.1:53", 0), "server");
            assert_eq!(ask("127.0.0.53:53", 0), "stub");
            let address = InstallArgs {
                exclude_outbound_ips: vec!["10.0.0.0/24".to_owned()],
                ..args
            };
            answered(address, "an excluded address");
            assert_eq!(ask("10.0.0.1:53", 0), "server");
        }
        // A server that is not listed is nobody's concern, even if Envoy's user asks it.
        installed(&servers_of("nameserver 127.0.0.53"));
        assert_eq!(ask("10.0.0.1:53", MARK), "server");
        assert_eq!(ask("10.0.0.1:53", 0), "server");
    });
}
