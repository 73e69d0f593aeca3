//! Certificates are renewed under traffic, and nobody notices.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meshspan_demo::{Deployment, Workload, WorkloadSpec};
use meshspan_lab::{eventually, isolated_for};

use crate::clients::{
    LIMIT, MANY, hostname, http_traffic, look_up, matched, multi_zone_service, note_late, redis_traffic, redis_zones,
    settles,
};
use crate::stage::{chapter, limit, on_stage, rounds};

/// As the deployment's, with certificates that are renewed after eight seconds at the latest.
const SHORT_LIVED: &str = "type: Mesh
name: default
meshServices: {mode: Exclusive}
mtls:
  enabledBackend: ca-1
  backends: [{name: ca-1, type: builtin, dpCert: {rotation: {expiration: 10s}}}]
";
/// So often must each proxy have got a certificate before the story ends: the first one, the one for the new lifetime, and renewals
/// well beyond the lifetime of those.
const ISSUED: u64 = 4;

/// How many certificates a proxy got.
async fn issued(mesh: &Deployment, zone: &str, proxy: &str) -> Result<u64> {
    let path = format!("/meshes/default/dataplanes/{proxy}/_overview");
    let overview = mesh.zone(zone)?.control_plane.api().get(&path).await?;
    let count = overview.pointer("/dataplaneInsight/mTLS/certificateRegenerations");
    count
        .and_then(|count| count.as_u64())
        .with_context(|| overview.to_string())
}

/// Waits until each proxy got so many certificates.
async fn renewals(mesh: &Deployment, client: &Workload, redis: SocketAddr, certificates: u64) -> Result<()> {
    for (zone, proxy) in [("east", "client"), ("west", "redis-1"), ("west", "echo-1")] {
        let what = format!("{certificates} certificates of {proxy}");
        eventually(&what, LIMIT + Duration::from_secs(30), || async {
            // New connections too: they are what a bad certificate breaks.
            redis_zones(client.machine(), redis, 5).await?;
            let count = issued(mesh, zone, proxy).await?;
            ensure!(count >= certificates, "{count}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

#[test]
fn certificates_are_renewed_without_a_lost_request() {
    let rounds = rounds();
    isolated_for(limit(rounds), || {
        on_stage(&["east", "west"], async |mesh| {
            let _redis = mesh.workload(WorkloadSpec::redis("west", "redis-1")).await?;
            let _echo = mesh.workload(WorkloadSpec::echo("west", "echo-1", "http")).await?;
            let client = mesh.workload(WorkloadSpec::client("east", "client")).await?;
            mesh.global.apply(&multi_zone_service("redis", 6379, "tcp")).await?;
            mesh.global.apply(&multi_zone_service("echo", 8080, "http")).await?;
            matched(mesh, "east", "redis", 1).await?;
            matched(mesh, "east", "echo", 1).await?;
            let redis = redis_traffic(&client, "redis").await?;
            let echo = http_traffic(&client, "echo").await?;
            settles(&redis, "west").await?;
            settles(&echo, "west").await?;

            chapter("certificates live ten seconds from now on, and requests go on");
            let to = look_up(&client, &hostname("redis"), 6379).await?;
            redis.mark();
            echo.mark();
            mesh.global.apply(SHORT_LIVED).await?;
            for round in 1..=rounds {
                renewals(mesh, &client, to, u64::from(round) * ISSUED).await?;
                for (name, traffic) in [("redis", &redis), ("echo", &echo)] {
                    let seen = traffic.all_answered(MANY, LIMIT).await.context(name)?;
                    println!(
                        "   {name} {round}/{rounds}: {:?}, longest gap {:?}",
                        seen.answers, seen.gap
                    );
                    note_late(name, &seen);
                }
            }
            Ok(())
        })
    });
}
