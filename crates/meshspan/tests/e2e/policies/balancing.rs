//! MeshLoadBalancingStrategy on a service of three zones.

use anyhow::{Result, ensure};
use meshspan_demo::{Deployment, WorkloadSpec};
use meshspan_lab::{eventually, isolated};

use super::calls::{Service, policy_to, remove};
use super::stages::HTTP;
use crate::clients::{LIMIT, hostname, look_up, matched, multi_zone_service};
use crate::stage::{chapter, on_stage};

const KIND: &str = "MeshLoadBalancingStrategy";

async fn say(mesh: &Deployment, default: &str) -> Result<()> {
    let said = policy_to(KIND, "strategy", "echo", default);
    mesh.global.apply(&said).await.map(|_| ())
}

/// Failover as written, within `localityAwareness`.
fn failover(rules: &str) -> String {
    format!("{{localityAwareness: {{crossZone: {{failover: [{rules}]}}}}}}")
}

#[test]
fn zones_take_over_in_the_order_that_is_said() {
    isolated(|| {
        on_stage(&["east", "south", "west"], async |mesh| {
            let mut local = mesh.workload(WorkloadSpec::echo("east", "echo-1", "http")).await?;
            let _others = mesh
                .workloads(vec![
                    WorkloadSpec::echo("south", "echo-1", "http"),
                    WorkloadSpec::echo("west", "echo-1", "http"),
                ])
                .await?;
            let client = mesh.workload(WorkloadSpec::client("east", "client")).await?;
            mesh.global.apply(&multi_zone_service("echo", HTTP, "http")).await?;
            matched(mesh, "east", "echo", 3).await?;
            let address = look_up(&client, &hostname("echo"), HTTP).await?.ip();
            let echo = Service::new(client.machine(), "echo", address);

            chapter("the own zone, as long as nothing is said");
            echo.answered_by("/", &["east"]).await?;

            chapter("disabled: all zones alike");
            say(mesh, "{localityAwareness: {disabled: true}}").await?;
            echo.answered_by("/", &["east", "south", "west"]).await?;

            chapter("a consistent choice by header");
            say(
                mesh,
                "{localityAwareness: {disabled: true}, loadBalancer: {type: RingHash, ringHash: {hashPolicies: [{type: Header, header: {name: x-user}}]}}}",
            )
            .await?;
            eventually("each user to stay, and users to spread", LIMIT, || sticky(&echo)).await?;

            chapter("without the own zone: those that a rule names");
            local.application()?.kill().await?;
            say(mesh, &failover("{to: {type: Only, zones: [west]}}")).await?;
            echo.answered_by("/", &["west"]).await?;
            say(mesh, &failover("{to: {type: AnyExcept, zones: [west]}}")).await?;
            echo.answered_by("/", &["south"]).await?;
            say(mesh, &failover("{to: {type: Only, zones: [south]}}, {to: {type: Any}}")).await?;
            echo.answered_by("/", &["south"]).await?;

            chapter("rules for other zones do not count, and none at all means nowhere");
            say(
                mesh,
                &failover("{from: {zones: [west]}, to: {type: Any}}, {from: {zones: [east]}, to: {type: Only, zones: [west]}}"),
            )
            .await?;
            echo.answered_by("/", &["west"]).await?;
            say(mesh, &failover("{to: {type: None}}")).await?;
            echo.answers("/", 503).await?;

            chapter("without the policy: the other zones equally");
            remove(mesh, "meshloadbalancingstrategy", "strategy").await?;
            echo.answered_by("/", &["south", "west"]).await?;

            chapter("the own zone takes over again");
            local.application()?.start_again().await?;
            echo.answered_by("/", &["east"]).await
        })
    });
}

/// Every user is answered by one zone, and not all by the same.
async fn sticky(echo: &Service) -> Result<()> {
    let mut zones = std::collections::BTreeSet::new();
    for user in 0..12 {
        let user = format!("user-{user}");
        let headers = [("x-user", user.as_str())];
        let zone = echo.zone("/", &headers).await?;
        for _ in 0..3 {
            let again = echo.zone("/", &headers).await?;
            ensure!(again == zone, "{user}: {zone}, then {again}");
        }
        zones.insert(zone);
    }
    ensure!(zones.len() > 1, "all users went to {zones:?}");
    Ok(())
}
