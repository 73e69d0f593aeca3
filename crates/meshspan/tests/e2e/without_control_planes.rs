//! What does not carry traffic may die without harming it.

use anyhow::{Result, ensure};
use meshspan_demo::{Traffic, WorkloadSpec};
use meshspan_lab::isolated;

use crate::clients::{LIMIT, MANY, http_traffic, matched, multi_zone_service, redis_traffic, settles};
use crate::stage::{chapter, on_stage};

/// From now on everything is answered by `zone`, without a single failure.
async fn unharmed(traffic: &[&Traffic], zone: &str) -> Result<()> {
    for traffic in traffic {
        let seen = traffic.all_answered(MANY, LIMIT).await?;
        ensure!(seen.answers.keys().all(|answered| answered == zone), "{seen:?}");
    }
    Ok(())
}

#[test]
fn the_death_of_ingress_zone_and_global_harms_no_local_traffic() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let specs = ["east", "west"].map(|zone| {
                [
                    WorkloadSpec::redis(zone, "redis"),
                    WorkloadSpec::echo(zone, "echo", "http"),
                ]
            });
            let mut workloads = mesh.workloads(specs.into_iter().flatten().collect()).await?;
            let client = mesh.workload(WorkloadSpec::client("east", "client")).await?;
            mesh.global.apply(&multi_zone_service("redis", 6379, "tcp")).await?;
            mesh.global.apply(&multi_zone_service("echo", 8080, "http")).await?;
            matched(mesh, "east", "redis", 2).await?;
            let (redis, echo) = (
                redis_traffic(&client, "redis").await?,
                http_traffic(&client, "echo").await?,
            );
            let both = [&redis, &echo];
            settles(&redis, "east").await?;
            settles(&echo, "east").await?;
            let mark = || both.iter().for_each(|traffic| traffic.mark());

            chapter("the local zone ingress");
            mark();
            mesh.zone_mut("east")?.ingress.kill().await?;
            unharmed(&both, "east").await?;
            mesh.zone_mut("east")?.ingress.start_again().await?;
            unharmed(&both, "east").await?;

            chapter("the global control plane");
            mark();
            mesh.global.kill().await?;
            unharmed(&both, "east").await?;

            chapter("a zone works on without its global: the local application dies and returns");
            workloads[0].application()?.kill().await?;
            settles(&redis, "west").await?;
            workloads[0].application()?.start_again().await?;
            settles(&redis, "east").await?;

            chapter("the zone control plane, too");
            mark();
            mesh.zone_mut("east")?.control_plane.kill().await?;
            unharmed(&both, "east").await?;

            chapter("the local applications die while nobody can tell the proxies: Envoy finds out by itself");
            workloads[1].application()?.kill().await?;
            settles(&echo, "west").await?;

            chapter("everything returns");
            mesh.global.start_again().await?;
            mesh.zone_mut("east")?.control_plane.start_again().await?;
            workloads[1].application()?.start_again().await?;
            settles(&redis, "east").await?;
            settles(&echo, "east").await
        })
    });
}
