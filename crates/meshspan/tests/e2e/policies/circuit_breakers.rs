//! MeshCircuitBreaker.

use anyhow::{Result, ensure};
use futures::future::join_all;
use meshspan_lab::{eventually, isolated};

use super::calls::{Service, policy_to, remove};
use super::stages::TwoZones;
use crate::clients::LIMIT;
use crate::stage::{chapter, on_stage};

#[test]
fn requests_beyond_the_limit_are_refused_and_failing_instances_are_left_alone() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let zones = TwoZones::start(mesh).await?;
            for service in zones.near_and_far().await? {
                let name = &service.name;
                chapter(&format!("{name}: as many requests at a time as permitted"));
                ensure!(at_once(&service, 6).await? == 6);
                let limit = "{connectionLimits: {maxConnections: 1, maxPendingRequests: 1, maxRequests: 2}}";
                mesh.global
                    .apply(&policy_to("MeshCircuitBreaker", "limit", name, limit))
                    .await?;
                eventually("some of six requests to be refused", LIMIT, || async {
                    let answered = at_once(&service, 6).await?;
                    ensure!((1..6).contains(&answered), "{answered} of 6");
                    Ok(())
                })
                .await?;
                remove(mesh, "meshcircuitbreaker", "limit").await?;
                eventually("all requests to be answered", LIMIT, || async {
                    ensure!(at_once(&service, 6).await? == 6);
                    Ok(())
                })
                .await?;
            }

            chapter("an instance that fails is left for another zone");
            let everywhere = zones.service("everywhere").await?;
            everywhere.answered_by("/", &["east"]).await?;
            let eject = "{outlierDetection: {interval: 1s, baseEjectionTime: 60s, maxEjectionPercent: 100, detectors: {totalFailures: {consecutive: 3}}}}";
            mesh.global
                .apply(&policy_to("MeshCircuitBreaker", "eject", "everywhere", eject))
                .await?;
            let none = policy_to("MeshRetry", "none", "everywhere", "{http: {numRetries: 0}}");
            mesh.global.apply(&none).await?;
            // A plain 500 is a failure to this policy, and none to the default.
            eventually("west to answer", LIMIT, || async {
                for _ in 0..3 {
                    everywhere.get("/status/500/in/east").await?;
                }
                let zone = everywhere.zone("/", &[]).await?;
                ensure!(zone == "west", "{zone}");
                Ok(())
            })
            .await?;
            remove(mesh, "meshcircuitbreaker", "eject").await?;
            remove(mesh, "meshretry", "none").await
        })
    });
}

/// How many of so many requests at once are answered.
async fn at_once(service: &Service, count: usize) -> Result<usize> {
    let requests = (0..count).map(|_| service.get("/delay/500"));
    let answers = join_all(requests).await;
    let mut answered = 0;
    for answer in answers {
        let status = answer?.status().as_u16();
        ensure!(status == 200 || status == 503, "status {status}");
        answered += usize::from(status == 200);
    }
    Ok(answered)
}
