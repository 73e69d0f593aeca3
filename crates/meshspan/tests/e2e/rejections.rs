//! What a real Envoy rejects costs itself and nothing else.

use anyhow::{Context as _, Result, ensure};
use meshspan_demo::{Deployment, WorkloadSpec};
use meshspan_lab::{eventually, isolated};

use crate::clients::{LIMIT, http_traffic, matched, multi_zone_service, settles};
use crate::stage::{chapter, on_stage};

/// Waits until `inspect` of the proxy `echo` in east says all of this.
async fn inspected(mesh: &Deployment, expected: &[&str]) -> Result<()> {
    eventually(&format!("inspect says {expected:?}"), LIMIT, || async {
        let control_plane = &mesh.zone("east")?.control_plane;
        let said = control_plane
            .client(&["inspect", "dataplane", "echo", "--mesh", "default"])
            .await?;
        ensure!(expected.iter().all(|expected| said.contains(expected)), "{said}");
        Ok(())
    })
    .await
}

#[test]
fn what_envoy_rejects_takes_no_requests_and_a_log_costs_none() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let mut workloads = mesh
                .workloads(vec![
                    // Without interception Envoy itself listens on the port of the inbound.
                    WorkloadSpec::echo("east", "echo", "http").explicit(Vec::new()),
                    WorkloadSpec::echo("west", "echo", "http"),
                    WorkloadSpec::client("east", "client"),
                ])
                .await?;
            mesh.global.apply(&multi_zone_service("echo", 8080, "http")).await?;
            matched(mesh, "east", "echo", 2).await?;
            let echo = http_traffic(&workloads[2], "echo").await?;
            settles(&echo, "east").await?;

            chapter("the port of the inbound is taken when the proxy starts");
            workloads[0].proxy.kill().await?;
            settles(&echo, "west").await?;
            let machine = workloads[0].machine().clone();
            let host = machine.host().context("in a lab")?;
            let taken = host.listen((machine.address(), 8080).into()).await?;
            workloads[0].proxy.start_again().await?;
            inspected(mesh, &["Envoy rejects listener", "cannot bind", "NotReady"]).await?;
            settles(&echo, "west").await?;

            chapter("it is free when the proxy starts again");
            workloads[0].proxy.kill().await?;
            drop(taken);
            workloads[0].proxy.start_again().await?;
            settles(&echo, "east").await?;

            chapter("an access log that cannot be opened, while the proxy runs and when it starts");
            mesh.global
                .apply("type: MeshAccessLog\nmesh: default\nname: log\nspec:\n  rules: [{default: {backends: [{type: File, file: {path: /nowhere/a.log}}]}}]\n")
                .await?;
            inspected(mesh, &["cannot open the access log /nowhere/a.log"]).await?;
            echo.all_from("east", 50, LIMIT).await?;
            workloads[0].proxy.kill().await?;
            settles(&echo, "west").await?;
            workloads[0].proxy.start_again().await?;
            settles(&echo, "east").await
        })
    });
}
