//! A workload: applications with their sidecar on one host.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::application::{Application, ApplicationKind};
use super::documents::Outbound;
use super::proxy::Proxy;
use crate::machine::Machine;

/// Port of a client's inbound: it serves nothing, but a Dataplane needs one.
const CLIENT_PORT: u16 = 9999;

/// What to start. Made by [`WorkloadSpec::redis`], [`WorkloadSpec::echo`] or [`WorkloadSpec::client`], then adapted.
#[derive(Debug, Clone)]
pub struct WorkloadSpec {
    /// Zone in which it runs.
    pub zone: String,
    /// Mesh.
    pub mesh: String,
    /// Name of the Dataplane, unique in its zone.
    pub name: String,
    /// `kuma.io/service`
    pub service: String,
    /// Labels of the Dataplane.
    pub labels: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<WorkloadPort>,
    /// Whether traffic and DNS of the host are intercepted. Possible in a lab only.
    pub intercepted: bool,
    /// Destinations that an application reaches on a port of its own host.
    pub outbounds: Vec<Outbound>,
}

/// One port of a workload.
#[derive(Debug, Clone)]
pub struct WorkloadPort {
    /// Name of the inbound; may be empty.
    pub name: String,
    /// Number.
    pub number: u16,
    /// `kuma.io/protocol`
    pub protocol: String,
    /// What listens there; `None` for nothing.
    pub application: Option<ApplicationKind>,
}

impl WorkloadSpec {
    /// The service `redis` on port 6379: the stand-in.
    pub fn redis(zone: &str, name: &str) -> Self {
        Self::new(zone, name, "redis", 6379, "tcp", Some(ApplicationKind::Redis))
    }

    /// The service `echo` on port 8080, with `protocol` `tcp`, `http`, `http2` or `grpc`.
    pub fn echo(zone: &str, name: &str, protocol: &str) -> Self {
        Self::new(zone, name, "echo", 8080, protocol, Some(ApplicationKind::Echo))
    }

    /// A host from which a test connects.
    pub fn client(zone: &str, name: &str) -> Self {
        Self::new(zone, name, "client", CLIENT_PORT, "tcp", None)
    }

    fn new(zone: &str, name: &str, service: &str, port: u16, protocol: &str, kind: Option<ApplicationKind>) -> Self {
        Self {
            zone: zone.to_owned(),
            mesh: "default".to_owned(),
            name: name.to_owned(),
            service: service.to_owned(),
            labels: BTreeMap::new(),
            ports: vec![WorkloadPort {
                name: String::new(),
                number: port,
                protocol: protocol.to_owned(),
                application: kind,
            }],
            intercepted: true,
            outbounds: Vec::new(),
        }
    }

    /// In another mesh than `default`.
    #[must_use]
    pub fn mesh(mut self, mesh: &str) -> Self {
        mesh.clone_into(&mut self.mesh);
        self
    }

    /// As another service.
    #[must_use]
    pub fn service(mut self, service: &str) -> Self {
        service.clone_into(&mut self.service);
        self
    }

    /// With one more label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With other ports.
    #[must_use]
    pub fn ports(mut self, ports: Vec<WorkloadPort>) -> Self {
        self.ports = ports;
        self
    }

    /// Without interception: destinations are reached by explicit outbounds.
    #[must_use]
    pub fn explicit(mut self, outbounds: Vec<Outbound>) -> Self {
        self.intercepted = false;
        self.outbounds = outbounds;
        self
    }
}

/// A running workload. Its applications have the order of the ports in the spec.
#[derive(Debug)]
pub struct Workload {
    pub(super) machine: Machine,
    /// Its sidecar.
    pub proxy: Proxy,
    /// Its applications.
    pub applications: Vec<Application>,
}

impl Workload {
    /// Its host.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Its first application.
    ///
    /// # Errors
    /// It has none.
    pub fn application(&mut self) -> Result<&mut Application> {
        let name = self.machine.name();
        self.applications
            .first_mut()
            .with_context(|| format!("no application runs on {name}"))
    }
}
