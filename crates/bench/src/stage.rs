//! The mesh that is measured: two zones, a client with a real Envoy in east, fake proxies in both.

use std::time::Duration;

use anyhow::{Context, Result};
use meshspan_demo::{ControlPlane, Deployment, Network, Outbound, Process, Program, Workload, WorkloadSpec};
use meshspan_lab::eventually;
use serde_json::{Value, json};

use crate::data_plane_server;
use crate::envoy_admin::EnvoyWatch;
use crate::fake_agent::FakeAgent;
use crate::fake_envoy::{FakeEnvoy, Identity, Received};
use crate::observation::Observer;
use crate::process::{Role, Watched, children};

const EAST: &str = "east";
const WEST: &str = "west";
const MESH: &str = "default";
const CLIENT: &str = "client";
/// The service whose one instance, in west, changes.
const SERVICE: &str = "bench";
const PORT: u16 = 6379;
/// Its endpoints in sidecars: the KRI of the MeshMultiZoneService (`spec/dataplane.md` §2.2).
const CLUSTER: &str = "kri_mzsvc_default___bench_6379";
/// Where the client's Envoy listens for it.
const OUTBOUND_PORT: u16 = 16379;
/// How long a state may take while the mesh is built.
const LIMIT: Duration = Duration::from_secs(30);

/// A running mesh. Dropping it ends everything, in the order of the fields: streams before their servers.
pub struct Stage {
    instance: FakeAgent,
    /// The first one is the instance.
    west: Vec<FakeEnvoy>,
    east: Vec<FakeEnvoy>,
    _client: Workload,
    deployment: Deployment,
    processes: Vec<Watched>,
    client_admin_port: u16,
}

impl Stage {
    /// Builds the mesh.
    ///
    /// # Errors
    /// Something does not start; the error says what.
    pub async fn start(network: Network, program: Program, proxies: u8) -> Result<Self> {
        let mut deployment = Deployment::start(network, program, &[EAST, WEST]).await?;
        deployment
            .global
            .api()
            .put(
                &format!("/meshes/{MESH}/meshmultizoneservices/{SERVICE}"),
                &multi_zone_service(),
            )
            .await?;
        let outbound = Outbound {
            port: OUTBOUND_PORT,
            service: SERVICE.to_owned(),
            service_port: PORT,
        };
        let mut client = deployment
            .workload(WorkloadSpec::client(EAST, CLIENT).explicit(vec![outbound]))
            .await?;
        let in_west = fake_proxies(&deployment, WEST, 2, SERVICE, proxies).await?;
        let in_east = fake_proxies(&deployment, EAST, 1, "observer", proxies).await?;
        let (who, _) = in_west.first().context("there is a fake proxy in west")?;
        let west_control_plane = &deployment.zone(WEST)?.control_plane;
        let instance = FakeAgent::start(data_plane_server::connect(west_control_plane).await?, who, PORT).await?;
        let client_admin_port = admin_port(&deployment.zone(EAST)?.control_plane).await?;
        let processes = processes(&mut deployment, &mut client)?;
        let proxies_of = |proxies: Vec<(Identity, FakeEnvoy)>| proxies.into_iter().map(|(_, proxy)| proxy).collect();
        let (west, east) = (proxies_of(in_west), proxies_of(in_east));
        Ok(Self {
            instance,
            west,
            east,
            _client: client,
            deployment,
            processes,
            client_admin_port,
        })
    }

    /// The instance's agent reports.
    ///
    /// # Errors
    /// Its stream has ended.
    pub async fn report(&self, ready: bool) -> Result<()> {
        self.instance.report(ready).await
    }

    /// A sidecar in each zone, in the order in which they hear of a change.
    ///
    /// # Errors
    /// There are none.
    pub fn ads_observers(&self) -> Result<Vec<Observer>> {
        let (west, east) = self
            .west
            .first()
            .zip(self.east.first())
            .context("there are fake proxies in each zone")?;
        Ok(vec![
            west.observer("ADS stream in west"),
            east.observer("ADS stream in east"),
        ])
    }

    /// Watches the client's Envoy.
    ///
    /// # Errors
    /// The system refuses.
    pub fn watch_envoy(&self) -> Result<EnvoyWatch> {
        EnvoyWatch::start(self.client_admin_port, CLUSTER)
    }

    /// What one stream in east has received of endpoints.
    pub fn received_in_east(&self) -> Received {
        self.east.first().map(FakeEnvoy::received).unwrap_or_default()
    }

    /// The processes of the mesh.
    pub fn processes(&self) -> &[Watched] {
        &self.processes
    }

    /// What the control plane in east counts of endpoint responses to the client's Envoy.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn client_insight(&self) -> Result<Value> {
        let api = self.deployment.zone(EAST)?.control_plane.api();
        let overview = api
            .get(&format!("/meshes/{MESH}/dataplanes/{CLIENT}/_overview"))
            .await?;
        let subscriptions = overview
            .pointer("/dataplaneInsight/subscriptions")
            .and_then(Value::as_array);
        let newest = subscriptions.and_then(|subscriptions| subscriptions.last());
        newest
            .and_then(|newest| newest.pointer("/status/eds"))
            .cloned()
            .context("the client has no counters")
    }
}

fn multi_zone_service() -> Value {
    json!({
        "type": "MeshMultiZoneService", "mesh": MESH, "name": SERVICE,
        "spec": {
            "selector": { "meshService": { "matchLabels": { "kuma.io/display-name": SERVICE } } },
            "ports": [{ "port": PORT, "appProtocol": "tcp" }],
        },
    })
}

/// Connects proxies; the service of the first one is `first`, each other has one of its own.
async fn fake_proxies(
    deployment: &Deployment,
    zone: &str,
    number: u8,
    first: &str,
    count: u8,
) -> Result<Vec<(Identity, FakeEnvoy)>> {
    let control_plane = &deployment.zone(zone)?.control_plane;
    let mut proxies = Vec::new();
    for index in 1..=count {
        let name = format!("fake-{zone}-{index}");
        let service = if index == 1 { first.to_owned() } else { name.clone() };
        let token = token(control_plane, &name).await?;
        let who = Identity {
            mesh: MESH.to_owned(),
            name,
            token,
        };
        // Nothing listens there: no traffic is sent.
        let dataplane = json!({
            "type": "Dataplane", "mesh": MESH, "name": who.name,
            "networking": {
                "address": format!("127.{number}.9.{index}"),
                "inbound": [{ "port": PORT, "tags": { "kuma.io/service": service, "kuma.io/protocol": "tcp" } }],
                // Such a proxy has every service of the mesh as destination.
                "transparentProxying": { "redirectPortInbound": 15006, "redirectPortOutbound": 15001 },
            },
        });
        let channel = data_plane_server::connect(control_plane).await?;
        let proxy = FakeEnvoy::start(channel, &who, &dataplane, CLUSTER)
            .await
            .with_context(|| format!("in zone {zone}"))?;
        proxies.push((who, proxy));
    }
    Ok(proxies)
}

/// The zone issues it as soon as it has the signing key of the mesh.
async fn token(control_plane: &ControlPlane, name: &str) -> Result<String> {
    let request = json!({ "mesh": MESH, "name": name, "type": "dataplane" });
    eventually("a dataplane token", LIMIT, || {
        control_plane.api().post("/tokens/dataplane", &request)
    })
    .await
}

async fn admin_port(control_plane: &ControlPlane) -> Result<u16> {
    let dataplane = control_plane
        .api()
        .get(&format!("/meshes/{MESH}/dataplanes/{CLIENT}"))
        .await?;
    let port = dataplane.pointer("/networking/admin/port").and_then(Value::as_u64);
    port.and_then(|port| port.try_into().ok())
        .with_context(|| format!("{CLIENT} has no admin port"))
}

fn processes(deployment: &mut Deployment, client: &mut Workload) -> Result<Vec<Watched>> {
    let mut found = vec![control_plane("global", deployment.global.process())?];
    let mut agents = Vec::new();
    for name in [EAST, WEST] {
        let zone = deployment.zone_mut(name)?;
        found.push(control_plane(name, zone.control_plane.process())?);
        agents.extend(agent_and_envoy(&format!("{name} ingress"), zone.ingress.process())?);
    }
    found.extend(agents);
    found.extend(agent_and_envoy(&format!("{EAST} {CLIENT}"), client.proxy.process())?);
    Ok(found)
}

fn control_plane(name: &str, process: &Process) -> Result<Watched> {
    Ok(Watched {
        name: format!("{name} control plane"),
        role: Role::ControlPlane,
        pid: id(name, process)?,
    })
}

fn agent_and_envoy(name: &str, process: &Process) -> Result<Vec<Watched>> {
    let agent = Watched {
        name: format!("{name} agent"),
        role: Role::Agent,
        pid: id(name, process)?,
    };
    let envoys = children(agent.pid)?.into_iter().map(|pid| Watched {
        name: format!("{name} Envoy"),
        role: Role::Envoy,
        pid,
    });
    Ok(std::iter::once(agent.clone()).chain(envoys).collect())
}

fn id(name: &str, process: &Process) -> Result<u32> {
    process.id().with_context(|| format!("{name} has ended"))
}
