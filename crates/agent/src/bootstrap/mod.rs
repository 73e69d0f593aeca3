//! Fetching Envoy's bootstrap configuration: `POST /bootstrap` with retries (spec/dataplane.md §1.1, §1.3).

mod request;
mod response;

pub(crate) use request::{BootstrapRequest, EnvoyVersion, MetricsResources, TokenSecretLocation};
pub(crate) use response::Bootstrap;

use crate::backoff::Backoff;
use crate::control_plane::{ConnectError, ControlPlane, Protocol};
use crate::http_client::{self, HttpError};
use crate::wrong_server;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use std::time::{Duration, Instant};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;
/// Longest part of a refusal that is shown.
const MAX_REFUSAL_CHARS: usize = 2000;
/// After this time without an answer people are told what is waited for.
const SILENCE: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no bootstrap configuration.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The control plane's certificate is not acceptable.
    #[error(transparent)]
    Certificate(ConnectError),
    /// The control plane refuses this proxy; the text is its own.
    #[error("control plane {address} refuses this proxy ({status}): {text}")]
    Refused {
        /// Host and port.
        address: String,
        /// HTTP status.
        status: StatusCode,
        /// The server's explanation.
        text: String,
    },
    /// The answer makes no sense.
    #[error("the answer of control plane {address} to the bootstrap request {reason}")]
    Malformed {
        /// Host and port.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// Retried until the time was up.
    #[error("no bootstrap configuration within {} s (--retry-max-duration); last: {last}", waited.as_secs())]
    TimedOut {
        /// How long it was tried.
        waited: Duration,
        /// Why the last attempt failed.
        last: String,
    },
}

/// When to try again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    /// Longest pause between attempts; the first ones are shorter.
    pub(crate) backoff: Duration,
    pub(crate) max_duration: Duration,
}

enum Attempt {
    Retry(String),
    Final(BootstrapError),
}

/// Asks until there is an answer. A missing proxy object (404), an unreachable control plane and a server error are
/// retried, every other refusal is final.
pub(crate) async fn fetch(
    control_plane: &ControlPlane,
    request: &BootstrapRequest,
    retry: RetryPolicy,
) -> Result<Bootstrap, BootstrapError> {
    let started = Instant::now();
    let mut backoff = Backoff::new(FIRST_PAUSE, retry.backoff);
    let mut reported = String::new();
    loop {
        let attempt = attempt(control_plane, request);
        tokio::pin!(attempt);
        let outcome = match tokio::time::timeout(SILENCE, &mut attempt).await {
            Ok(outcome) => outcome,
            Err(_) => {
                if reported.is_empty() {
                    tracing::info!(
                        "waiting for the bootstrap configuration from control plane {}",
                        control_plane.authority()
                    );
                }
                attempt.await
            }
        };
        let reason = match outcome {
            Ok(bootstrap) => return Ok(bootstrap),
            Err(Attempt::Final(error)) => return Err(error),
            Err(Attempt::Retry(reason)) => reason,
        };
        let pause = backoff.next_pause(fastrand::f64());
        if started.elapsed() + pause > retry.max_duration {
            return Err(BootstrapError::TimedOut {
                waited: started.elapsed(),
                last: reason,
            });
        }
        if reason != reported {
            tracing::warn!(control_plane = %control_plane.authority(), "bootstrap: {reason}; trying again");
            reported = reason;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn attempt(control_plane: &ControlPlane, request: &BootstrapRequest) -> Result<Bootstrap, Attempt> {
    let address = control_plane.authority();
    let hint = control_plane.hint();
    let not_connected = |error| match error {
        ConnectError::Certificate { .. } => Attempt::Final(BootstrapError::Certificate(error)),
        error => Attempt::Retry(error.to_string()),
    };
    let addresses = control_plane.resolve().await.map_err(not_connected)?;
    let request = request.clone().with_control_plane_at(&addresses);
    let body = serde_json::to_vec(&request).map(Bytes::from).map_err(|error| {
        Attempt::Final(BootstrapError::Malformed {
            address: address.clone(),
            reason: format!("cannot be asked for: {error}"),
        })
    })?;
    let stream = control_plane.connect(Protocol::Http1).await.map_err(not_connected)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri("/bootstrap")
        .header(HOST, &address)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json")
        .body(Full::new(body))
        .map_err(|error| {
            Attempt::Final(BootstrapError::Malformed {
                address: address.clone(),
                reason: format!("cannot be asked for: {error}"),
            })
        })?;
    let (status, body) = http_client::send(stream, request, MAX_RESPONSE_BYTES, REQUEST_TIMEOUT)
        .await
        .map_err(|error| {
            let is_parse = matches!(&error, HttpError::Connection(error) if error.is_parse());
            let reason =
                wrong_server::http(is_parse, control_plane.is_tls()).map_or_else(|| error.to_string(), str::to_owned);
            Attempt::Retry(format!("no answer from {address}: {reason}{hint}"))
        })?;
    match status {
        StatusCode::OK => {
            let malformed = |reason| {
                Attempt::Final(BootstrapError::Malformed {
                    address,
                    reason: format!("{reason}{hint}"),
                })
            };
            Bootstrap::parse(&body).map_err(malformed)
        }
        // A data plane server says nothing more, other servers say that there is no such path.
        StatusCode::NOT_FOUND => Err(Attempt::Retry(
            match control_plane.is_known_otherwise() || !body.is_empty() {
                false => "the control plane does not know this proxy yet (404)".to_owned(),
                true => format!("{address} is no data plane server, it has no path /bootstrap (404){hint}"),
            },
        )),
        status if status.is_client_error() => Err(Attempt::Final(BootstrapError::Refused {
            address,
            status,
            text: match control_plane.is_known_otherwise() {
                true => format!("{}{hint}", excerpt(&body)),
                false => excerpt(&body),
            },
        })),
        status => Err(Attempt::Retry(format!(
            "the control plane answers {status}: {}",
            excerpt(&body)
        ))),
    }
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(body)
        .trim()
        .chars()
        .take(MAX_REFUSAL_CHARS)
        .collect()
}

#[cfg(test)]
mod tests;
