//! The process: from settings to a running control plane, and its end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use meshspan_api::settings::{Defaults, Issuers};
use meshspan_api::{ApiState, Cors, default_resources};
use meshspan_store::{Store, system_clock};
use meshspan_world::{VipRange, World};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api_threads;
use crate::components::Components;
use crate::diagnostics::{self, Diagnostics};
use crate::dp::{self, DataPlane, Insights};
use crate::engine;
use crate::listener::{self, Limit, Purpose, Server};
use crate::open_store;
use crate::served_configs::ServedConfigs;
use crate::settings::{Mode, Settings, StoreType, load};
use crate::sync;
use crate::tls::{self, ServerTls};

/// How long open connections may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before default resources that could not be created are tried again.
const DEFAULTS_RETRY: Duration = Duration::from_secs(5);

/// `meshspan cp run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Settings file (YAML). KUMA_* variables override it.
    #[arg(short, long = "config-file", value_name = "FILE", env = "KUMA_CONFIG_FILE")]
    pub config_file: Option<PathBuf>,
}

/// Runs a control plane until SIGTERM or SIGINT.
///
/// # Errors
/// Settings that cannot be used, a store that cannot be opened, a port that is taken: each with what to do.
pub async fn run(args: RunArgs) -> Result<()> {
    let (settings, warnings) = load(args.config_file.as_deref(), std::env::vars())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if settings.api_server.authn.anonymous_writes {
        tracing::warn!(
            "KUMA_API_SERVER_AUTHN_ANONYMOUS_WRITES: whoever reaches the API may write and delete resources without a token"
        );
    }
    let components = Components::new();
    let (stop, tasks) = (components.stop().clone(), components.tasks().clone());
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let store = open_store::open_store(&settings).await?;
    tokio::select! {
        started = start(settings, store.clone(), &components) => { started?; }
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = stop.cancelled() => {}
    }
    tracing::info!("stopping; proxies keep their configuration");
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(STOP_TIMEOUT, tasks.wait()).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    match components.failure() {
        None => Ok(()),
        Some(failure) => Err(anyhow::anyhow!(failure)),
    }
}

/// Where a control plane listens; `None` for what it does not serve.
#[derive(Clone, Copy, Debug, Default)]
pub struct Addresses {
    /// REST API, plain.
    pub api: Option<SocketAddr>,
    /// Bootstrap, ADS and agents; zones only.
    pub data_plane: Option<SocketAddr>,
    /// Zone synchronisation; global only.
    pub sync: Option<SocketAddr>,
    /// Health and metrics.
    pub diagnostics: Option<SocketAddr>,
}

/// Starts a control plane on a store and returns when it serves. It runs until the components are told to stop.
///
/// # Errors
/// A port that is taken, a certificate that cannot be used: each with what to do.
pub async fn start(settings: Settings, store: Arc<dyn Store>, components: &Components) -> Result<Addresses> {
    let (stop, tasks) = (components.stop().clone(), components.tasks().clone());
    let mut addresses = Addresses::default();
    let instance_id = instance_id();
    let config = serde_json::to_value(&settings)?;
    let api_settings = api_settings(&settings, &instance_id, config.clone());
    let ready = Arc::new(AtomicBool::new(false));
    let work = engine::Work::default();

    // Every port is bound before anything is created, so that a second control plane changes nothing.
    let files = listener::open_files();
    let mut servers = Vec::new();
    let mut api_servers = Vec::new();
    let api = &settings.api_server;
    if api.http.enabled {
        let listener = listener::bind(
            "the API",
            address(&api.http.interface, api.http.port)?,
            "KUMA_API_SERVER_HTTP_PORT",
        )
        .await?;
        addresses.api = Some(listener.local_addr()?);
        api_servers.push((listener, None));
    }
    if api.https.enabled {
        let listener = listener::bind(
            "the API",
            address(&api.https.interface, api.https.port)?,
            "KUMA_API_SERVER_HTTPS_PORT",
        )
        .await?;
        let tls = ServerTls::load(
            "apiServer.https",
            &api.https.tls_cert_file,
            &api.https.tls_key_file,
            &settings,
        )?;
        api_servers.push((listener, Some(tls.server_config(&["h2", "http/1.1"])?)));
    }
    if settings.diagnostics.server_port != 0 {
        let listener = listener::bind(
            "diagnostics",
            everywhere(settings.diagnostics.server_port),
            "KUMA_DIAGNOSTICS_SERVER_PORT",
        )
        .await?;
        addresses.diagnostics = Some(listener.local_addr()?);
        let state = Diagnostics {
            ready: ready.clone(),
            components: components.clone(),
            work: (settings.mode == Mode::Zone).then(|| work.clone()),
            store: store.clone(),
            instance_id: instance_id.as_str().into(),
        };
        servers.push(Server {
            name: "diagnostics",
            listener,
            tls: None,
            router: diagnostics::router(state),
            streams: &[],
            limit: Limit::share(Purpose::Diagnostics, files),
        });
    }
    let role = match settings.mode {
        Mode::Global => {
            let kds = settings.multizone.global.kds.clone();
            let listener = listener::bind(
                "zone synchronisation",
                everywhere(kds.grpc_port),
                "KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT",
            )
            .await?;
            addresses.sync = Some(listener.local_addr()?);
            let tls = match kds.tls_enabled {
                true => Some(
                    ServerTls::load("multizone.global.kds", &kds.tls_cert_file, &kds.tls_key_file, &settings)?
                        .server_config(&["h2"])?,
                ),
                false => None,
            };
            Role::Global(listener, tls)
        }
        Mode::Zone => {
            let port = settings.dp_server.port;
            let listener = listener::bind("the data plane server", everywhere(port), "KUMA_DP_SERVER_PORT").await?;
            addresses.data_plane = Some(listener.local_addr()?);
            let tls = ServerTls::load(
                "dpServer",
                &settings.dp_server.tls_cert_file,
                &settings.dp_server.tls_key_file,
                &settings,
            )?;
            Role::Zone(listener, tls)
        }
    };

    create_defaults(store.clone(), &api_settings, &stop, &tasks).await;
    let mut state = ApiState {
        store: store.clone(),
        settings: Arc::new(api_settings),
        clock: system_clock(),
        proxy_configs: None,
        log_limit: Arc::default(),
        write_turns: Arc::default(),
    };
    match role {
        Role::Global(listener, tls) => {
            let global = sync::global(store, &settings, &instance_id, stop.clone()).await?;
            components.essential("zone synchronisation", async move {
                if let Err(error) = global.serve(listener, tls).await {
                    tracing::error!(%error, "zone synchronisation ended");
                }
            });
        }
        Role::Zone(listener, tls) => {
            let plane = data_plane(&settings, &state, &instance_id, &tls, work, components)?;
            state.proxy_configs = Some(Arc::new(ServedConfigs::new(plane.engine.clone())));
            servers.push(Server {
                name: "data plane",
                listener,
                tls: Some(tls.server_config(&["h2", "http/1.1"])?),
                router: dp::router(&plane),
                streams: dp::STREAMS,
                limit: Limit::share(Purpose::DataPlane, files),
            });
            if settings.is_federated() {
                let zone = sync::zone(store, &settings, &instance_id, config.to_string())?;
                let stop = stop.clone();
                components.essential(
                    "connection to the global control plane",
                    async move { zone.run(stop).await },
                );
            }
        }
    }
    let router = meshspan_api::router(state);
    let (of_api, stop_api) = (TaskTracker::new(), stop.child_token());
    let threads = api_threads::start(stop_api.clone(), of_api.clone())?;
    for (listener, tls) in api_servers {
        let server = Server {
            name: "api",
            listener,
            tls,
            router: router.clone(),
            streams: &[],
            limit: Limit::share(Purpose::Api, files),
        };
        let serve = listener::serve(server, stop_api.clone(), of_api.clone());
        components.essential_on("API", serve, &of_api, &threads);
    }
    let with_us = stop_api.drop_guard();
    tasks.spawn(async move {
        of_api.wait().await;
        drop(with_us);
    });
    for server in servers {
        let name = server.name;
        components.essential(name, listener::serve(server, stop.clone(), tasks.clone()));
    }
    ready.store(true, Ordering::Release);
    let zone = &settings.multizone.zone;
    tracing::info!(
        mode = ?settings.mode,
        zone = if settings.mode == Mode::Zone { zone.name.as_str() } else { "" },
        global = zone.global_address,
        api = settings.api_server.http.port,
        "control plane is ready"
    );
    Ok(addresses)
}

enum Role {
    Global(tokio::net::TcpListener, Option<Arc<rustls::ServerConfig>>),
    Zone(tokio::net::TcpListener, ServerTls),
}

fn data_plane(
    settings: &Settings,
    api: &ApiState,
    instance_id: &str,
    tls: &ServerTls,
    work: engine::Work,
    components: &Components,
) -> Result<Arc<DataPlane>> {
    let stop = components.stop();
    let store = api.store.clone();
    let flush = settings.xds_server.dataplane_status_flush_interval.0;
    let insights = Arc::new(Insights::new(instance_id.to_owned(), flush));
    let zone = settings.multizone.zone.name.clone();
    let world = World::new(meshspan_world::Settings {
        zone: zone.clone(),
        federated: settings.is_federated(),
        mesh_service_vips: VipRange::parse(&settings.ipam.mesh_service.cidr)?,
        mesh_external_service_vips: VipRange::parse(&settings.ipam.mesh_external_service.cidr)?,
        mesh_multi_zone_service_vips: VipRange::parse(&settings.ipam.mesh_multi_zone_service.cidr)?,
        deletion_grace_period: settings.mesh_service.deletion_grace_period.0.try_into()?,
    });
    let (news, problems) = (insights.clone(), insights.clone());
    let (engine, runner) = engine::engine(
        store.clone(),
        world,
        zone,
        work,
        Arc::new(move |certificate| news.certificate(certificate)),
        Arc::new(move |id, found| problems.problems(id, found)),
    );
    components.essential("engine", runner.run(stop.clone()));
    let (of_insights, of_store, until) = (insights.clone(), store.clone(), stop.clone());
    components.restarted("insights", move || {
        of_insights.clone().run(of_store.clone(), until.clone())
    });
    let trust_changes = Arc::new(dp::TrustChanges::default());
    let (changes, of_store, until) = (trust_changes.clone(), store.clone(), stop.clone());
    components.restarted("trust in tokens", move || {
        changes.clone().run(of_store.clone(), until.clone())
    });
    let presence = dp::Presence::new(&*store, settings.xds_server.dataplane_deregistration_delay.0);
    let plane = Arc::new(DataPlane {
        store,
        engine,
        insights,
        settings: settings.clone(),
        ca_pem: tls.ca_pem.clone(),
        certificate: tls.certificate()?,
        stop: stop.clone(),
        tasks: components.tasks().clone(),
        registrations: dp::Registrations::default(),
        trust_changes,
        log_limit: api.log_limit.clone(),
        presence,
        listening: dp::Listening::default(),
        streams: AtomicU64::new(1),
    });
    let of_presence = plane.clone();
    components.restarted("presence of proxies", move || dp::run_presence(of_presence.clone()));
    Ok(plane)
}

/// Creates what a control plane starts with; what fails, because the disk is full for example, is tried again.
async fn create_defaults(
    store: Arc<dyn Store>,
    settings: &meshspan_api::Settings,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    if default_resources::ensure_defaults(&*store, settings, OffsetDateTime::now_utc())
        .await
        .is_ok()
    {
        return;
    }
    let (settings, stop) = (settings.clone(), stop.clone());
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(DEFAULTS_RETRY) => {}
            }
            if default_resources::ensure_defaults(&*store, &settings, OffsetDateTime::now_utc())
                .await
                .is_ok()
            {
                return;
            }
        }
    });
}

fn api_settings(settings: &Settings, instance_id: &str, config: serde_json::Value) -> meshspan_api::Settings {
    let zone = &settings.multizone.zone;
    let mode = match settings.mode {
        Mode::Global => meshspan_api::Mode::Global,
        Mode::Zone => meshspan_api::Mode::Zone {
            name: zone.name.clone(),
            federated: settings.is_federated(),
        },
    };
    let store_type = match settings.store.store_type {
        StoreType::Memory => "memory",
        StoreType::Sqlite => "sqlite",
    };
    let tokens = &settings.api_server.authn.tokens;
    meshspan_api::Settings {
        store_type: store_type.to_owned(),
        base_path: settings.api_server.base_path.clone(),
        read_only: settings.api_server.read_only,
        localhost_is_admin: settings.api_server.authn.localhost_is_admin,
        anonymous_writes: settings.api_server.authn.anonymous_writes,
        issuers: Issuers {
            user: tokens.enable_issuer,
            dataplane: settings.dp_server.authn.dp_proxy.dp_token.enable_issuer,
            zone: settings.dp_server.authn.zone_proxy.zone_token.enable_issuer,
        },
        access: settings.access.rights.rights(),
        cors: Cors::parse(&settings.api_server.cors_allowed_domains).unwrap_or_default(),
        unsafe_delete: settings.store.unsafe_delete,
        disable_origin_label_validation: zone.disable_origin_label_validation,
        defaults: Defaults {
            skip_mesh_creation: settings.defaults.skip_mesh_creation,
            skip_hostname_generators: settings.defaults.skip_hostname_generators,
            bootstrap_admin_token: tokens.bootstrap_admin_token,
        },
        version: crate::COMPATIBLE_VERSION.to_owned(),
        hostname: tls::hostname().unwrap_or_default(),
        instance_id: instance_id.to_owned(),
        config,
        ..meshspan_api::Settings::new(mode)
    }
}

/// `<hostname>-<4 characters>`, new with each start.
fn instance_id() -> String {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let unique: String = unique.chars().take(4).collect();
    format!("{}-{unique}", tls::hostname().unwrap_or_else(|| "cp".to_owned()))
}

fn address(interface: &str, port: u16) -> Result<SocketAddr> {
    let ip: IpAddr = interface
        .parse()
        .with_context(|| format!("\"{interface}\" is not an address"))?;
    Ok(SocketAddr::new(ip, port))
}

fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)
}
