//! Everything up to a running Envoy, in order: settings, DNS and readiness listeners, bootstrap, Envoy, agent stream.

use crate::access_log::LogSink;
use crate::announce::Announcement;
use crate::args::{ProxyType, RunArgs};
use crate::bootstrap::{self, BootstrapRequest, MetricsResources, RetryPolicy};
use crate::config_folder::ConfigFolder;
use crate::control_plane::{ControlPlane, ControlPlaneAddressError};
use crate::denials;
use crate::dns::{DnsServer, DnsSettings, Table};
use crate::envoy::{self, AdminAddress, EnvoyCommand, EnvoyProcess};
use crate::health::Prober;
use crate::interception;
use crate::phase::{self, Phase};
use crate::proxy::Proxy;
use crate::readiness::{self, Readiness};
use crate::socket::SocketMark;
use crate::stream::AgentStream;
use crate::tls::Trust;
use crate::token::Token;
use crate::token_expiry;
use crate::token_secret::TokenSecret;
use anyhow::{Context, anyhow, bail};
use meshspan_model::kinds::mesh_access_log::sink_socket;
use meshspan_xds::proto::agent::Hello;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

const MAX_CA_BYTES: u64 = 1024 * 1024;
/// Where distributions keep the CA bundle for TLS to external services.
const SYSTEM_CA_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A running data plane.
pub(crate) struct Started {
    pub(crate) envoy: EnvoyProcess,
    /// The agent stream's task; ends after `Phase::Stopped`.
    pub(crate) stream: JoinSet<()>,
    pub(crate) admin: Option<AdminAddress>,
    pub(crate) config_folder: ConfigFolder,
}

/// Starts everything; the tasks that never end go to `background`. What can be wrong on this host is found first,
/// before the control plane is asked. DNS is served from the beginning, because where DNS is redirected to the agent
/// the control plane's own name is resolved through it.
pub(crate) async fn start(
    args: &RunArgs,
    phase: watch::Receiver<Phase>,
    background: &mut JoinSet<()>,
) -> anyhow::Result<Started> {
    let mark = SocketMark(args.socket_mark);
    mark.check()?;
    let proxy = Proxy::resolve(args, pod_name())?;
    let token = token(args);
    token.read()?;
    let ca = ca_certificate(args)?;
    let control_plane =
        ControlPlane::new(&args.cp_address, trust(args, ca.as_deref()), mark).map_err(|error| {
            match (error, &args.ca_cert_file) {
                (ControlPlaneAddressError::Trust(reason), Some(path)) if ca.is_some() => {
                    anyhow!(
                        "--ca-cert-file {}: {reason}; it must be the ca.pem of the control plane",
                        path.display()
                    )
                }
                (error, _) => error.into(),
            }
        })?;
    let binary = envoy::find_envoy(args.binary_path.as_deref().filter(|path| !path.as_os_str().is_empty()))?;
    let envoy_version = envoy::ask_version(&binary).await?;

    let serves_dns = args.dns_enabled && args.dns_proxy_port != 0 && args.proxy_type == ProxyType::Dataplane;
    let dns = serves_dns.then(|| Arc::new(Table::new()));
    if let Some(table) = &dns {
        let settings = DnsSettings {
            listen: SocketAddr::new(args.dns_proxy_address, args.dns_proxy_port),
            resolv_conf: args.dns_resolv_conf.clone(),
            mark,
        };
        background.spawn(DnsServer::bind(&settings, table.clone()).await?.serve());
    }
    if args.readiness_port != 0 {
        let listener = readiness::bind(SocketAddr::new(args.readiness_address, args.readiness_port)).await?;
        background.spawn(readiness::serve(
            listener,
            Readiness {
                phase: phase.clone(),
                dns: dns.clone(),
            },
        ));
    }

    let config_folder = ConfigFolder::open(args.config_dir.as_deref())?;
    let token_path = token.path().map(absolute).unwrap_or_default();
    let token = Arc::new(TokenSecret::new(token, Path::new(&absolute(config_folder.path()))));
    let mut request = BootstrapRequest::new(&proxy, args.version.clone(), envoy_version);
    request.dataplane_token_path = token_path;
    request.dataplane_token = token.refresh()?.unwrap_or_default();
    request.token_secret = token.location();
    background.spawn(token.clone().follow());
    background.spawn(token_expiry::warn(token.clone(), proxy.name.clone()));
    request.ca_cert = ca.unwrap_or_default();
    request.readiness_port = args.readiness_port.into();
    request.resources.max_heap_size_bytes = args.max_memory_bytes;
    request.workdir = absolute(config_folder.path());
    if let Some(socket) = sink_socket(&request.workdir) {
        let sink = LogSink::bind(Path::new(&socket), mark);
        background.spawn(
            sink.with_context(|| format!("{socket} cannot take access logs"))?
                .serve(),
        );
    }
    request.metrics_resources = MetricsResources {
        cert_path: args.metrics_cert_path.clone().unwrap_or_default(),
        key_path: args.metrics_key_path.clone().unwrap_or_default(),
    };
    request.system_ca_path = SYSTEM_CA_BUNDLES
        .iter()
        .find(|path| Path::new(path).exists())
        .map_or_else(String::new, |path| (*path).to_owned());
    request.ipv6_enabled = args.ipv6_enabled.unwrap_or_else(has_ipv6);
    request.socket_mark = args.socket_mark;
    let retry = RetryPolicy {
        backoff: args.retry_backoff,
        max_duration: args.retry_max_duration,
    };
    for problem in proxy.problems() {
        tracing::error!("{}: {problem}", proxy.name);
    }
    for warning in proxy.warnings() {
        tracing::warn!("{}: {warning}", proxy.name);
    }
    // Where rules lead the agent's own connections astray it waits for ever, and should say why.
    let done = Notify::new();
    let fetching = async {
        let fetched = bootstrap::fetch(&control_plane, &request, retry).await;
        done.notify_one();
        fetched
    };
    let looking = async {
        if let Some(networking) = &proxy.networking {
            interception::look_until(&done, &proxy.name, networking, mark).await;
        }
    };
    let (bootstrap, ()) = tokio::join!(fetching, looking);
    let bootstrap = bootstrap?;
    tracing::debug!(mesh = proxy.mesh, name = proxy.name, "bootstrap configuration received");

    let command = EnvoyCommand {
        config_path: config_folder.write_bootstrap(&bootstrap.yaml)?,
        binary,
        drain_time: args.drain_time,
        log_level: args.envoy_log_level.clone().filter(|level| !level.is_empty()),
        component_log_level: args.envoy_component_log_level.clone(),
        concurrency: args.concurrency,
    };
    let envoy = EnvoyProcess::start(&command)
        .await
        .with_context(|| format!("Envoy ({}) cannot be started", command.binary.display()))?;

    let (plans, plans_seen) = watch::channel(None);
    let (reports, reports_seen) = watch::channel(None);
    let (inbounds, has_problems) = (proxy.sections(), !proxy.problems().is_empty());
    let prober = Prober::new(mark, proxy.inbound_ports, reports).run(plans_seen, phase.clone());
    let starting = bootstrap.admin.clone();
    let mut leaving = phase.clone();
    let announcement = Announcement {
        name: proxy.name.clone(),
        control_plane: control_plane.authority(),
        readiness: Readiness {
            phase: phase.clone(),
            dns: dns.clone(),
        },
        inbounds,
        has_problems,
    };
    let probing = async move {
        // Nobody must be sent here before Envoy listens, however well the application is.
        if let Some(admin) = starting {
            tokio::select! {
                () = admin.until_live() => {}
                () = phase::until(&mut leaving, Phase::is_leaving) => {}
            }
        }
        prober.await;
    };
    // Probing goes on when all is said.
    background.spawn(async move {
        tokio::join!(announcement.run(), probing);
    });
    if proxy.proxy_type == ProxyType::Dataplane {
        background.spawn(interception::watch(proxy.name.clone(), mark));
    }
    let (denials, denials_seen) = watch::channel(None);
    if let Some(admin) = bootstrap.admin.clone() {
        background.spawn(denials::watch(admin, denials));
    }
    let mut stream = JoinSet::new();
    let hello = Hello {
        mesh: proxy.mesh,
        name: proxy.name,
        proxy_type: args.proxy_type.as_str().to_owned(),
        version: args.version.clone(),
        wants_dns: dns.is_some(),
        ..Hello::default()
    };
    stream.spawn(
        AgentStream {
            control_plane,
            token,
            hello,
            dns,
            plans,
            reports: reports_seen,
            denials: denials_seen,
            phase,
        }
        .run(),
    );
    Ok(Started {
        envoy,
        stream,
        admin: bootstrap.admin,
        config_folder,
    })
}

fn pod_name() -> Option<String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    Some(format!("{}.{}", variable("POD_NAME")?, variable("POD_NAMESPACE")?))
}

fn token(args: &RunArgs) -> Token {
    match (&args.dataplane_token, &args.dataplane_token_file) {
        (Some(text), _) if !text.expose().trim().is_empty() => Token::Text(text.clone()),
        (_, Some(path)) if !path.as_os_str().is_empty() => Token::File(path.clone()),
        _ => Token::None,
    }
}

fn ca_certificate(args: &RunArgs) -> anyhow::Result<Option<String>> {
    if let Some(text) = args.ca_cert.as_ref().filter(|text| !text.trim().is_empty()) {
        return Ok(Some(text.clone()));
    }
    let Some(path) = args.ca_cert_file.as_ref().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(None);
    };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_CA_BYTES + 1).read_to_string(&mut text))
        .with_context(|| format!("--ca-cert-file {} cannot be read", path.display()))?;
    if text.len() as u64 > MAX_CA_BYTES {
        bail!(
            "--ca-cert-file {} is larger than 1 MiB: not a CA certificate",
            path.display()
        );
    }
    Ok(Some(text))
}

fn trust(args: &RunArgs, ca: Option<&str>) -> Option<Trust> {
    if args.skip_verify {
        tracing::warn!("--skip-verify: the control plane's certificate is not verified");
        return Some(Trust::Anything);
    }
    ca.map(|pem| Trust::Ca(pem.to_owned()))
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path)
        .unwrap_or_else(|_| path.to_owned())
        .display()
        .to_string()
}

/// The kernel lists the IPv6 addresses of this network namespace there; the file is missing where IPv6 is off.
fn has_ipv6() -> bool {
    std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|addresses| !addresses.trim().is_empty())
}
