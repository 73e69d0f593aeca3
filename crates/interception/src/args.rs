//! Command-line flags, and the settings that result from flags, environment and file.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::environment;
use crate::error::Error;
use crate::host::read_text;
use crate::settings::{Layer, Settings};

/// Flags of `meshspan install transparent-proxy` (`spec/dataplane.md` §7).
#[derive(Debug, Clone, Default, Args)]
pub struct InstallArgs {
    /// User that runs Envoy and the agent, name or id [default: id 5678 if there is such a user, else kuma-dp]
    #[arg(long, value_name = "USER")]
    pub kuma_dp_user: Option<String>,
    /// Tell Envoy's sockets by this SO_MARK instead of by their owner; 0 turns it off
    #[arg(long, value_name = "MARK")]
    pub kuma_dp_mark: Option<u32>,
    /// IP versions to intercept: dualstack, ipv4 or ipv6 [default: dualstack]
    #[arg(long, value_name = "MODE")]
    pub ip_family_mode: Option<String>,
    /// Whether to intercept traffic to the application [default: true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub redirect_inbound: Option<bool>,
    /// Envoy's port for inbound traffic [default: 15006]
    #[arg(long, value_name = "PORT")]
    pub redirect_inbound_port: Option<u32>,
    /// Envoy's port for outbound traffic [default: 15001]
    #[arg(long, value_name = "PORT")]
    pub redirect_outbound_port: Option<u32>,
    /// Inbound ports to leave alone: 22,8000-8010
    #[arg(long, value_name = "PORTS")]
    pub exclude_inbound_ports: Option<String>,
    /// Outbound ports to leave alone
    #[arg(long, value_name = "PORTS")]
    pub exclude_outbound_ports: Option<String>,
    /// Sources whose traffic is left alone, addresses or CIDRs; repeatable
    #[arg(long, value_name = "IPS", value_delimiter = ',')]
    pub exclude_inbound_ips: Vec<String>,
    /// Destinations that are left alone, addresses or CIDRs; repeatable
    #[arg(long, value_name = "IPS", value_delimiter = ',')]
    pub exclude_outbound_ips: Vec<String>,
    /// Outbound traffic of certain users to leave alone: uids, ports:uids or protocol:ports:uids, as tcp:22,8000-8010:1000-1010; repeatable
    #[arg(long, value_name = "SPEC")]
    pub exclude_outbound_ports_for_uids: Vec<String>,
    /// Put the inbound jump before existing rules rather than after them
    #[arg(long)]
    pub redirect_inbound_insert_instead_of_append: bool,
    /// Put the outbound jump before existing rules rather than after them
    #[arg(long)]
    pub redirect_outbound_insert_instead_of_append: bool,
    /// Intercept DNS queries to the servers of /etc/resolv.conf
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub redirect_dns: Option<bool>,
    /// Intercept DNS queries to any server
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub redirect_all_dns_traffic: Option<bool>,
    /// The agent's DNS port [default: 15053]
    #[arg(long, value_name = "PORT")]
    pub redirect_dns_port: Option<u32>,
    /// Do not keep the queries of the application and of the agent apart in conntrack
    #[arg(long)]
    pub skip_dns_conntrack_zone_split: bool,
    /// Intercept traffic of a bridge of containers or virtual machines too: docker0:172.17.0.0/16; repeatable
    #[arg(long, value_name = "INTERFACE:CIDR", value_delimiter = ',')]
    pub vnet: Vec<String>,
    /// Drop packets that conntrack finds invalid
    #[arg(long)]
    pub drop_invalid_packets: bool,
    /// Log each packet that enters the rules
    #[arg(long)]
    pub iptables_logs: bool,
    /// Install rules without comments
    #[arg(long)]
    pub disable_comments: bool,
    /// Seconds to wait for the iptables lock, 0 waits for ever [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u32>,
    /// Microseconds between attempts to take the lock
    #[arg(long, value_name = "MICROSECONDS")]
    pub wait_interval: Option<u32>,
    /// Attempts after the first when iptables is busy [default: 4]
    #[arg(long, value_name = "COUNT")]
    pub max_retries: Option<u32>,
    /// Pause between these attempts [default: 2s]
    #[arg(long, value_name = "DURATION")]
    pub sleep_between_retries: Option<String>,
    /// Make the rules permanent in firewalld (not supported, refused)
    #[arg(long, hide = true)]
    pub store_firewalld: bool,
    /// Print the rules and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print each transaction
    #[arg(long)]
    pub verbose: bool,
    /// Settings as YAML or JSON text
    #[arg(long, value_name = "TEXT", conflicts_with = "config_file")]
    pub config: Option<String>,
    /// File with settings as YAML or JSON
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
}

/// Flags of `meshspan uninstall transparent-proxy`.
#[derive(Debug, Clone, Default, Args)]
pub struct UninstallArgs {
    /// The flags of the installation. They are needed only to recognise rules that were installed without comments.
    #[command(flatten)]
    pub install: InstallArgs,
}

impl InstallArgs {
    /// The settings: these flags over the environment over the file over the defaults.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Settings`], [`Error::Invalid`] with the origin of the wrong value.
    pub fn settings(&self) -> Result<Settings, Error> {
        self.settings_with(&|name| std::env::var(name).ok())
    }

    fn settings_with(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Settings, Error> {
        let mut layers = Vec::new();
        if let Some(path) = &self.config_file {
            layers.push(Layer::parse(&path.display().to_string(), &read_text(path)?)?);
        }
        if let Some(text) = &self.config {
            layers.push(Layer::parse("--config", text)?);
        }
        layers.push(environment::layer(variable)?);
        layers.push(Layer {
            origin: "flags".to_owned(),
            value: self.overlay(),
        });
        Settings::from_layers(layers)
    }

    /// The flags that were given, in the shape of [`Settings`].
    fn overlay(&self) -> Value {
        let on = |flag: bool| flag.then_some(true);
        let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        object([
            ("kumaDPUser", json!(self.kuma_dp_user)),
            ("kumaDPMark", json!(self.kuma_dp_mark)),
            ("ipFamilyMode", json!(self.ip_family_mode)),
            (
                "redirect",
                object([
                    (
                        "inbound",
                        object([
                            ("enabled", json!(self.redirect_inbound)),
                            ("port", json!(self.redirect_inbound_port)),
                            ("excludePorts", json!(self.exclude_inbound_ports)),
                            ("excludePortsForIPs", json!(list(&self.exclude_inbound_ips))),
                            (
                                "insertRedirectInsteadOfAppend",
                                json!(on(self.redirect_inbound_insert_instead_of_append)),
                            ),
                        ]),
                    ),
                    (
                        "outbound",
                        object([
                            ("port", json!(self.redirect_outbound_port)),
                            ("excludePorts", json!(self.exclude_outbound_ports)),
                            ("excludePortsForIPs", json!(list(&self.exclude_outbound_ips))),
                            (
                                "excludePortsForUIDs",
                                json!(list(&self.exclude_outbound_ports_for_uids)),
                            ),
                            (
                                "insertRedirectInsteadOfAppend",
                                json!(on(self.redirect_outbound_insert_instead_of_append)),
                            ),
                        ]),
                    ),
                    (
                        "dns",
                        object([
                            ("enabled", json!(self.redirect_dns)),
                            ("captureAll", json!(self.redirect_all_dns_traffic)),
                            ("port", json!(self.redirect_dns_port)),
                            ("skipConntrackZoneSplit", json!(on(self.skip_dns_conntrack_zone_split))),
                        ]),
                    ),
                    ("vnet", object([("networks", json!(list(&self.vnet)))])),
                ]),
            ),
            ("dropInvalidPackets", json!(on(self.drop_invalid_packets))),
            ("log", object([("enabled", json!(on(self.iptables_logs)))])),
            ("comments", object([("disabled", json!(on(self.disable_comments)))])),
            ("wait", json!(self.wait)),
            ("waitInterval", json!(self.wait_interval)),
            (
                "retry",
                object([
                    ("maxRetries", json!(self.max_retries)),
                    ("sleepBetweenRetries", json!(self.sleep_between_retries)),
                ]),
            ),
            ("storeFirewalld", json!(on(self.store_firewalld))),
            ("dryRun", json!(on(self.dry_run))),
            ("verbose", json!(on(self.verbose))),
        ])
    }
}

/// A JSON object. Flags that were not given are null, which changes nothing when layers are merged.
fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Object(
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        install: InstallArgs,
    }

    fn parse(flags: &[&str]) -> InstallArgs {
        Cli::try_parse_from(std::iter::once(&"x").chain(flags)).unwrap().install
    }

    #[test]
    fn flags_over_environment_over_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "wait: 1\nwaitInterval: 1\nredirect: {dns: {port: 1}}\n").unwrap();
        let args = parse(&["--config-file", file.path().to_str().unwrap(), "--wait", "3"]);
        let environment = |name: &str| {
            ["KUMA_TRANSPARENT_PROXY_WAIT", "KUMA_TRANSPARENT_PROXY_WAIT_INTERVAL"]
                .contains(&name)
                .then(|| "2".to_owned())
        };
        let settings = args.settings_with(&environment).unwrap();
        assert_eq!(
            (settings.wait, settings.wait_interval, settings.redirect.dns.port),
            (3, 2, 1)
        );
    }

    #[test]
    fn every_flag_reaches_its_setting() {
        let args = parse(&[
            "--kuma-dp-user=1",
            "--kuma-dp-mark=2",
            "--ip-family-mode=ipv4",
            "--redirect-inbound=false",
            "--redirect-inbound-port=3",
            "--redirect-outbound-port=4",
            "--exclude-inbound-ports=5,6",
            "--exclude-outbound-ports=7",
            "--exclude-inbound-ips=10.0.0.1,10.0.0.2",
            "--exclude-outbound-ips=10.0.0.3",
            "--exclude-outbound-ports-for-uids=tcp:1,2:3",
            "--exclude-outbound-ports-for-uids=4",
            "--redirect-inbound-insert-instead-of-append",
            "--redirect-outbound-insert-instead-of-append",
            "--redirect-dns",
            "--redirect-all-dns-traffic",
            "--redirect-dns-port=8",
            "--skip-dns-conntrack-zone-split",
            "--vnet=docker0:172.17.0.0/16",
            "--drop-invalid-packets",
            "--iptables-logs",
            "--disable-comments",
            "--wait=9",
            "--wait-interval=10",
            "--max-retries=11",
            "--sleep-between-retries=12s",
            "--store-firewalld",
            "--dry-run",
            "--verbose",
        ]);
        let settings = serde_json::to_value(args.settings_with(&|_| None).unwrap()).unwrap();
        let default = serde_json::to_value(Settings::default()).unwrap();
        // No flag exists for these settings.
        let without_flag = [
            "/redirect/outbound/enabled",
            "/redirect/inbound/includePorts",
            "/redirect/outbound/includePorts",
            "/redirect/inbound/excludePortsForUIDs",
            "/redirect/dns/resolvConfigPath",
            "/log/level",
        ];
        let mut unchanged = Vec::new();
        leaves("", &default, &mut |path, value| {
            if settings.pointer(path) == Some(value) {
                unchanged.push(path.to_owned());
            }
        });
        unchanged.sort();
        let mut expected = without_flag.map(str::to_owned).to_vec();
        expected.sort();
        assert_eq!(unchanged, expected);
    }

    fn leaves(path: &str, value: &Value, visit: &mut dyn FnMut(&str, &Value)) {
        match value {
            Value::Object(fields) => fields
                .iter()
                .for_each(|(key, value)| leaves(&format!("{path}/{key}"), value, visit)),
            leaf => visit(path, leaf),
        }
    }
}
