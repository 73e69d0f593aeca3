//! Installation on a real kernel, each test in a network namespace of its own.
//!
//! Each test runs its own program again inside `unshare`, as root directly, otherwise in a user namespace. Where neither is possible
//! the tests fail and say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "host/dns.rs"]
mod dns;
#[path = "host/network.rs"]
mod network;
#[path = "host/sessions.rs"]
mod sessions;
#[path = "host/whole.rs"]
mod whole;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use network::{MARKER, in_own_network, rules, run};

use meshspan_interception::{Error, InstallArgs, UninstallArgs, install, uninstall};

/// Rules of somebody else in every table that we touch.
fn foreign_rules(variant: &str) {
    for program in ["iptables", "ip6tables"] {
        let program = format!("{program}-{variant}");
        run(&program, &["-t", "nat", "-N", "FOREIGN"]);
        run(&program, &["-t", "nat", "-A", "FOREIGN", "-j", "RETURN"]);
        run(&program, &["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "FOREIGN"]);
        run(
            &program,
            &["-t", "nat", "-A", "PREROUTING", "-p", "udp", "-j", "FOREIGN"],
        );
        run(&program, &["-t", "raw", "-A", "OUTPUT", "-p", "udp", "-j", "ACCEPT"]);
        run(
            &program,
            &["-t", "mangle", "-A", "PREROUTING", "-p", "icmp", "-j", "ACCEPT"],
        );
    }
}

fn args() -> InstallArgs {
    InstallArgs {
        // A plain user has nothing but id 0 in a user namespace.
        kuma_dp_user: Some("0".to_owned()),
        redirect_all_dns_traffic: Some(true),
        drop_invalid_packets: true,
        exclude_inbound_ports: Some("22".to_owned()),
        ..InstallArgs::default()
    }
}

fn installed(args: &InstallArgs) {
    let report = install(args, &mut Vec::new()).unwrap();
    assert_eq!(report.warnings, Vec::<String>::new());
    assert!(!report.actions.is_empty());
}

fn uninstalled(args: &InstallArgs) {
    let install = args.clone();
    uninstall(&UninstallArgs { install }, &mut Vec::new()).unwrap();
}

/// Installs, again, with other settings, and removes.
fn lifecycle(variant: &str, args: &InstallArgs) {
    foreign_rules(variant);
    let before = rules(variant);

    installed(args);
    let once = rules(variant);
    assert!(once.contains("-m comment --comment \"kuma/mesh/transparent/proxy/") || args.disable_comments);
    assert!(once.contains("-A KUMA_MESH_OUTBOUND_REDIRECT -p tcp"), "{once}");
    assert!(once.contains("-j CT --zone 2"), "{once}");

    installed(args);
    assert_eq!(rules(variant), once, "a second installation changed the rules");

    let other = InstallArgs {
        kuma_dp_mark: Some(77),
        redirect_outbound_port: Some(25001),
        drop_invalid_packets: false,
        ..args.clone()
    };
    if !args.disable_comments {
        installed(&other);
        let changed = rules(variant);
        assert!(
            changed.contains("--to-ports 25001") && !changed.contains("--to-ports 15001"),
            "{changed}"
        );
        assert!(!changed.contains("owner"), "{changed}");
        assert!(!changed.contains("INVALID"), "{changed}");
    }

    uninstalled(args);
    assert_eq!(rules(variant), before, "something else than before is left");
    uninstalled(args);
    assert_eq!(rules(variant), before);
}

#[test]
fn lifecycle_with_nft() {
    in_own_network("lifecycle_with_nft", || lifecycle("nft", &args()));
}

#[test]
fn lifecycle_with_legacy() {
    // /proc/net/ip_tables_names is readable for the root of the machine alone, so in a user namespace iptables-legacy cannot list rules.
    if std::env::var_os(MARKER).is_none() && !rustix::process::geteuid().is_root() {
        eprintln!("skipped: iptables-legacy needs the root of the machine");
        return;
    }
    in_own_network("lifecycle_with_legacy", || lifecycle("legacy", &args()));
}

#[test]
fn lifecycle_without_comments() {
    let args = InstallArgs {
        disable_comments: true,
        ..args()
    };
    in_own_network("lifecycle_without_comments", || lifecycle("nft", &args));
}

#[test]
fn every_golden_configuration_is_accepted_by_the_kernel() {
    in_own_network("every_golden_configuration_is_accepted_by_the_kernel", || {
        foreign_rules("nft");
        let before = rules("nft");
        for entry in std::fs::read_dir("tests/golden").unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let args = InstallArgs {
                config_file: Some(path.clone()),
                kuma_dp_mark: Some(77),
                exclude_inbound_ports: Some("22".to_owned()),
                // Ids of the exclusions are not mapped where the test runs as a plain user.
                exclude_outbound_ports_for_uids: vec!["tcp:22,8000-8010:0".to_owned()],
                ..InstallArgs::default()
            };
            let report = install(&args, &mut Vec::new()).unwrap();
            let is_advice = |warning: &String| warning.contains("--dns-proxy-address");
            assert!(report.warnings.iter().all(is_advice), "{:?}", report.warnings);
            assert_ne!(rules("nft"), before, "{}", path.display());
            uninstalled(&args);
            assert_eq!(rules("nft"), before, "{}", path.display());
        }
    });
}

#[test]
fn traffic_is_redirected() {
    in_own_network("traffic_is_redirected", || {
        installed(&InstallArgs {
            kuma_dp_mark: Some(77),
            ..args()
        });
        let outbound = answering(15001, "outbound");
        let inbound = answering(15006, "inbound");
        let _dns = dns_echo();

        let any = (Ipv4Addr::new(243, 1, 2, 3), 6379).into();
        assert_eq!(ask(any), "outbound");
        assert_eq!(
            ask(([127, 0, 0, 1], 15006).into()),
            "inbound",
            "localhost is left alone"
        );

        // Packets with the mark are those of Envoy: to another host they leave as they are, to this host they are inbound traffic.
        for port in ["7000", "6379"] {
            let mark = ["-p", "tcp", "--dport", port, "-j", "MARK", "--set-mark", "77"];
            let args = [&["-t", "mangle", "-A", "OUTPUT"], &mark[..]].concat();
            run("iptables-nft", &args);
        }
        assert_eq!(ask(([10, 0, 0, 2], 7000).into()), "inbound");
        let unmarked = TcpStream::connect(("10.0.0.2", 7001)).unwrap_err();
        assert_eq!(unmarked.kind(), std::io::ErrorKind::ConnectionRefused);
        let left_alone = TcpStream::connect_timeout(&any, Duration::from_millis(200));
        assert!(left_alone.is_err(), "the proxy's own connection was redirected");

        // A query to a server that does not exist is answered, from the address that was asked.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.connect("10.9.9.9:53").unwrap();
        socket.send(b"query").unwrap();
        let mut answer = [0; 16];
        let length = socket.recv(&mut answer).unwrap();
        assert_eq!(&answer[..length], b"query");
        drop((outbound, inbound));
    });
}

/// Listens on a port of localhost and greets with a word.
#[test]
fn what_the_proxy_was_not_answered_holds_up_no_connection_of_the_application() {
    in_own_network(
        "what_the_proxy_was_not_answered_holds_up_no_connection_of_the_application",
        || {
            installed(&InstallArgs {
                kuma_dp_mark: Some(77),
                ..args()
            });
            let _outbound = answering(15001, "outbound");
            let nowhere = (Ipv4Addr::new(243, 1, 2, 3), 6379).into();
            // All connections come from the same port, as some of them do anywhere in the course of time.
            std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "41000 41000").unwrap();
            // The mark must be there before other rules see the packet, as it is on Envoy's sockets.
            let mark = ["OUTPUT", "-p", "tcp", "-j", "MARK", "--set-mark", "77"];
            run("iptables-nft", &[&["-t", "raw", "-I"], &mark[..]].concat());
            let of_proxy = TcpStream::connect_timeout(&nowhere, Duration::from_millis(200));
            assert!(of_proxy.is_err(), "the proxy's own connection was redirected");
            run("iptables-nft", &[&["-t", "raw", "-D"], &mark[..]].concat());
            assert_eq!(ask(nowhere), "outbound");
        },
    );
}

fn answering(port: u16, word: &'static str) -> std::thread::JoinHandle<()> {
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(word.as_bytes());
        }
    })
}

fn dns_echo() -> std::thread::JoinHandle<()> {
    let socket = UdpSocket::bind("127.0.0.1:15053").unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    })
}

fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn missing_privilege_is_said() {
    // As root the capability is there, so drop it by running as another user.
    let exe = std::env::current_exe().unwrap();
    if std::env::var_os(MARKER).is_some() {
        let error = install(&args(), &mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::NoPermission), "{error}");
        return;
    }
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args([
            "--bounding-set",
            "-all",
            "--inh-caps",
            "-all",
            "--no-new-privs",
            "--reuid",
            "0",
            "--",
        ]);
        command.arg(exe);
        command
    } else {
        Command::new(exe)
    };
    let status = command
        .args(["missing_privilege_is_said", "--exact"])
        .env(MARKER, "1")
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn an_unmapped_user_is_said() {
    if std::env::var_os(MARKER).is_some() {
        let args = InstallArgs {
            kuma_dp_user: Some("5678".to_owned()),
            ..args()
        };
        let error = install(&args, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::UnmappedUser { uid: 5678 }), "{error}");
        return;
    }
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["an_unmapped_user_is_said", "--exact"])
        .env(MARKER, "1")
        .status()
        .expect("needs the program `unshare` (package util-linux)");
    assert!(status.success(), "needs user namespaces");
}
