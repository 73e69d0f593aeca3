//! What a real Envoy uses: its admin interface, asked all the time, because it announces nothing.
//!
//! Admin requests are answered by Envoy's main thread, the one that also takes over endpoints. Asking therefore slows down what it
//! measures: the times are upper bounds.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Request;
use meshspan_lab::{HttpConnection, HttpVersion};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::observation::{Notes, Observer};

/// Pause between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(1);
/// Name of the point for people.
const POINT: &str = "Envoy in east, in use";

/// Asks from a thread of its own until it is dropped.
#[derive(Debug)]
pub struct EnvoyWatch {
    notes: Arc<Notes>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EnvoyWatch {
    /// Watches the endpoints of `cluster` in the Envoy whose admin interface is on this port of loopback.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(admin_port: u16, cluster: &str) -> Result<Self> {
        let (notes, stop) = (Arc::new(Notes::new()), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (notes, stop, cluster) = (notes.clone(), stop.clone(), cluster.to_owned());
            std::thread::Builder::new()
                .name("envoy-admin".to_owned())
                .spawn(move || {
                    if let Err(error) = ask(admin_port, &cluster, &notes, &stop) {
                        eprintln!("asking Envoy's admin interface: {error:#}");
                    }
                })
        };
        Ok(Self {
            notes,
            stop,
            thread: Some(thread.context("starting a thread")?),
        })
    }

    /// Somebody who waits for what Envoy uses.
    pub fn observer(&self) -> Observer {
        self.notes.observer(POINT)
    }
}

impl Drop for EnvoyWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panics only if this program is wrong, and has said so then.
            let _ = thread.join();
        }
    }
}

fn ask(admin_port: u16, cluster: &str, notes: &Notes, stop: &AtomicBool) -> Result<()> {
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting a runtime")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, admin_port));
    let mut connection = runtime.block_on(async {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        HttpConnection::over(stream, "envoy-admin", HttpVersion::Http1).await
    })?;
    while !stop.load(Ordering::Relaxed) {
        let request = Request::get("/clusters?format=json").body(bytes::Bytes::new())?;
        let response = runtime.block_on(connection.send(request))?;
        ensure!(response.status().is_success(), "/clusters: {}", response.status());
        let clusters = serde_json::from_slice(response.body()).context("/clusters is not JSON")?;
        notes.note(is_ready(&clusters, cluster));
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// True if any endpoint of the cluster takes requests (`envoy.admin.v3.Clusters`).
fn is_ready(clusters: &Value, cluster: &str) -> bool {
    let statuses = clusters
        .get("cluster_statuses")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let ours = statuses.filter(|status| status.get("name").and_then(Value::as_str) == Some(cluster));
    let mut hosts = ours
        .filter_map(|status| status.get("host_statuses")?.as_array())
        .flatten();
    hosts.any(|host| host.pointer("/health_status/eds_health_status").and_then(Value::as_str) == Some("HEALTHY"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_endpoints_of_the_cluster_count() {
        let cluster = |name: &str, state: &str| json!({ "name": name, "host_statuses": [{ "health_status": { "eds_health_status": state } }] });
        let clusters =
            json!({ "cluster_statuses": [cluster("a", "HEALTHY"), cluster("b", "UNHEALTHY"), { "name": "empty" }] });
        assert!(is_ready(&clusters, "a"));
        assert!(!is_ready(&clusters, "b"));
        assert!(!is_ready(&clusters, "empty"));
        assert!(!is_ready(&json!({}), "a"));
    }
}
