//! All rules or none, one installation at a time, and hosts without IPv6.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use meshspan_interception::{Error, InstallArgs, install};

use super::network::{in_own_network, in_own_network_with_path, rules, run};
use super::{args, foreign_rules, installed};

#[test]
fn a_refused_installation_changes_nothing() {
    in_own_network("whole::a_refused_installation_changes_nothing", || {
        foreign_rules("nft");
        let clean = rules("nft");
        // A chain with a name of ours that somebody else uses cannot be removed: the nat transaction, the last one, fails.
        let block = || {
            run("ip6tables-nft", &["-t", "nat", "-N", "KUMA_MESH_OLD"]);
            run("ip6tables-nft", &["-t", "nat", "-A", "FOREIGN", "-g", "KUMA_MESH_OLD"]);
        };
        let unblock = || {
            run("ip6tables-nft", &["-t", "nat", "-D", "FOREIGN", "-g", "KUMA_MESH_OLD"]);
            run("ip6tables-nft", &["-t", "nat", "-X", "KUMA_MESH_OLD"]);
        };
        let refused = |args: &InstallArgs| {
            let before = rules("nft");
            let error = install(args, &mut Vec::new()).unwrap_err();
            assert!(matches!(error, Error::Refused { table: "nat", .. }), "{error}");
            assert!(error.to_string().contains("--ip-family-mode ipv4"), "{error}");
            assert_eq!(rules("nft"), before);
        };
        block();
        refused(&args());
        unblock();
        assert_eq!(rules("nft"), clean);

        // The rules of an earlier installation stay in force, in their places among those of others.
        installed(&args());
        run(
            "iptables-nft",
            &["-t", "nat", "-A", "OUTPUT", "-p", "udp", "-j", "FOREIGN"],
        );
        run(
            "iptables-nft",
            &["-t", "nat", "-I", "OUTPUT", "2", "-p", "icmp", "-j", "FOREIGN"],
        );
        block();
        refused(&InstallArgs {
            kuma_dp_mark: Some(77),
            redirect_outbound_port: Some(25001),
            redirect_all_dns_traffic: Some(false),
            drop_invalid_packets: false,
            ..args()
        });
    });
}

#[test]
fn installations_wait_for_each_other() {
    in_own_network("whole::installations_wait_for_each_other", || {
        let ports = [25001, 25002, 25003];
        let with_port = |port| InstallArgs {
            redirect_outbound_port: Some(port),
            ..args()
        };
        let possible: BTreeSet<String> = ports
            .iter()
            .map(|port| {
                installed(&with_port(*port));
                rules("nft")
            })
            .collect();
        std::thread::scope(|scope| {
            for port in ports {
                scope.spawn(move || installed(&with_port(port)));
            }
        });
        let found = rules("nft");
        assert!(possible.contains(&found), "{found}");
    });
}

#[test]
fn an_earlier_installation_for_more_ip_versions_is_replaced() {
    in_own_network(
        "whole::an_earlier_installation_for_more_ip_versions_is_replaced",
        || {
            let ipv4 = InstallArgs {
                ip_family_mode: Some("ipv4".to_owned()),
                ..args()
            };
            installed(&ipv4);
            let expected = rules("nft");
            installed(&args());
            installed(&ipv4);
            assert_eq!(ours(&rules("nft")), ours(&expected));
        },
    );
}

/// Tables that were touched once stay, empty.
fn ours(rules: &str) -> Vec<&str> {
    rules
        .lines()
        .filter(|line| line.contains("KUMA") || line.contains("kuma"))
        .collect()
}

#[test]
fn a_host_without_ipv6_is_intercepted_without_it() {
    in_own_network("whole::a_host_without_ipv6_is_intercepted_without_it", || {
        for interface in ["all", "lo", "eth0", "eth1"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1").unwrap();
        }
        let report = install(&args(), &mut Vec::new()).unwrap();
        assert_eq!(
            report.warnings,
            ["this host has no IPv6: only IPv4 traffic is intercepted"]
        );
        assert!(run("iptables-nft-save", &[]).contains("KUMA_MESH"));
        assert!(!run("ip6tables-nft-save", &[]).contains("KUMA_MESH"));
    });
}

#[test]
fn a_host_without_ip6tables_is_intercepted_without_ipv6() {
    let folder = tempfile::tempdir().unwrap();
    for program in ["iptables-nft-save", "iptables-nft-restore", "ip", "mount", "unshare"] {
        symlink(found(program), folder.path().join(program)).unwrap();
    }
    let test = "whole::a_host_without_ip6tables_is_intercepted_without_ipv6";
    in_own_network_with_path(test, Some(folder.path()), || {
        let report = install(&args(), &mut Vec::new()).unwrap();
        assert!(
            matches!(report.warnings.as_slice(), [only] if only.starts_with("IPv6 traffic is not intercepted") && only.contains("ip6tables")),
            "{:?}",
            report.warnings
        );
        assert!(run("iptables-nft-save", &[]).contains("KUMA_MESH"));
        // Said to be meant, it is no surprise.
        installed(&InstallArgs {
            ip_family_mode: Some("ipv4".to_owned()),
            ..args()
        });
        let only_ipv6 = InstallArgs {
            ip_family_mode: Some("ipv6".to_owned()),
            ..args()
        };
        let before = run("iptables-nft-save", &[]);
        let error = install(&only_ipv6, &mut Vec::new()).unwrap_err();
        assert!(
            matches!(
                error,
                Error::NoIptables {
                    program: "ip6tables",
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(run("iptables-nft-save", &[]).lines().count(), before.lines().count());
    });
}

fn found(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let folders = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    folders
        .map(|folder| folder.join(program))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("needs the program `{program}`"))
}

#[test]
fn a_host_without_a_route_to_services_is_warned_with_the_remedy() {
    in_own_network(
        "whole::a_host_without_a_route_to_services_is_warned_with_the_remedy",
        || {
            run("ip", &["route", "del", "default"]);
            let report = install(&args(), &mut Vec::new()).unwrap();
            assert!(
                matches!(report.warnings.as_slice(), [only] if only.contains("`ip route add 240.0.0.0/4 dev eth0`")),
                "{:?}",
                report.warnings
            );
            run("ip", &["route", "add", "240.0.0.0/4", "dev", "lo"]);
            installed(&args());
        },
    );
}
