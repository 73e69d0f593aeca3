//! MeshHealthCheck.

use meshspan_lab::isolated;

use super::calls::{policy_to, remove};
use super::stages::TwoZones;
use crate::stage::{chapter, on_stage};

#[test]
fn instances_that_fail_their_checks_get_no_requests() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let zones = TwoZones::start(mesh).await?;
            let check = |path: &str| {
                format!(
                    "{{interval: 200ms, timeout: 1s, unhealthyThreshold: 1, healthyThreshold: 1, http: {{path: {path}, expectedStatuses: [200]}}}}"
                )
            };
            for service in zones.near_and_far().await? {
                let name = &service.name;
                chapter(&format!("{name}: a check that passes, and one that does not"));
                mesh.global
                    .apply(&policy_to("MeshHealthCheck", "check", name, &check("/")))
                    .await?;
                service.answers("/", 200).await?;
                mesh.global
                    .apply(&policy_to("MeshHealthCheck", "check", name, &check("/status/500")))
                    .await?;
                service.answers("/", 503).await?;
                remove(mesh, "meshhealthcheck", "check").await?;
                service.answers("/", 200).await?;
            }

            chapter("a zone that fails its checks is left");
            let everywhere = zones.service("everywhere").await?;
            everywhere.answered_by("/", &["east"]).await?;
            let failing_here = policy_to("MeshHealthCheck", "check", "everywhere", &check("/status/500/in/east"));
            mesh.global.apply(&failing_here).await?;
            everywhere.answered_by("/", &["west"]).await?;
            remove(mesh, "meshhealthcheck", "check").await?;
            everywhere.answered_by("/", &["east"]).await
        })
    });
}
