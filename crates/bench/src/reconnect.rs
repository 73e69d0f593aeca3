//! What it costs when all streams of a zone drop at once: the control plane restarts, or the network has a hiccup.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use meshspan_demo::{ControlPlane, Network, Program};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Args;
use crate::data_plane_server::DataPlaneServer;
use crate::fake_envoy::Identity;
use crate::fleet::{Counted, Fleet};
use crate::process::{self, Role, Watched};
use crate::table::Table;

const MESH: &str = "default";
const PORT: u16 = 6379;
/// In the names of the services that are made during the measurement.
const MARKER: &str = "marker";
/// Nothing more is on its way when nothing came for so long. Above the delay after which a lost proxy is judged.
const QUIET: Duration = Duration::from_secs(15);

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    proxies: u16,
    services: u16,
    load_average: String,
    phases: Vec<Phase>,
}

/// One event and what it led to.
#[derive(Debug, Serialize)]
struct Phase {
    what: &'static str,
    /// From the event until a service that was made at once had reached every proxy, in seconds.
    served_s: f64,
    #[serde(flatten)]
    counted: Counted,
    /// CPU time of the control plane, in seconds.
    cpu_s: f64,
    /// Most resident memory of the control plane, in bytes.
    peak: u64,
}

/// Measures. Everything ends with it.
///
/// # Errors
/// The control plane does not start, or a change does not reach the proxies within minutes.
pub async fn measure(args: &Args, program: &Path, network: &Network) -> Result<Report> {
    let machine = network.machine("zone", 1, 1).await?;
    let mut control_plane = ControlPlane::standalone(&Program::new(program), machine, &[]).await?;
    make_mesh(&control_plane).await?;
    let token: String = control_plane
        .api()
        .post("/tokens/dataplane", &json!({ "mesh": MESH, "type": "dataplane" }))
        .await?;
    let server = DataPlaneServer::of(&control_plane)?;
    let mut phases = Vec::new();

    let mut phase = Begun::now("first connection", &mut control_plane)?;
    let proxies = (0..args.fleet)
        .map(|index| proxy(index, args.services, &token))
        .collect();
    let fleet = Fleet::start(&server, proxies, MARKER);
    phase.serve(&control_plane, &fleet, 1).await?;
    phases.push(phase.end(&fleet).await?);

    let mut phase = Begun::now("a new service, at rest", &mut control_plane)?;
    phase.serve(&control_plane, &fleet, 2).await?;
    phases.push(phase.end(&fleet).await?);

    let mut phase = Begun::now("all streams drop", &mut control_plane)?;
    fleet.drop_all();
    phase.serve(&control_plane, &fleet, 3).await?;
    phases.push(phase.end(&fleet).await?);

    let killed = Instant::now();
    control_plane.kill().await?;
    control_plane.start_again().await?;
    let mut phase = Begun::now("control plane killed, restarted", &mut control_plane)?;
    phase.since = killed;
    phase.serve(&control_plane, &fleet, 4).await?;
    phases.push(phase.end(&fleet).await?);

    Ok(Report {
        proxies: args.fleet,
        services: args.services,
        load_average: process::load_average()?,
        phases,
    })
}

/// A phase under way.
struct Begun {
    what: &'static str,
    since: Instant,
    served: Duration,
    process: Watched,
    cpu: Duration,
}

impl Begun {
    fn now(what: &'static str, control_plane: &mut ControlPlane) -> Result<Self> {
        eprintln!("{what}");
        let process = Watched {
            name: "control plane".to_owned(),
            role: Role::ControlPlane,
            pid: control_plane.process().id().context("the control plane has ended")?,
        };
        Ok(Self {
            what,
            since: Instant::now(),
            served: Duration::ZERO,
            cpu: process.usage()?.cpu,
            process,
        })
    }

    /// Makes a service and waits until every proxy has it.
    async fn serve(&mut self, control_plane: &ControlPlane, fleet: &Fleet, number: u32) -> Result<()> {
        let name = format!("{MARKER}-{number}");
        let service = json!({
            "type": "MeshService", "mesh": MESH, "name": name,
            "spec": {
                "selector": { "dataplaneTags": { "kuma.io/service": "service-0" } },
                "ports": [{ "port": PORT, "targetPort": PORT, "appProtocol": "http" }],
            },
        });
        let path = format!("/meshes/{MESH}/meshservices/{name}");
        control_plane.api().put(&path, &service).await?;
        fleet
            .all_hold(&format!("kri_msvc_{MESH}_default__{name}_{PORT}"))
            .await?;
        self.served = self.since.elapsed();
        Ok(())
    }

    /// Waits until nothing more comes.
    async fn end(self, fleet: &Fleet) -> Result<Phase> {
        fleet.quiet(QUIET).await;
        let counted = fleet.counted();
        if counted.ended > 0 {
            eprintln!("{} streams ended, the last one: {}", counted.ended, fleet.last_error());
        }
        fleet.reset();
        Ok(Phase {
            what: self.what,
            served_s: self.served.as_secs_f64(),
            counted,
            cpu_s: self.process.usage()?.cpu.saturating_sub(self.cpu).as_secs_f64(),
            peak: self.process.memory()?.peak,
        })
    }
}

async fn make_mesh(control_plane: &ControlPlane) -> Result<()> {
    let mesh = json!({
        "type": "Mesh", "name": MESH,
        "meshServices": { "mode": "Exclusive" },
        "mtls": { "enabledBackend": "ca-1", "backends": [{ "name": "ca-1", "type": "builtin" }] },
    });
    control_plane.api().put(&format!("/meshes/{MESH}"), &mesh).await
}

/// Nothing listens where it says: no traffic is sent.
fn proxy(index: u16, services: u16, token: &str) -> (Identity, Value) {
    let name = format!("proxy-{index}");
    let service = format!("service-{}", index % services);
    let [high, low] = index.to_be_bytes();
    let dataplane = json!({
        "type": "Dataplane", "mesh": MESH, "name": name,
        "networking": {
            "address": Ipv4Addr::new(10, 1, high, low),
            "inbound": [{ "port": PORT, "tags": { "kuma.io/service": service, "kuma.io/protocol": "http" } }],
            "transparentProxying": { "redirectPortInbound": 15006, "redirectPortOutbound": 15001 },
        },
    });
    let who = Identity {
        mesh: MESH.to_owned(),
        name,
        token: token.to_owned(),
    };
    (who, dataplane)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} fake proxies, each a client of {} services; load average {}",
            self.proxies, self.services, self.load_average
        )?;
        writeln!(
            f,
            "each event comes with one new service, which \"all served\" waits for"
        )?;
        let mut table = Table::new(&[
            "",
            "all served, s",
            "responses",
            "MB",
            "outages seen",
            "longest, s",
            "streams ended",
            "CPU s",
            "peak RSS MB",
        ]);
        let mega = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
        for phase in &self.phases {
            table.add(vec![
                phase.what.to_owned(),
                format!("{:.2}", phase.served_s),
                phase.counted.responses.to_string(),
                mega(phase.counted.bytes),
                phase.counted.outages.to_string(),
                format!("{:.2}", phase.counted.longest_outage),
                phase.counted.ended.to_string(),
                format!("{:.2}", phase.cpu_s),
                mega(phase.peak),
            ]);
        }
        write!(f, "{table}")
    }
}
