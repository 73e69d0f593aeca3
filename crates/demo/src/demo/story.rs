//! What the demo shows. Every line with a tick is checked before it is printed; the first that does not hold ends the story.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use meshspan_lab::eventually;

use super::screen::{Screen, requests, short};
use crate::machine::{Machine, Network};
use crate::mesh::{Application, ApplicationKind, ControlPlane, Deployment, Outbound, Workload, WorkloadSpec};
use crate::program::Program;
use crate::traffic::{PACE, Question, Traffic};

const REDIS: &str = include_str!("redis.yaml");
const ECHO: &str = include_str!("echo.yaml");
const REDIS_PORT: u16 = 6379;
const ECHO_PORT: u16 = 8080;
/// How many answers make a claim.
const MANY: usize = 50;
/// How long a claim may take to come true.
const LIMIT: Duration = Duration::from_secs(30);

/// The mesh after the story, with its applications at work.
pub(super) struct Stage {
    pub deployment: Deployment,
    pub redis: Traffic,
    pub echo: Traffic,
    // Kept because dropping a workload ends it.
    _workloads: Vec<Workload>,
}

/// Starts the mesh and tells the story. `started` is called with the global control plane as soon as it is there.
pub(super) async fn tell(
    network: Network,
    program: Program,
    redis_kind: ApplicationKind,
    screen: &mut Screen,
    started: impl FnOnce(&ControlPlane) -> Result<()>,
) -> Result<Stage> {
    let intercepted = network.is_lab();
    let mut deployment = Deployment::start(network, program, &["east", "west"]).await?;
    started(&deployment.global)?;
    screen.done("a global control plane; zones east and west: control plane and ingress");
    let mut specs: Vec<WorkloadSpec> = ["east", "west"]
        .iter()
        .flat_map(|zone| {
            let mut redis = WorkloadSpec::redis(zone, "redis");
            redis
                .ports
                .iter_mut()
                .for_each(|port| port.application = Some(redis_kind));
            [redis, WorkloadSpec::echo(zone, "echo", "http")]
        })
        .collect();
    specs.push(WorkloadSpec::client("east", "client"));
    if !intercepted {
        specs = specs.into_iter().map(without_interception).collect();
    }
    let mut workloads = deployment.workloads(specs).await?;
    let client = workloads.last().context("the client was started")?.machine().clone();
    let what = match redis_kind {
        ApplicationKind::RealRedis => "redis-server",
        _ => "redis (a stand-in)",
    };
    screen.done(&format!("{what} and an HTTP echo in each zone, a client in east"));

    let vips = publish(&deployment, screen).await?;
    let redis_at = reach(&client, intercepted, "redis", REDIS_PORT, &vips.redis, screen).await?;
    let echo_at = reach(&client, intercepted, "echo", ECHO_PORT, &vips.echo, screen).await?;
    let redis = Traffic::start(client.clone(), Question::Redis, hostname("redis"), redis_at);
    let echo = Traffic::start(
        client,
        Question::Http,
        format!("{}:{ECHO_PORT}", hostname("echo")),
        echo_at,
    );
    fail_over(&mut workloads, &redis, &echo, screen).await?;
    Ok(Stage {
        deployment,
        redis,
        echo,
        _workloads: workloads,
    })
}

struct Vips {
    redis: String,
    echo: String,
}

/// Applies the services and shows what becomes of them in each zone.
async fn publish(deployment: &Deployment, screen: &mut Screen) -> Result<Vips> {
    screen.heading("One service over all zones, applied to the global control plane (and another for echo):");
    screen.block(REDIS);
    deployment.global.apply(REDIS).await?;
    deployment.global.apply(ECHO).await?;
    let redis = same_vip(deployment, "redis").await?;
    let echo = same_vip(deployment, "echo").await?;
    screen.done("known in each zone, with the instances of both, and with the same address:");
    for (name, vip) in [("redis", &redis), ("echo", &echo)] {
        for zone in deployment.zones() {
            screen.measured(&format!("{:<24} {:<6} {vip}", hostname(name), zone.name));
        }
    }
    Ok(Vips { redis, echo })
}

/// The address of a service once all zones agree on it and have matched the services of both zones.
async fn same_vip(deployment: &Deployment, name: &str) -> Result<String> {
    eventually(&format!("{name} in all zones"), LIMIT, || async {
        let mut vips = Vec::new();
        for zone in deployment.zones() {
            let service = zone.multi_zone_service("default", name).await?;
            let matched = service
                .pointer("/status/meshServices")
                .and_then(|list| list.as_array())
                .map_or(0, Vec::len);
            ensure!(
                matched == 2,
                "zone {} matched {matched} of 2 services: {service}",
                zone.name
            );
            vips.push(zone.vip("default", name).await?);
        }
        let first = vips.first().context("there are zones")?;
        ensure!(
            vips.iter().all(|vip| vip == first),
            "zones disagree about the address of {name}: {vips:?}"
        );
        Ok(first.clone())
    })
    .await
}

/// Where the client finds a service: by its name, or without interception on a port of its own host.
async fn reach(
    client: &Machine,
    intercepted: bool,
    name: &str,
    port: u16,
    vip: &str,
    screen: &mut Screen,
) -> Result<SocketAddr> {
    if !intercepted {
        return Ok((client.private_address(), port).into());
    }
    let hostname = hostname(name);
    eventually(&format!("{hostname} to resolve to {vip}"), LIMIT, || async {
        let found = client.resolve(&hostname).await?;
        ensure!(
            found.iter().any(|address| address.to_string() == vip),
            "the client in east finds {found:?}"
        );
        Ok(())
    })
    .await?;
    screen.done(&format!("the client in east looks {hostname} up and finds {vip}"));
    let address: Ipv4Addr = vip.parse().with_context(|| format!("the address of {name} is {vip}"))?;
    Ok((address, port).into())
}

/// East answers; east dies, west answers; east returns and takes over.
async fn fail_over(workloads: &mut [Workload], redis: &Traffic, echo: &Traffic, screen: &mut Screen) -> Result<()> {
    screen.heading(&format!(
        "The client in east sends a request to each of them every {} ms.",
        PACE.as_millis()
    ));
    let services = [("redis", redis), ("echo", echo)];
    for (name, traffic) in services {
        traffic
            .wait(&format!("{name} answered by east"), LIMIT, |seen| {
                seen.zone == "east" && seen.streak > 0
            })
            .await?;
        traffic
            .all_from("east", MANY, LIMIT)
            .await
            .with_context(|| name.to_owned())?;
        screen.done(&format!("{name}: {MANY} of {MANY} requests answered by east"));
    }

    screen.heading("redis and echo of east are killed (kill -9).");
    services.iter().for_each(|(_, traffic)| traffic.mark());
    for application in applications_of_east(workloads) {
        application.kill().await?;
    }
    for (name, traffic) in services {
        let what = format!("{MANY} requests to {name} in a row answered by west");
        let seen = traffic
            .wait(&what, LIMIT, |seen| seen.zone == "west" && seen.streak >= MANY)
            .await?;
        screen.done(&format!("{name}: {MANY} of {MANY} requests answered by west"));
        screen.measured(&format!(
            "without an answer for {}, {} failed",
            short(seen.gap),
            requests(seen.failed)
        ));
    }

    screen.heading("redis and echo of east start again.");
    for application in applications_of_east(workloads) {
        application.start_again().await?;
    }
    let started = Instant::now();
    services.iter().for_each(|(_, traffic)| traffic.mark());
    let both = services.map(|(name, traffic)| async move {
        let what = format!("{name} answered by east again");
        traffic
            .wait(&what, LIMIT, |seen| seen.zone == "east" && seen.streak > 0)
            .await?;
        let after = started.elapsed();
        let what = format!("{MANY} requests to {name} in a row answered by east");
        let seen = traffic
            .wait(&what, LIMIT, |seen| seen.zone == "east" && seen.streak >= MANY)
            .await?;
        Ok::<_, anyhow::Error>((name, after, seen))
    });
    for (name, after, seen) in try_join_all(both).await? {
        screen.done(&format!("{name}: {MANY} of {MANY} requests answered by east"));
        screen.measured(&format!(
            "east took over within {}, {} failed",
            short(after),
            requests(seen.failed)
        ));
    }
    Ok(())
}

/// The workloads of east come first.
fn applications_of_east(workloads: &mut [Workload]) -> impl Iterator<Item = &mut Application> {
    workloads
        .iter_mut()
        .take(2)
        .flat_map(|workload| &mut workload.applications)
}

fn without_interception(spec: WorkloadSpec) -> WorkloadSpec {
    let is_client = spec.service == "client";
    let outbound = |service: &str, port| Outbound {
        port,
        service: service.to_owned(),
        service_port: port,
    };
    let outbounds = if is_client {
        vec![outbound("redis", REDIS_PORT), outbound("echo", ECHO_PORT)]
    } else {
        Vec::new()
    };
    spec.explicit(outbounds)
}

fn hostname(name: &str) -> String {
    format!("{name}.mzsvc.mesh.local")
}
