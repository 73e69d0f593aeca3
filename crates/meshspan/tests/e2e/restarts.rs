//! Control planes that are killed keep what they promised: addresses, names and trust.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use meshspan_demo::{Deployment, WorkloadSpec};
use meshspan_lab::{eventually, isolated};

use crate::clients::{LIMIT, MANY, healthy, hostname, look_up, matched, multi_zone_service, redis_traffic, settles};
use crate::stage::{chapter, on_stage};

const SERVICES: [&str; 3] = ["redis", "cache", "queue"];

/// VIP and hostname of each service in each zone.
async fn promises(mesh: &Deployment) -> Result<BTreeMap<(String, String), String>> {
    let mut promises = BTreeMap::new();
    for zone in mesh.zones() {
        for name in SERVICES {
            let vip = eventually("a VIP", LIMIT, || zone.vip("default", name)).await?;
            let service = zone.multi_zone_service("default", name).await?;
            let found = service
                .pointer("/status/addresses/0/hostname")
                .and_then(|found| found.as_str());
            ensure!(found == Some(&hostname(name)), "{service}");
            promises.insert((zone.name.clone(), name.to_owned()), vip);
        }
    }
    Ok(promises)
}

#[test]
fn killed_control_planes_keep_addresses_names_and_trust() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let mut west = mesh.workload(WorkloadSpec::redis("west", "redis-1")).await?;
            let client = mesh.workload(WorkloadSpec::client("east", "client")).await?;
            for name in SERVICES {
                mesh.global.apply(&multi_zone_service(name, 6379, "tcp")).await?;
            }
            matched(mesh, "east", "redis", 1).await?;
            let before = promises(mesh).await?;
            let address = look_up(&client, &hostname("redis"), 6379).await?;
            let traffic = redis_traffic(&client, "redis").await?;
            settles(&traffic, "west").await?;

            chapter("all control planes are killed, twice, and started in another order each time");
            traffic.mark();
            for zones_first in [false, true] {
                mesh.global.kill().await?;
                for zone in ["east", "west"] {
                    mesh.zone_mut(zone)?.control_plane.kill().await?;
                }
                if !zones_first {
                    mesh.global.start_again().await?;
                }
                for zone in ["east", "west"] {
                    mesh.zone_mut(zone)?.control_plane.start_again().await?;
                }
                if zones_first {
                    mesh.global.start_again().await?;
                }
                let after = promises(mesh).await?;
                ensure!(after == before, "{before:?} became {after:?}");
            }
            traffic.all_answered(MANY, LIMIT).await?;

            chapter("a new instance, with a certificate made after the restarts, is trusted by the old client");
            let _second = mesh.workload(WorkloadSpec::redis("west", "redis-2")).await?;
            healthy(mesh, "west", "redis", 2).await?;
            west.proxy.kill().await?;
            settles(&traffic, "west").await?;

            chapter("a new client trusts the instance, and finds the old address");
            let newcomer = mesh.workload(WorkloadSpec::client("east", "newcomer")).await?;
            ensure!(look_up(&newcomer, &hostname("redis"), 6379).await? == address);
            let traffic = redis_traffic(&newcomer, "redis").await?;
            settles(&traffic, "west").await?;

            chapter("the zones are connected again: a change on the global arrives");
            mesh.global.apply(&multi_zone_service("late", 6379, "tcp")).await?;
            for zone in ["east", "west"] {
                matched(mesh, zone, "late", 0).await?;
            }
            Ok(())
        })
    });
}
