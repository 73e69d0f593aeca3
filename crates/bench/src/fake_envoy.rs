//! A proxy without a proxy: registers itself over ADS as Envoy does, and notes what it is told of the endpoints of one cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value as ProtoValue};
use meshspan_xds::ResourceType;
use meshspan_xds::client::AdsClient;
use meshspan_xds::proto::ads::{DeltaDiscoveryResponse, Node};
use prost::Message;
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::observation::{Notes, Observer};

/// Who a proxy is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its mesh.
    pub mesh: String,
    /// Name of its Dataplane.
    pub name: String,
    /// Its dataplane token.
    pub token: String,
}

/// What was received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Responses with endpoints.
    pub responses: u64,
    /// Their size on the wire, before HTTP/2 and TLS.
    pub bytes: u64,
}

impl Received {
    /// What was received after an earlier look at the same stream.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            responses: self.responses.saturating_sub(earlier.responses),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    responses: AtomicU64,
    bytes: AtomicU64,
}

/// A connected stream. Dropping it disconnects the proxy.
#[derive(Debug)]
pub struct FakeEnvoy {
    notes: Arc<Notes>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl FakeEnvoy {
    /// Registers `dataplane` and subscribes to the endpoints of `cluster`. Returns when the control plane has let it in.
    ///
    /// # Errors
    /// The control plane does not let it in, or breaks off.
    pub async fn start(channel: Channel, who: &Identity, dataplane: &Value, cluster: &str) -> Result<Self> {
        let mut stream = AdsClient::new(channel, node(who, dataplane), Some(&who.token))?;
        stream.subscribe(ResourceType::Cluster, &[]).await?;
        let Some(clusters) = stream
            .next()
            .await
            .with_context(|| format!("connecting {}", who.name))?
        else {
            bail!("the control plane ended the stream of {}", who.name);
        };
        stream.ack(&clusters).await?;
        stream.subscribe(ResourceType::Endpoint, &[cluster]).await?;
        let (notes, counters) = (Arc::new(Notes::new()), Arc::new(Counters::default()));
        let task = {
            let (notes, counters, name) = (notes.clone(), counters.clone(), who.name.clone());
            tokio::spawn(async move {
                // Whoever waits for an observation learns from its absence that the stream has ended.
                if let Err(error) = follow(stream, &notes, &counters).await {
                    eprintln!("the stream of {name} broke: {error:#}");
                }
            })
        };
        Ok(Self { notes, counters, task })
    }

    /// Somebody who waits for what this proxy sees.
    pub fn observer(&self, point: &'static str) -> Observer {
        self.notes.observer(point)
    }

    /// What was received so far.
    pub fn received(&self) -> Received {
        Received {
            responses: self.counters.responses.load(Ordering::Relaxed),
            bytes: self.counters.bytes.load(Ordering::Relaxed),
        }
    }
}

impl Drop for FakeEnvoy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts everything that comes.
async fn follow(mut stream: AdsClient, notes: &Notes, counters: &Counters) -> Result<()> {
    while let Some(response) = stream.next().await? {
        if response.type_url == ResourceType::Endpoint.type_url() {
            // Before whoever waits goes on and reads them.
            counters.responses.fetch_add(1, Ordering::Relaxed);
            counters
                .bytes
                .fetch_add(u64::try_from(response.encoded_len())?, Ordering::Relaxed);
            note(&response, notes)?;
        }
        stream.ack(&response).await?;
    }
    Ok(())
}

fn note(response: &DeltaDiscoveryResponse, notes: &Notes) -> Result<()> {
    for any in response
        .resources
        .iter()
        .filter_map(|resource| resource.resource.as_ref())
    {
        notes.note(has_ready_endpoint(&any.value)?);
    }
    Ok(())
}

/// Whether any of these encoded endpoints takes requests.
///
/// # Errors
/// They cannot be decoded.
pub fn has_ready_endpoint(assignment: &Bytes) -> Result<bool> {
    let assignment = ClusterLoadAssignment::decode(assignment.clone()).context("endpoints that cannot be decoded")?;
    Ok(is_ready(&assignment))
}

/// Whether the endpoints of this encoded cluster are a resource of their own.
///
/// # Errors
/// It cannot be decoded.
pub fn wants_endpoints(cluster: &Bytes) -> Result<bool> {
    let cluster = Cluster::decode(cluster.clone()).context("a cluster that cannot be decoded")?;
    Ok(cluster.eds_cluster_config.is_some())
}

/// True if any endpoint takes requests.
fn is_ready(assignment: &ClusterLoadAssignment) -> bool {
    let endpoints = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
    endpoints
        .into_iter()
        .any(|endpoint| endpoint.health_status() == HealthStatus::Healthy)
}

/// The node as the bootstrap of a proxy with `--dataplane-file` has it (`spec/dataplane.md` §1).
pub fn node(who: &Identity, dataplane: &Value) -> Node {
    let text = |text: &str| ProtoValue {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let found = |pointer: &str| dataplane.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let service = found("/networking/inbound/0/tags/kuma.io~1service");
    let address = found("/networking/address");
    let fields = [
        ("dataplane.resource", text(&dataplane.to_string())),
        ("dataplane.proxyType", text("dataplane")),
        // By which access logs call the proxy.
        ("accessLog.source.service", text(service)),
        ("accessLog.source.address", text(address)),
        ("accessLog.source.addressWithPort", text(&format!("{address}:0"))),
    ];
    Node {
        id: format!("{}.{}", who.mesh, who.name),
        cluster: who.name.clone(),
        metadata: Some(Struct {
            fields: fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }),
        ..Node::default()
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::endpoint::v3::{LbEndpoint, LocalityLbEndpoints};

    use super::*;

    fn assignment(states: &[HealthStatus]) -> ClusterLoadAssignment {
        let endpoint = |state: &HealthStatus| LbEndpoint {
            health_status: (*state).into(),
            ..LbEndpoint::default()
        };
        let locality = LocalityLbEndpoints {
            lb_endpoints: states.iter().map(endpoint).collect(),
            ..LocalityLbEndpoints::default()
        };
        ClusterLoadAssignment {
            endpoints: vec![locality],
            ..ClusterLoadAssignment::default()
        }
    }

    #[test]
    fn one_healthy_endpoint_is_enough() {
        assert!(!is_ready(&assignment(&[])));
        assert!(!is_ready(&assignment(&[HealthStatus::Unhealthy])));
        assert!(is_ready(&assignment(&[HealthStatus::Unhealthy, HealthStatus::Healthy])));
    }
}
