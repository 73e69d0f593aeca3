//! The path between a zone's control plane and its proxies is cut, and nothing else is.

use anyhow::{Context as _, Result, ensure};
use meshspan_demo::{Deployment, Machine, WorkloadSpec};
use meshspan_lab::{Host, eventually, isolated};

use crate::clients::{LIMIT, MANY, healthy, http_traffic, matched, multi_zone_service, redis_traffic, settles};
use crate::stage::{chapter, on_stage};

fn host(machine: &Machine) -> Result<&Host> {
    machine.host().context("paths are cut in a lab")
}

/// Waits until the control plane of west says this of a proxy: "" for one that is connected.
async fn judged(mesh: &Deployment, proxy: &str, expected: &str) -> Result<()> {
    let path = format!("/meshes/default/dataplanes/{proxy}/_overview");
    eventually(&format!("{proxy} is judged {expected:?}"), 2 * LIMIT, || async {
        let overview = mesh.zone("west")?.control_plane.api().get(&path).await?;
        let state = overview.pointer("/dataplaneInsight/presence/state");
        let state = state.and_then(|state| state.as_str()).unwrap_or_default();
        ensure!(state == expected, "{overview}");
        Ok(())
    })
    .await
}

#[test]
fn a_control_plane_without_its_proxies_takes_them_from_nobody() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let specs = vec![
                WorkloadSpec::redis("west", "redis-1"),
                WorkloadSpec::echo("west", "echo-1", "http"),
            ];
            let workloads = mesh.workloads(specs).await?;
            let client = mesh.workload(WorkloadSpec::client("east", "client")).await?;
            mesh.global.apply(&multi_zone_service("redis", 6379, "tcp")).await?;
            mesh.global.apply(&multi_zone_service("echo", 8080, "http")).await?;
            matched(mesh, "east", "redis", 1).await?;
            matched(mesh, "east", "echo", 1).await?;
            let (redis, echo) = (
                redis_traffic(&client, "redis").await?,
                http_traffic(&client, "echo").await?,
            );
            tokio::try_join!(settles(&redis, "west"), settles(&echo, "west"))?;

            chapter("packets between the control plane of west and its proxies are dropped until it has judged them");
            redis.mark();
            echo.mark();
            let west = mesh.zone("west")?;
            let control_plane = west.control_plane.machine().clone();
            let mut proxies: Vec<Machine> = workloads.iter().map(|workload| workload.machine().clone()).collect();
            proxies.push(west.ingress.machine().clone());
            for proxy in &proxies {
                host(&control_plane)?.cut(host(proxy)?).await?;
            }
            for proxy in ["redis-1", "echo-1"] {
                judged(mesh, proxy, "Held").await?;
            }
            // The other zone hears of everything that this control plane does.
            mesh.global.apply(&multi_zone_service("later", 6379, "tcp")).await?;
            matched(mesh, "east", "later", 0).await?;
            for traffic in [&redis, &echo] {
                traffic.all_answered(15 * MANY, 2 * LIMIT).await?;
            }

            chapter("the path is back");
            for proxy in &proxies {
                host(&control_plane)?.mend(host(proxy)?).await?;
            }
            for (proxy, service) in [("redis-1", "redis"), ("echo-1", "echo")] {
                judged(mesh, proxy, "").await?;
                healthy(mesh, "west", service, 1).await?;
            }
            for (name, traffic) in [("redis", &redis), ("echo", &echo)] {
                let seen = traffic.all_answered(MANY, LIMIT).await.context(name)?;
                println!("   {name}: {:?}, longest gap {:?}", seen.answers, seen.gap);
            }
            Ok(())
        })
    });
}
