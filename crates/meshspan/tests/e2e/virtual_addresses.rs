//! Virtual addresses: of ranges that are set, closed where nobody is, and answered while instances join.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use meshspan_demo::{DeploymentOptions, Machine, Traffic, WorkloadSpec};
use meshspan_lab::isolated;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::clients::{
    LIMIT, MANY, hostname, http_traffic, look_up, matched, multi_zone_service, redis_traffic, settles,
};
use crate::stage::{chapter, on_stage_with};

/// Instead of those that everybody has.
const RANGES: [(&str, &str); 2] = [
    ("KUMA_IPAM_MESH_MULTI_ZONE_SERVICE_CIDR", "100.64.0.0/16"),
    ("KUMA_IPAM_MESH_SERVICE_CIDR", "100.65.0.0/16"),
];
/// In these ranges, and of no service.
const UNKNOWN: [&str; 2] = ["100.64.255.77", "100.65.255.77"];
/// Outside of them; these would be virtual addresses by default.
const OUTSIDE: [&str; 2] = ["243.0.255.77", "241.0.255.77"];
const GREETING: &str = "stranger";

fn socket(address: &str) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse()?, 7777))
}

/// A host that has all of these addresses for itself: whoever is let through by Envoy is greeted there.
async fn stranger(host: &Machine, client: &Machine) -> Result<()> {
    let (stranger, client) = (host.host().context("a lab")?, client.host().context("a lab")?);
    for address in UNKNOWN.into_iter().chain(OUTSIDE) {
        let socket = socket(address)?;
        stranger.ip(&format!("address add {address}/32 dev lo\n")).await?;
        client
            .ip(&format!("route add {address}/32 via {}\n", stranger.address()))
            .await?;
        let listener = stranger.listen(socket).await?;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // Whoever is gone already hears nothing.
                let _ = stream.write_all(GREETING.as_bytes()).await;
            }
        });
    }
    Ok(())
}

/// What is heard before the connection ends.
async fn heard(client: &Machine, address: &str) -> Result<String> {
    let mut stream = client.connect(socket(address)?).await?;
    let mut heard = Vec::new();
    // Reset, mostly.
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut heard))
        .await
        .with_context(|| format!("the connection to {address} stays open"))?;
    Ok(String::from_utf8(heard)?)
}

#[test]
fn ranges_are_closed_and_instances_join_without_a_lost_request() {
    let settings = |zone: &'static str| RANGES.map(|(name, value)| (zone, name, value));
    let options = DeploymentOptions {
        zones: settings("east").into_iter().chain(settings("west")).collect(),
        ..DeploymentOptions::default()
    };
    isolated(|| {
        on_stage_with(&["east", "west"], &options, async |mesh| {
            let _far = mesh
                .workloads(vec![
                    WorkloadSpec::redis("west", "redis-west"),
                    WorkloadSpec::echo("west", "echo-west", "http"),
                ])
                .await?;
            let client = mesh.workload(WorkloadSpec::client("east", "client")).await?;
            mesh.global.apply(&multi_zone_service("redis", 6379, "tcp")).await?;
            mesh.global.apply(&multi_zone_service("echo", 8080, "http")).await?;
            matched(mesh, "east", "redis", 1).await?;
            matched(mesh, "east", "echo", 1).await?;

            chapter("addresses of the ranges that were set");
            let vip = look_up(&client, &hostname("redis"), 6379).await?.ip();
            ensure!(
                matches!(vip, std::net::IpAddr::V4(vip) if vip.octets().starts_with(&[100, 64])),
                "{vip}"
            );

            chapter("nobody is at an address that no service has");
            stranger(mesh.global.machine(), client.machine()).await?;
            for address in OUTSIDE {
                let heard = heard(client.machine(), address).await?;
                ensure!(heard == GREETING, "{address}: {heard:?}");
            }
            for address in UNKNOWN {
                let heard = heard(client.machine(), address).await?;
                ensure!(heard.is_empty(), "{address} passed through Envoy: {heard:?}");
            }

            chapter("instances of the own zone join, and requests go on");
            let redis = redis_traffic(&client, "redis").await?;
            let echo = http_traffic(&client, "echo").await?;
            for round in 1..=4 {
                settles(&redis, "west").await?;
                settles(&echo, "west").await?;
                redis.mark();
                echo.mark();
                let mut joined = mesh
                    .workloads(vec![
                        WorkloadSpec::redis("east", &format!("redis-{round}")),
                        WorkloadSpec::echo("east", &format!("echo-{round}"), "http"),
                    ])
                    .await?;
                for (name, traffic) in [("redis", &redis), ("echo", &echo)] {
                    taken_over(traffic)
                        .await
                        .with_context(|| format!("{name}, round {round}"))?;
                }
                for workload in &mut joined {
                    workload.proxy.stop().await?;
                }
            }
            Ok(())
        })
    });
}

/// The own zone answers, and since the mark every request was answered.
async fn taken_over(traffic: &Traffic) -> Result<()> {
    traffic
        .wait("answers of east", LIMIT, |seen| {
            seen.failed > 0 || (seen.zone == "east" && seen.streak >= MANY)
        })
        .await?;
    traffic.all_answered(MANY, LIMIT).await?;
    Ok(())
}
