//! `GET /ready`: may this proxy get traffic?

use crate::dns::Table;
use crate::phase::Phase;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

const MAX_CONNECTIONS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// What readiness depends on.
#[derive(Debug, Clone)]
pub(crate) struct Readiness {
    pub(crate) phase: watch::Receiver<Phase>,
    /// `None` where the agent serves no DNS.
    pub(crate) dns: Option<Arc<Table>>,
}

impl Readiness {
    /// `Err` says what is missing.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let phase = self.phase.borrow().clone();
        let admin = match phase {
            Phase::Starting => return Err("waiting for the bootstrap configuration from the control plane".to_owned()),
            Phase::Draining | Phase::Stopped => return Err("TERMINATING".to_owned()),
            Phase::Running(admin) => admin,
        };
        if self.dns.as_ref().is_some_and(|table| !table.is_synced()) {
            return Err("waiting for the first DNS records from the control plane".to_owned());
        }
        match admin {
            None => Ok(()),
            Some(admin) => match admin.server_state().await?.as_str() {
                "LIVE" => Ok(()),
                state => Err(format!("Envoy is {state}")),
            },
        }
    }
}

/// Binds the endpoint; the error names the remedy.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let text = format!(
            "readiness endpoint cannot listen on {address}: {error}; choose another port with --readiness-port, or 0 for none"
        );
        io::Error::new(error.kind(), text)
    })
}

/// Serves until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, readiness: Readiness) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Never closed, so it cannot fail.
        let Ok(permit) = connections.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("readiness endpoint: {error}");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let readiness = readiness.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let service = service_fn(|request| respond(request, &readiness));
            let mut server = hyper::server::conn::http1::Builder::new();
            server
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .keep_alive(false);
            // A client that goes away concerns nobody else.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(request: Request<Incoming>, readiness: &Readiness) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/ready") => match readiness.check().await {
            Ok(()) => (StatusCode::OK, "READY".to_owned()),
            Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
        },
        _ => (StatusCode::NOT_FOUND, "only GET /ready".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}
