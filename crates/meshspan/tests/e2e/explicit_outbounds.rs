//! The path without interception: an application that reaches a service on a port of its own host.

use anyhow::Result;
use meshspan_demo::{Outbound, Question, Traffic, WorkloadSpec};
use meshspan_lab::isolated;

use crate::clients::{matched, multi_zone_service, settles};
use crate::stage::{chapter, on_stage};

#[test]
fn explicit_outbounds_fail_over_and_return() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| -> Result<()> {
            let outbound = Outbound {
                port: 16379,
                service: "redis".into(),
                service_port: 6379,
            };
            let mut workloads = mesh
                .workloads(vec![
                    WorkloadSpec::redis("east", "redis").explicit(Vec::new()),
                    // One side with interception, one without.
                    WorkloadSpec::redis("west", "redis"),
                    WorkloadSpec::client("east", "client").explicit(vec![outbound]),
                ])
                .await?;
            mesh.global.apply(&multi_zone_service("redis", 6379, "tcp")).await?;
            matched(mesh, "east", "redis", 2).await?;
            let client = workloads[2].machine().clone();
            let to = (client.private_address(), 16379).into();
            let traffic = Traffic::start(client, Question::Redis, "redis".into(), to);
            chapter("east");
            settles(&traffic, "east").await?;
            chapter("west");
            workloads[0].application()?.kill().await?;
            settles(&traffic, "west").await?;
            chapter("east again");
            workloads[0].application()?.start_again().await?;
            settles(&traffic, "east").await
        })
    });
}
