//! A zone that is cut off: nothing is refused and nothing is said, packets just stop.
//!
//! Traffic goes on in the other zone. From time to time an Envoy tries the silent one again, and that request takes as long as a connection
//! may take to come about; so not every single one is demanded to be quick.

use anyhow::{Context as _, Result};
use meshspan_demo::{Machine, Seen, WorkloadSpec};
use meshspan_lab::isolated;

use crate::clients::{LIMIT, MANY, healthy, http_traffic, matched, multi_zone_service, redis_traffic};
use crate::stage::{chapter, on_stage};

async fn set_cut_off(machine: &Machine, is_cut_off: bool) -> Result<()> {
    let host = machine.host().context("hosts of the lab can be cut off")?;
    if is_cut_off {
        host.partition().await
    } else {
        host.heal().await
    }
}

#[test]
fn a_zone_that_falls_silent_is_left_and_taken_back() {
    isolated(|| {
        on_stage(&["east", "west", "north"], async |mesh| {
            let client = mesh.workload(WorkloadSpec::client("east", "client")).await?;
            let specs = ["west", "north"].into_iter().flat_map(|zone| {
                [
                    WorkloadSpec::redis(zone, &format!("redis-{zone}")),
                    WorkloadSpec::echo(zone, &format!("echo-{zone}"), "http"),
                ]
            });
            let _instances = mesh.workloads(specs.collect()).await?;
            mesh.global.apply(&multi_zone_service("redis", 6379, "tcp")).await?;
            mesh.global.apply(&multi_zone_service("echo", 8080, "http")).await?;
            matched(mesh, "east", "redis", 2).await?;
            matched(mesh, "east", "echo", 2).await?;
            let redis = redis_traffic(&client, "redis").await?;
            let echo = http_traffic(&client, "echo").await?;

            for (lost, left) in [("west", "north"), ("north", "west")] {
                chapter(&format!("{lost} falls silent"));
                let zone = mesh.zone(lost)?;
                let machines = [zone.ingress.machine().clone(), zone.control_plane.machine().clone()];
                for machine in &machines {
                    set_cut_off(machine, true).await?;
                }
                for traffic in [&redis, &echo] {
                    traffic.mark();
                    let what = format!("answers of {left}");
                    let goes_on = |seen: &Seen| seen.answers.get(left).is_some_and(|answers| *answers >= MANY);
                    let seen = traffic.wait(&what, LIMIT, goes_on).await?;
                    println!(
                        "   {left} after {:?} without an answer, {} failed",
                        seen.gap, seen.failed
                    );
                }

                chapter(&format!("{lost} is back, and then the other one can go"));
                for machine in &machines {
                    set_cut_off(machine, false).await?;
                }
                for service in ["redis", "echo"] {
                    healthy(mesh, lost, service, 1).await?;
                }
                for traffic in [&redis, &echo] {
                    traffic.mark();
                    let what = format!("an answer of {lost}");
                    let seen = traffic.wait(&what, LIMIT, |seen| seen.zone == lost).await?;
                    println!("   {lost} again after {:?}", seen.answers);
                }
            }
            Ok(())
        })
    });
}
