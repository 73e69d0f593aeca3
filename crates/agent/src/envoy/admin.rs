//! Envoy's admin interface.

use crate::control_plane::Io;
use crate::http_client;
use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

const TIMEOUT: Duration = Duration::from_secs(2);
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Pause between two looks at an Envoy that starts; it tells nobody when it is done.
const START_PAUSE: Duration = Duration::from_millis(20);

/// Where the admin interface listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AdminAddress {
    Tcp(SocketAddr),
    Pipe(PathBuf),
}

/// `envoy.admin.v3.ListenersConfigDump.DynamicListener`, as far as it is asked for.
#[derive(Deserialize)]
struct ListenerDump {
    #[serde(default)]
    configs: Vec<DynamicListener>,
}

#[derive(Deserialize)]
struct DynamicListener {
    #[serde(default)]
    name: String,
    active_state: Option<serde::de::IgnoredAny>,
    error_state: Option<UpdateFailure>,
}

#[derive(Deserialize)]
struct UpdateFailure {
    #[serde(default)]
    details: String,
}

impl AdminAddress {
    /// A listener on all addresses is reached through loopback.
    pub(crate) fn from_listener(ip: IpAddr, port: u16) -> Self {
        let ip = match ip {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self::Tcp(SocketAddr::new(ip, port))
    }

    /// `GET /ready`: the state that Envoy reports (`LIVE`, `PRE_INITIALIZING`, ...), or why there is none.
    pub(crate) async fn server_state(&self) -> Result<String, String> {
        let (_, body) = self.request(Method::GET, "/ready").await?;
        Ok(String::from_utf8_lossy(&body).trim().to_owned())
    }

    /// Waits until Envoy has started: its listeners have their first configuration and accept connections.
    pub(crate) async fn until_live(&self) {
        while self.server_state().await.as_deref() != Ok("LIVE") {
            tokio::time::sleep(START_PAUSE).await;
        }
    }

    /// The listeners of inbounds by name: whether each listens, or why Envoy rejected it.
    pub(crate) async fn inbound_listeners(&self) -> Result<BTreeMap<String, Result<(), String>>, String> {
        let path = "/config_dump?resource=dynamic_listeners&name_regex=self_inbound_dp_.*\
            &mask=name,active_state.last_updated,error_state.details";
        let (_, body) = self.request(Method::GET, path).await?;
        let dump: ListenerDump =
            serde_json::from_slice(&body).map_err(|error| format!("Envoy admin /config_dump: {error}"))?;
        let named = dump.configs.into_iter().filter(|listener| !listener.name.is_empty());
        let states = named.map(|listener| {
            let state = match (listener.active_state, listener.error_state) {
                (Some(_), _) => Ok(()),
                (None, Some(error)) => Err(error.details),
                (None, None) => Err("it is not active yet".to_owned()),
            };
            (listener.name, state)
        });
        Ok(states.collect())
    }

    /// The statistics that tell how far Envoy is with its control plane, as lines of `name: value`.
    pub(crate) async fn control_plane_statistics(&self) -> Result<String, String> {
        let filter = "/stats?filter=^(control_plane\\.connected_state|cluster\\.ads_cluster\\.(membership_total|upstream_cx_connect_fail))$";
        let (_, body) = self.request(Method::GET, filter).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Whether Envoy has rejected a listener or a cluster since its start.
    pub(crate) async fn has_rejected(&self) -> Result<bool, String> {
        let filter = "/stats?filter=^(listener_manager\\.lds|cluster_manager\\.cds)\\.update_rejected$";
        let (_, body) = self.request(Method::GET, filter).await?;
        let counts = String::from_utf8_lossy(&body);
        Ok(counts.lines().any(|line| !line.ends_with(": 0")))
    }

    /// `POST /healthcheck/fail`: Envoy answers health checks of others with failure from now on.
    pub(crate) async fn fail_health_checks(&self) -> Result<(), String> {
        self.post("/healthcheck/fail").await
    }

    /// `POST /drain_listeners`, of what comes in: connections are asked to finish, new ones are still taken until Envoy is
    /// stopped. The application itself may go on calling others.
    pub(crate) async fn drain_inbound_listeners(&self) -> Result<(), String> {
        self.post("/drain_listeners?inboundonly&graceful&skip_exit").await
    }

    /// `GET /stats`: the counters of requests and connections that RBAC filters denied, a line each.
    pub(crate) async fn denials(&self) -> Result<String, String> {
        let path = "/stats?usedonly&filter=self_inbound_dp_.*rbac%5C.denied$";
        let (_, body) = self.request(Method::GET, path).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn post(&self, path: &'static str) -> Result<(), String> {
        match self.request(Method::POST, path).await? {
            (StatusCode::OK, _) => Ok(()),
            (status, body) => Err(format!(
                "POST {path}: {status}: {}",
                String::from_utf8_lossy(&body).trim()
            )),
        }
    }

    async fn request(&self, method: Method, path: &'static str) -> Result<(StatusCode, Bytes), String> {
        let failed = |error: &dyn std::fmt::Display| format!("Envoy admin {path}: {error}");
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "envoy-admin")
            .body(Full::new(Bytes::new()))
            .map_err(|error| failed(&error))?;
        let stream: Box<dyn Io> = match self {
            Self::Tcp(address) => Box::new(TcpStream::connect(address).await.map_err(|error| failed(&error))?),
            Self::Pipe(path) => Box::new(UnixStream::connect(path).await.map_err(|error| failed(&error))?),
        };
        http_client::send(stream, request, MAX_BODY_BYTES, TIMEOUT)
            .await
            .map_err(|error| failed(&error))
    }
}
