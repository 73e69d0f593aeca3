//! All zones together.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use meshspan_lab::eventually;
use serde_json::{Value, json};

use super::application::Application;
use super::control_plane::ControlPlane;
use super::documents::{self, Dataplane, Inbound};
use super::proxy::{Proxy, ProxySetup, SOCKET_MARK};
use super::workload::{Workload, WorkloadSpec};
use super::zone::{Zone, start_egress};
use crate::machine::{Machine, Network};
use crate::program::Program;

/// How long a change may take from one control plane to another.
const SYNC: Duration = Duration::from_secs(30);
const ADMIN_PORT: u16 = 9901;

/// A whole mesh. Dropping it ends its processes, except workloads, which end with their handles.
#[derive(Debug)]
pub struct Deployment {
    /// The global control plane.
    pub global: ControlPlane,
    zones: BTreeMap<String, Zone>,
    program: Program,
    network: Network,
}

/// `KUMA_*` variables for control planes.
#[derive(Debug, Clone, Default)]
pub struct DeploymentOptions<'a> {
    /// Of the global.
    pub global: Vec<(&'a str, &'a str)>,
    /// Of one zone: its name, the variable, the value.
    pub zones: Vec<(&'a str, &'a str, &'a str)>,
}

impl Deployment {
    /// Starts a global, zones with a control plane and an ingress each, and the mesh `default` with mutual TLS in which everything is allowed.
    ///
    /// # Errors
    /// Something does not start; the error says what and shows the end of its log.
    pub async fn start(network: Network, program: Program, zones: &[&str]) -> Result<Self> {
        Self::start_with(network, program, zones, &DeploymentOptions::default()).await
    }

    /// As [`Deployment::start`], with settings of control planes.
    ///
    /// # Errors
    /// See there.
    pub async fn start_with(
        network: Network,
        program: Program,
        zones: &[&str],
        options: &DeploymentOptions<'_>,
    ) -> Result<Self> {
        let machine = network.machine("global", 0, 1).await?;
        let global = ControlPlane::global(&program, machine, &options.global).await?;
        let mut deployment = Self {
            global,
            zones: BTreeMap::new(),
            program,
            network,
        };
        deployment.add_mesh("default").await?;
        let numbered = (1_u8..).zip(zones);
        let started = try_join_all(numbered.map(|(number, name)| deployment.start_zone(name, number, options))).await?;
        deployment.zones = started.into_iter().map(|zone| (zone.name.clone(), zone)).collect();
        Ok(deployment)
    }

    /// Creates a mesh with mutual TLS in which everything is allowed.
    ///
    /// # Errors
    /// The global refuses.
    pub async fn add_mesh(&self, name: &str) -> Result<()> {
        let api = self.global.api();
        api.put(&format!("/meshes/{name}"), &documents::mesh(name)).await?;
        api.put(
            &format!("/meshes/{name}/meshtrafficpermissions/allow-all"),
            &documents::allow_all(name),
        )
        .await
    }

    async fn start_zone(&self, name: &str, number: u8, options: &DeploymentOptions<'_>) -> Result<Zone> {
        let settings: Vec<(&str, &str)> = options
            .zones
            .iter()
            .filter(|(zone, _, _)| *zone == name)
            .map(|(_, name, value)| (*name, *value))
            .collect();
        let zone = Zone::start(&self.network, &self.program, &self.global, name, number, &settings).await;
        zone.with_context(|| format!("starting zone {name}"))
    }

    /// A zone.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn zone(&self, name: &str) -> Result<&Zone> {
        self.zones
            .get(name)
            .with_context(|| format!("this mesh has no zone {name}"))
    }

    /// A zone, to break it.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn zone_mut(&mut self, name: &str) -> Result<&mut Zone> {
        self.zones
            .get_mut(name)
            .with_context(|| format!("this mesh has no zone {name}"))
    }

    /// All zones, by name.
    pub fn zones(&self) -> impl Iterator<Item = &Zone> {
        self.zones.values()
    }

    /// Starts a workload on a host of its own, and waits until its proxy is ready.
    ///
    /// # Errors
    /// Something does not start; the error says what and shows the end of its log.
    pub async fn workload(&mut self, spec: WorkloadSpec) -> Result<Workload> {
        let mut workloads = self.workloads(vec![spec]).await?;
        workloads.pop().context("one was started")
    }

    /// Starts workloads at the same time; they have the order of `specs`.
    ///
    /// # Errors
    /// See [`Deployment::workload`].
    pub async fn workloads(&mut self, specs: Vec<WorkloadSpec>) -> Result<Vec<Workload>> {
        let mut placed = Vec::new();
        for spec in specs {
            let zone = self.zone_mut(&spec.zone)?;
            placed.push((zone.number, zone.take_number(), spec));
        }
        let deployment = &*self;
        let started = placed.iter().map(|(zone, number, spec)| async move {
            let started = deployment.start_workload(spec, *zone, *number).await;
            started.with_context(|| format!("starting {} in {}", spec.name, spec.zone))
        });
        try_join_all(started).await
    }

    /// Starts a zone egress on a host of its own, and waits until it is ready.
    ///
    /// # Errors
    /// See [`Deployment::workload`].
    pub async fn egress(&mut self, zone: &str) -> Result<Proxy> {
        let number = self.zone_mut(zone)?.take_number();
        let of = self.zone(zone)?;
        let machine = self
            .network
            .machine(&format!("{zone}-egress"), of.number, number)
            .await?;
        start_egress(&self.program, &self.global, of, &machine)
            .await
            .with_context(|| format!("starting the egress of {zone}"))
    }

    async fn start_workload(&self, spec: &WorkloadSpec, zone: u8, number: u8) -> Result<Workload> {
        let control_plane = &self.zone(&spec.zone)?.control_plane;
        let machine = self
            .network
            .machine(&format!("{}-{}", spec.zone, spec.name), zone, number)
            .await?;
        ensure!(
            !spec.intercepted || self.network.is_lab(),
            "there is no interception on loopback"
        );
        // With interception applications listen on all addresses, as if there were no mesh.
        let listen = if spec.intercepted {
            Ipv4Addr::UNSPECIFIED
        } else {
            machine.private_address()
        };
        let mut applications = Vec::new();
        for port in &spec.ports {
            if let Some(kind) = port.application {
                let listen = (listen, port.number);
                applications
                    .push(Application::start(&self.program, &machine, kind, listen, &spec.zone, &spec.name).await?);
            }
        }
        if spec.intercepted {
            machine
                .run(self.interception())
                .await
                .context("installing interception")?;
        }
        let setup = ProxySetup {
            proxy_type: "dataplane",
            document: document(spec, &machine)?,
            token: token(control_plane, spec).await?,
            intercepted: spec.intercepted,
        };
        let mut proxy = Proxy::start(&self.program, &machine, control_plane, setup).await?;
        proxy.ready().await?;
        Ok(Workload {
            machine,
            proxy,
            applications,
        })
    }

    fn interception(&self) -> Command {
        self.program.command(&[
            "install",
            "transparent-proxy",
            "--kuma-dp-mark",
            SOCKET_MARK,
            "--redirect-dns",
            "--redirect-all-dns-traffic",
            "--ip-family-mode",
            "ipv4",
        ])
    }
}

fn document(spec: &WorkloadSpec, machine: &Machine) -> Result<Value> {
    let inbounds = spec.ports.iter().map(|port| Inbound {
        name: &port.name,
        port: port.number,
        protocol: &port.protocol,
        service: &spec.service,
        service_address: (!spec.intercepted).then(|| machine.private_address()),
        probed: port.application.is_some(),
    });
    let dataplane = Dataplane {
        mesh: &spec.mesh,
        name: &spec.name,
        address: machine.address(),
        labels: &spec.labels,
        inbounds: inbounds.collect(),
        intercepted: spec.intercepted,
        outbounds: &spec.outbounds,
        outbound_address: machine.private_address(),
        admin_port: machine.port(ADMIN_PORT)?,
    };
    Ok(dataplane.document())
}

/// A token for one proxy. The zone issues it as soon as it has the mesh and its signing key from the global.
async fn token(control_plane: &ControlPlane, spec: &WorkloadSpec) -> Result<String> {
    let request = json!({ "mesh": spec.mesh, "name": spec.name, "type": "dataplane" });
    eventually(&format!("the mesh {} in zone {}", spec.mesh, spec.zone), SYNC, || {
        control_plane.api().post("/tokens/dataplane", &request)
    })
    .await
}
