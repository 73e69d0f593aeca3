//! MeshRetry.

use anyhow::{Result, ensure};
use meshspan_lab::isolated;

use super::calls::{Service, policy_to, remove};
use super::stages::TwoZones;
use crate::clients::LIMIT;
use crate::stage::{chapter, on_stage};

#[test]
fn a_failed_request_is_tried_again_here_and_in_another_zone() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let zones = TwoZones::start(mesh).await?;
            for service in zones.near_and_far().await? {
                let name = &service.name;
                chapter(&format!("{name}: a new mesh retries"));
                ensure!(once(&service, "by-default").await? == 200);

                chapter(&format!("{name}: no retries, if a policy says so"));
                let none = policy_to("MeshRetry", "none", name, "{http: {numRetries: 0}}");
                mesh.global.apply(&none).await?;
                eventually_once(&service, "none", 503).await?;

                chapter(&format!("{name}: retries of other failures"));
                let teapot = policy_to(
                    "MeshRetry",
                    "none",
                    name,
                    "{http: {numRetries: 1, retryOn: [\"418\", HttpMethodGet]}}",
                );
                mesh.global.apply(&teapot).await?;
                meshspan_lab::eventually("a retried 418", LIMIT, || async {
                    let token = format!("teapot-{}", unused());
                    let answer = service.get(&format!("/once/418/{token}")).await?;
                    ensure!(answer.status() == 200, "{}", answer.status());
                    Ok(())
                })
                .await?;
                remove(mesh, "meshretry", "none").await?;
            }

            chapter("a retry leaves the zone that failed");
            let everywhere = zones.service("everywhere").await?;
            everywhere.answered_by("/", &["east"]).await?;
            everywhere.answered_by("/status/503/in/east", &["west"]).await?;
            let stay = "{http: {hostSelection: [], numRetries: 1}}";
            mesh.global
                .apply(&policy_to("MeshRetry", "stay", "everywhere", stay))
                .await?;
            everywhere.answers("/status/503/in/east", 503).await?;
            remove(mesh, "meshretry", "stay").await?;
            everywhere.answers("/status/503/in/east", 200).await
        })
    });
}

/// The status of a request that fails the first time.
async fn once(service: &Service, token: &str) -> Result<u16> {
    let answer = service.get(&format!("/once/503/{token}-{}", unused())).await?;
    Ok(answer.status().as_u16())
}

async fn eventually_once(service: &Service, token: &str, status: u16) -> Result<()> {
    meshspan_lab::eventually(
        &format!("status {status} of a request that fails once"),
        LIMIT,
        || async {
            let found = once(service, token).await?;
            ensure!(found == status, "{found}");
            Ok(())
        },
    )
    .await
}

/// A number that was not used before in this process.
fn unused() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
