//! A scripted agent.

use std::collections::BTreeMap;

use meshspan_xds::proto::agent::agent_message::Message as Up;
use meshspan_xds::proto::agent::agent_service_client::AgentServiceClient;
use meshspan_xds::proto::agent::control_plane_message::Message as Down;
use meshspan_xds::proto::agent::{
    AgentMessage, ControlPlaneMessage, DnsUpdate, Goodbye, HealthCheckPlan, HealthReport, Hello, InboundHealth,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::{ControlPlane, PATIENCE};

pub struct Agent {
    requests: mpsc::Sender<AgentMessage>,
    stream: Streaming<ControlPlaneMessage>,
    pub plans: Vec<HealthCheckPlan>,
    pub updates: Vec<DnsUpdate>,
    /// What it answers.
    pub names: BTreeMap<String, Vec<String>>,
}

impl Agent {
    /// Opens the stream of a sidecar's agent.
    pub async fn connect(cp: &ControlPlane, mesh: &str, name: &str, token: Option<&str>) -> Self {
        let (requests, outgoing) = mpsc::channel(8);
        let hello = Hello {
            mesh: mesh.into(),
            name: name.into(),
            proxy_type: if mesh.is_empty() { "ingress" } else { "dataplane" }.into(),
            version: "test".into(),
            wants_dns: true,
            ..Hello::default()
        };
        requests.send(message(Up::Hello(hello))).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(outgoing));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token.parse().unwrap());
        }
        let stream = AgentServiceClient::new(cp.channel().await)
            .stream_agent(request)
            .await
            .unwrap()
            .into_inner();
        Self {
            requests,
            stream,
            plans: Vec::new(),
            updates: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    /// Says how the inbound is.
    pub async fn report(&self, port: u16, ready: bool) {
        let inbound = InboundHealth {
            inbound_port: port.into(),
            ready,
            detail: "test".into(),
        };
        let report = HealthReport {
            inbounds: vec![inbound],
            draining: false,
        };
        self.requests.send(message(Up::Health(report))).await.unwrap();
    }

    /// Says that it has been asked to stop.
    pub async fn drain(&self) {
        let report = HealthReport {
            inbounds: vec![],
            draining: true,
        };
        self.requests.send(message(Up::Health(report))).await.unwrap();
    }

    /// Says that it ends on purpose.
    pub async fn goodbye(&self) {
        self.requests.send(message(Up::Goodbye(Goodbye {}))).await.unwrap();
    }

    /// Takes one message.
    pub async fn step(&mut self) -> Result<(), Status> {
        let message = tokio::time::timeout(PATIENCE, self.stream.message())
            .await
            .expect("a message comes")?;
        match message.and_then(|message| message.message) {
            Some(Down::HealthChecks(plan)) => self.plans.push(plan),
            Some(Down::Dns(update)) => {
                if update.full {
                    self.names.clear();
                }
                for name in &update.removed_names {
                    self.names.remove(name);
                }
                for record in &update.records {
                    self.names.insert(record.name.clone(), record.addresses.clone());
                }
                self.updates.push(update);
            }
            None => return Err(Status::ok("the control plane ended the stream")),
        }
        Ok(())
    }

    /// Takes messages until a condition holds.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            if let Err(status) = self.step().await {
                panic!("waiting for {what}: {status}");
            }
        }
    }
}

fn message(message: Up) -> AgentMessage {
    AgentMessage { message: Some(message) }
}
