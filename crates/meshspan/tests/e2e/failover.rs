//! Two zones, a service in both: the local zone answers, and the other one when something local dies.

use anyhow::ensure;
use meshspan_demo::WorkloadSpec;
use meshspan_lab::{eventually, isolated_for};

use crate::clients::{
    LIMIT, MANY, hostname, http_traffic, look_up, matched, multi_zone_service, redis_traffic, redis_zones, settles,
};
use crate::stage::{chapter, limit, on_stage, rounds};

#[test]
fn the_local_zone_answers_until_something_local_dies() {
    let rounds = rounds();
    isolated_for(limit(rounds), || {
        on_stage(&["east", "west"], async |mesh| {
            let specs = ["east", "west"].map(|zone| {
                [
                    WorkloadSpec::redis(zone, "redis"),
                    WorkloadSpec::echo(zone, "echo", "http"),
                ]
            });
            let mut workloads = mesh.workloads(specs.into_iter().flatten().collect()).await?;
            let client = mesh.workload(WorkloadSpec::client("east", "client")).await?;

            chapter("the name resolves to the VIP, which is the same in both zones");
            mesh.global.apply(&multi_zone_service("redis", 6379, "tcp")).await?;
            mesh.global.apply(&multi_zone_service("echo", 8080, "http")).await?;
            for zone in ["east", "west"] {
                matched(mesh, zone, "redis", 2).await?;
                matched(mesh, zone, "echo", 2).await?;
            }
            let address = look_up(&client, &hostname("redis"), 6379).await?;
            for zone in mesh.zones() {
                let vip = eventually("a VIP", LIMIT, || zone.vip("default", "redis")).await?;
                ensure!(
                    vip == address.ip().to_string(),
                    "{} says {vip}, the name resolves to {address}",
                    zone.name
                );
                ensure!(vip.starts_with("243."), "{vip}");
            }

            chapter("the local zone answers everything");
            let (redis, echo) = (
                redis_traffic(&client, "redis").await?,
                http_traffic(&client, "echo").await?,
            );
            tokio::try_join!(settles(&redis, "east"), settles(&echo, "east"))?;
            let zones = redis_zones(client.machine(), address, MANY).await?;
            ensure!(zones.get("east") == Some(&MANY), "{zones:?}");

            for round in 1..=rounds {
                println!("-- round {round} of {rounds}");
                chapter("the local application dies and returns");
                for workload in &mut workloads[..2] {
                    workload.application()?.kill().await?;
                }
                tokio::try_join!(settles(&redis, "west"), settles(&echo, "west"))?;
                for workload in &mut workloads[..2] {
                    workload.application()?.start_again().await?;
                }
                tokio::try_join!(settles(&redis, "east"), settles(&echo, "east"))?;

                chapter("the local sidecar dies and returns");
                for workload in &mut workloads[..2] {
                    workload.proxy.kill().await?;
                }
                tokio::try_join!(settles(&redis, "west"), settles(&echo, "west"))?;
                for workload in &mut workloads[..2] {
                    workload.proxy.start_again().await?;
                }
                tokio::try_join!(settles(&redis, "east"), settles(&echo, "east"))?;
            }

            chapter("a local instance that is drained harms no HTTP request");
            echo.mark();
            workloads[1].proxy.stop().await?;
            echo.wait("answers of west", LIMIT, |seen| {
                seen.zone == "west" && seen.streak >= MANY
            })
            .await?;
            echo.all_answered(0, LIMIT).await?;
            Ok(())
        })
    });
}
