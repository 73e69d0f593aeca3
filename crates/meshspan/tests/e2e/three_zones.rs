//! A zone without instances, selectors and ports.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use meshspan_demo::{ApplicationKind, WorkloadPort, WorkloadSpec};
use meshspan_lab::{eventually, isolated};

use crate::clients::{LIMIT, hostname, look_up, matched, multi_zone_service, redis_zone, redis_zones};
use crate::stage::{chapter, on_stage};

const REQUESTS: usize = 100;

/// The service `redis` by label, on a named port.
fn selecting(labels: &str, port: u16) -> String {
    format!(
        "type: MeshMultiZoneService
name: redis
mesh: default
spec:
  selector: {{meshService: {{matchLabels: {labels}}}}}
  ports: [{{name: redis, port: {port}, appProtocol: tcp}}]
"
    )
}

/// A Redis on a named port.
fn named(spec: WorkloadSpec, number: u16) -> WorkloadSpec {
    let application = Some(ApplicationKind::Redis);
    spec.ports(vec![WorkloadPort {
        name: "redis".into(),
        number,
        protocol: "tcp".into(),
        application,
    }])
}

#[test]
fn zones_share_equally_and_selectors_and_ports_can_change() {
    isolated(|| {
        on_stage(&["east", "south", "west"], async |mesh| {
            // The port has another number in the south.
            let _workloads = mesh
                .workloads(vec![
                    named(WorkloadSpec::redis("west", "redis-1").label("region", "ocean"), 6379),
                    named(WorkloadSpec::redis("south", "redis-1").label("region", "ice"), 6380),
                    named(WorkloadSpec::redis("south", "redis-2").label("region", "ice"), 6380),
                    named(WorkloadSpec::redis("south", "redis-3").label("region", "ice"), 6380),
                ])
                .await?;
            let client = mesh.workload(WorkloadSpec::client("east", "client")).await?;
            let machine = client.machine().clone();

            chapter("half of the requests go to each of the other zones, one instance or three");
            mesh.global
                .apply(&selecting("{kuma.io/display-name: redis}", 6379))
                .await?;
            matched(mesh, "east", "redis", 2).await?;
            let redis = look_up(&client, &hostname("redis"), 6379).await?;
            eventually("both zones to answer", LIMIT, || async {
                let zones = redis_zones(&machine, redis, 10).await?;
                ensure!(zones.len() == 2, "{zones:?}");
                Ok(())
            })
            .await?;
            let zones = redis_zones(&machine, redis, REQUESTS).await?;
            ensure!(
                zones
                    .values()
                    .all(|count| (REQUESTS * 2 / 5..=REQUESTS * 3 / 5).contains(count)),
                "{zones:?}"
            );

            chapter("the selector is edited: the south alone");
            mesh.global
                .apply(&selecting("{kuma.io/display-name: redis, region: ice}", 6379))
                .await?;
            only(&machine, redis, "south").await?;
            matched(mesh, "east", "redis", 1).await?;
            mesh.global.apply(&selecting("{region: ocean}", 6379)).await?;
            only(&machine, redis, "west").await?;

            chapter("the service gets another port; name and address stay");
            mesh.global.apply(&selecting("{region: ocean}", 7000)).await?;
            let moved = look_up(&client, &hostname("redis"), 7000).await?;
            ensure!(moved.ip() == redis.ip(), "{moved} {redis}");
            only(&machine, moved, "west").await?;

            chapter("a selector that matches nothing is refused at once, and said");
            mesh.global.apply(&selecting("{region: nowhere}", 7000)).await?;
            eventually("a refusal", LIMIT, || async {
                let answer = redis_zone(&machine, moved).await;
                ensure!(answer.is_err(), "{answer:?}");
                Ok(())
            })
            .await?;
            matched(mesh, "east", "redis", 0).await?;
            let service = mesh.zone("east")?.multi_zone_service("default", "redis").await?;
            let conditions = service.pointer("/status/conditions").cloned().unwrap_or_default();
            ensure!(conditions.to_string().contains("NoMatchesFound"), "{service}");

            chapter("a port that no service has is said, too");
            mesh.global.apply(&multi_zone_service("redis", 4444, "tcp")).await?;
            eventually("a condition that names the port", LIMIT, || async {
                let service = mesh.zone("east")?.multi_zone_service("default", "redis").await?;
                let conditions = service.pointer("/status/conditions").cloned().unwrap_or_default();
                ensure!(conditions.to_string().contains("4444"), "{service}");
                Ok(())
            })
            .await
        })
    });
}

/// Waits until only `zone` answers.
async fn only(machine: &meshspan_demo::Machine, to: std::net::SocketAddr, zone: &str) -> Result<()> {
    eventually(&format!("answers of {zone} alone"), LIMIT, || async {
        let zones = redis_zones(machine, to, 20).await?;
        ensure!(zones == BTreeMap::from([(zone.to_owned(), 20)]), "{zones:?}");
        Ok(())
    })
    .await
}
