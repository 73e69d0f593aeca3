//! Command line of `meshspan dp run` and `meshspan envoy install`: Kuma's flags and variables (spec/dataplane.md §1.3).

use clap::Args as _;
use meshspan_model::environment::Variables;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Flags of `meshspan dp run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    /// The version that control planes are told.
    #[arg(skip = env!("CARGO_PKG_VERSION").to_owned())]
    pub version: String,
    /// Address of the control plane's data plane server.
    #[arg(long, env = "KUMA_CONTROL_PLANE_URL", default_value = "https://localhost:5678")]
    pub cp_address: String,
    /// PEM file with the CA (or the self-signed certificate) of the control plane.
    #[arg(long, env = "KUMA_CONTROL_PLANE_CA_CERT_FILE")]
    pub ca_cert_file: Option<PathBuf>,
    /// The same as PEM text; wins over the file.
    #[arg(long, env = "KUMA_CONTROL_PLANE_CA_CERT", hide = true)]
    pub ca_cert: Option<String>,
    /// Do not verify the control plane's certificate. Anyone on the path can then take over this proxy.
    #[arg(long)]
    pub skip_verify: bool,
    /// Longest pause between two attempts to fetch the bootstrap configuration.
    #[arg(long, env = "KUMA_CONTROL_PLANE_RETRY_BACKOFF", default_value = "3s", value_parser = meshspan_model::duration::parse, hide = true)]
    pub retry_backoff: Duration,
    /// How long to try to fetch the bootstrap configuration.
    #[arg(long, env = "KUMA_CONTROL_PLANE_RETRY_MAX_DURATION", default_value = "5m", value_parser = meshspan_model::duration::parse, hide = true)]
    pub retry_max_duration: Duration,

    /// Name of the proxy, when it is not given by a dataplane document. Default: $POD_NAME.$POD_NAMESPACE.
    #[arg(long, env = "KUMA_DATAPLANE_NAME")]
    pub name: Option<String>,
    /// Mesh of the proxy, when it is not given by a dataplane document.
    #[arg(long, env = "KUMA_DATAPLANE_MESH")]
    pub mesh: Option<String>,
    /// What this proxy is.
    #[arg(long, env = "KUMA_DATAPLANE_PROXY_TYPE", value_enum, default_value_t)]
    pub proxy_type: ProxyType,
    /// File with the Dataplane, ZoneIngress or ZoneEgress document (YAML or JSON); `-` reads standard input.
    #[arg(
        short = 'd',
        long,
        env = "KUMA_DATAPLANE_RUNTIME_RESOURCE_PATH",
        conflicts_with = "dataplane"
    )]
    pub dataplane_file: Option<PathBuf>,
    /// The document itself.
    #[arg(long, allow_hyphen_values = true, env = "KUMA_DATAPLANE_RUNTIME_RESOURCE")]
    pub dataplane: Option<String>,
    /// Value for a `{{ variable }}` in the document, as name=value; may be repeated.
    #[arg(short = 'v', long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    pub dataplane_var: Vec<(String, String)>,
    /// File with the proxy's token; read again at each connection.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_TOKEN_PATH", conflicts_with = "dataplane_token")]
    pub dataplane_token_file: Option<PathBuf>,
    /// The token itself. Other users of the host can see it in the process list: prefer the file.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_TOKEN", hide_env_values = true)]
    pub dataplane_token: Option<Secret>,

    /// How long connections may finish after a stop was asked for.
    #[arg(long, env = "KUMA_DATAPLANE_DRAIN_TIME", default_value = "30s", value_parser = meshspan_model::duration::parse)]
    pub drain_time: Duration,
    /// Envoy binary. Default: `envoy` in PATH, then the copy made by `meshspan envoy install`.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_BINARY_PATH")]
    pub binary_path: Option<PathBuf>,
    /// Folder for the generated bootstrap.yaml. Default: a temporary folder.
    #[arg(long, alias = "work-dir", env = "KUMA_DATAPLANE_RUNTIME_CONFIG_DIR")]
    pub config_dir: Option<PathBuf>,
    /// Number of Envoy's worker threads. Default: by the CPUs the process may use.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_CONCURRENCY")]
    pub concurrency: Option<u32>,
    /// Envoy's log level; its whole log is then shown. Default: warnings and errors are shown, and with RUST_LOG=envoy=debug what it says at
    /// level info.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_ENVOY_LOG_LEVEL")]
    pub envoy_log_level: Option<String>,
    /// Envoy's log levels by component, as `upstream:debug,connection:trace`.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_ENVOY_COMPONENT_LOG_LEVEL")]
    pub envoy_component_log_level: Option<String>,
    /// SO_MARK of every socket that Envoy and the agent open towards others, so that interception can exclude them
    /// where it cannot tell them by user id. 0: none. Needs CAP_NET_ADMIN.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_SOCKET_MARK", default_value_t = 0)]
    pub socket_mark: u32,
    /// Memory limit reported to the control plane, in bytes; 0: unknown.
    #[arg(
        long,
        env = "KUMA_DATAPLANE_RESOURCES_MAX_MEMORY_BYTES",
        default_value_t = 0,
        hide = true
    )]
    pub max_memory_bytes: u64,
    /// Whether the host has IPv6. Default: as the kernel says.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_IPV6_ENABLED", hide = true)]
    pub ipv6_enabled: Option<bool>,
    /// TLS certificate of the metrics endpoint.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_METRICS_CERT_PATH", hide = true)]
    pub metrics_cert_path: Option<String>,
    /// TLS key of the metrics endpoint.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_METRICS_KEY_PATH", hide = true)]
    pub metrics_key_path: Option<String>,

    /// Answer DNS for mesh names. Zone proxies never do.
    #[arg(long, env = "KUMA_DNS_ENABLED", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub dns_enabled: bool,
    /// Port of the DNS server, UDP and TCP; 0 turns it off.
    #[arg(
        long,
        alias = "dns-coredns-port",
        env = "KUMA_DNS_PROXY_PORT",
        default_value_t = 15053
    )]
    pub dns_proxy_port: u16,
    /// Address of the DNS server.
    #[arg(long, env = "KUMA_DNS_PROXY_ADDRESS", default_value = "127.0.0.1")]
    pub dns_proxy_address: IpAddr,
    /// Where the resolvers for all other names are listed.
    #[arg(long, env = "KUMA_DNS_RESOLV_CONF", default_value = "/etc/resolv.conf")]
    pub dns_resolv_conf: PathBuf,
    /// Port of `GET /ready`; 0 turns it off.
    #[arg(long, env = "KUMA_READINESS_PORT", default_value_t = 9902)]
    pub readiness_port: u16,
    /// Address of `GET /ready`.
    #[arg(long, env = "KUMA_READINESS_ADDRESS", default_value = "127.0.0.1")]
    pub readiness_address: IpAddr,

    #[command(flatten)]
    ignored: CoreDnsArgs,
}

/// Settings of the CoreDNS process that Kuma 2.9 runs; accepted so that existing commands start, without effect because
/// the DNS server is part of the agent.
#[derive(Debug, Clone, Default, clap::Args)]
struct CoreDnsArgs {
    #[arg(long, hide = true)]
    dns_envoy_port: Option<u16>,
    #[arg(long, hide = true)]
    dns_prometheus_port: Option<u16>,
    #[arg(long, hide = true)]
    dns_coredns_path: Option<PathBuf>,
    #[arg(long, hide = true)]
    dns_coredns_config_template_path: Option<PathBuf>,
    #[arg(long, hide = true)]
    dns_server_config_dir: Option<PathBuf>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    dns_enable_logging: Option<bool>,
}

/// Variables of Kuma's agent that have no effect here: what they set is not needed.
const WITHOUT_EFFECT: &[&str] = &[
    "KUMA_APPLICATION_PROBE_PROXY_PORT",
    "KUMA_DATAPLANE_RUNTIME_DYNAMIC_CONFIGURATION_REFRESH_INTERVAL",
    "KUMA_DATAPLANE_RUNTIME_SOCKET_DIR",
    "KUMA_DNS_CONFIG_DIR",
    "KUMA_DNS_CORE_DNS_BINARY_PATH",
    "KUMA_DNS_CORE_DNS_CONFIG_TEMPLATE_PATH",
    "KUMA_DNS_ENABLE_LOGGING",
    "KUMA_DNS_ENVOY_DNS_PORT",
    "KUMA_DNS_PROMETHEUS_PORT",
];

/// The variables that the agent reads.
pub(crate) fn variables() -> Variables<'static> {
    let command = RunArgs::augment_args(clap::Command::new("run"));
    let read = command.get_arguments().filter_map(clap::Arg::get_env);
    let known = read.filter_map(|name| name.to_str());
    Variables {
        program: "the agent",
        known: known.chain(WITHOUT_EFFECT.iter().copied()).map(str::to_owned).collect(),
        own: &["KUMA_CONTROL_PLANE_", "KUMA_DATAPLANE_", "KUMA_DNS_", "KUMA_READINESS_"],
        foreign: &[
            "KUMA_CONTROL_PLANE_PORT",
            "KUMA_CONTROL_PLANE_SERVICE_",
            "KUMA_DNS_SERVER_",
        ],
    }
}

/// Flags of `meshspan envoy install`.
#[derive(Debug, Clone, clap::Args)]
pub struct EnvoyInstallArgs {
    /// Envoy version to install.
    #[arg(long, default_value = crate::envoy::ENVOY_VERSION)]
    pub version: String,
    /// Folder that gets the `envoy` binary. Default: the user's cache folder, where the agent looks for it.
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// The kinds of proxy that the agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ProxyType {
    /// A sidecar.
    #[default]
    Dataplane,
    /// A zone ingress.
    Ingress,
    /// A zone egress.
    Egress,
}

impl ProxyType {
    /// Its name in `--proxy-type`, in the bootstrap request and in the agent's Hello.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dataplane => "dataplane",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// The resource type that describes such a proxy.
    pub fn resource_type(self) -> &'static str {
        match self {
            Self::Dataplane => "Dataplane",
            Self::Ingress => "ZoneIngress",
            Self::Egress => "ZoneEgress",
        }
    }
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for the place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not of the form name=value")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        run: RunArgs,
    }

    fn parse(args: &[&str]) -> Result<RunArgs, clap::Error> {
        Program::try_parse_from(std::iter::once(&"dp").chain(args)).map(|program| program.run)
    }

    #[test]
    fn defaults_are_those_of_kuma_dp() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.cp_address, "https://localhost:5678");
        assert_eq!(args.drain_time, Duration::from_secs(30));
        assert_eq!(
            (args.dns_enabled, args.dns_proxy_port, args.readiness_port),
            (true, 15053, 9902)
        );
        assert_eq!(args.retry_max_duration, Duration::from_secs(300));
    }

    #[test]
    fn kuma_dp_command_lines_are_accepted() {
        let args = parse(&[
            "--proxy-type=ingress",
            "-d",
            "ingress.yaml",
            "-v",
            "name=i1",
            "--dataplane-var=address=10.0.0.1",
            "--dns-enabled=false",
            "--dns-coredns-path=/usr/bin/coredns",
            "--dns-enable-logging",
            "--drain-time=1m30s",
        ])
        .unwrap();
        assert_eq!(args.proxy_type, ProxyType::Ingress);
        assert!(!args.dns_enabled);
        assert_eq!(args.dataplane_var.len(), 2);
        assert_eq!(args.drain_time, Duration::from_secs(90));
    }

    #[test]
    fn a_token_is_not_printed() {
        let args = parse(&["--dataplane-token", "eyJhbGci"]).unwrap();
        assert!(!format!("{args:?}").contains("eyJ"));
    }

    #[test]
    fn bad_values_are_named() {
        let error = parse(&["--dataplane-var", "novalue"]).err().unwrap().to_string();
        assert!(error.contains("name=value"), "{error}");
    }
}
