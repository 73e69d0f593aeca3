//! Two meshes with equal names never mix.

use anyhow::ensure;
use meshspan_demo::WorkloadSpec;
use meshspan_lab::{eventually, isolated};

use crate::clients::{LIMIT, MANY, echo, hostname, look_up, multi_zone_service};
use crate::stage::{chapter, on_stage};

#[test]
fn two_meshes_with_equal_names_never_mix() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            mesh.add_mesh("other").await?;
            let echo_of = |mesh: &str, zone: &str| WorkloadSpec::echo(zone, &format!("echo-{mesh}"), "http").mesh(mesh);
            let mut workloads = mesh
                .workloads(vec![
                    echo_of("default", "west"),
                    echo_of("other", "west"),
                    // The local zone has an instance in the other mesh only: it must not draw traffic of this one.
                    echo_of("other", "east"),
                    WorkloadSpec::client("east", "client-default"),
                    WorkloadSpec::client("east", "client-other").mesh("other"),
                ])
                .await?;
            let service = multi_zone_service("echo", 8080, "http");
            mesh.global.apply(&service).await?;
            mesh.global
                .apply(&service.replace("mesh: default", "mesh: other"))
                .await?;

            let clients = workloads.split_off(3);
            let name = hostname("echo");
            let mut vips = Vec::new();
            for (client, mesh_name, zone) in [(&clients[0], "default", "west"), (&clients[1], "other", "east")] {
                chapter(&format!("the client in {mesh_name} reaches its own mesh"));
                let to = look_up(client, &name, 8080).await?;
                vips.push(to.ip());
                let expected = format!("echo-{mesh_name}");
                eventually("an answer", LIMIT, || async {
                    let answer = echo(client.machine(), to, &name).await?;
                    ensure!(
                        (answer.instance.as_str(), answer.zone.as_str()) == (expected.as_str(), zone),
                        "{answer:?}"
                    );
                    Ok(())
                })
                .await?;
                for _ in 0..MANY {
                    let answer = echo(client.machine(), to, &name).await?;
                    ensure!(
                        (answer.instance.as_str(), answer.zone.as_str()) == (expected.as_str(), zone),
                        "{answer:?}"
                    );
                }
            }
            ensure!(
                vips[0] != vips[1],
                "equal names in two meshes share the address {}",
                vips[0]
            );

            chapter("an address of the other mesh leads nowhere");
            let stray = echo(clients[0].machine(), (vips[1], 8080).into(), &name).await;
            ensure!(stray.is_err(), "{stray:?}");

            chapter("the last instance of one mesh dies: the other mesh does not help out");
            workloads[0].application()?.kill().await?;
            eventually("the end of answers", LIMIT, || async {
                let answer = echo(clients[0].machine(), (vips[0], 8080).into(), &name).await;
                ensure!(answer.is_err(), "{answer:?}");
                Ok(())
            })
            .await?;
            let answer = echo(clients[1].machine(), (vips[1], 8080).into(), &name).await?;
            ensure!(answer.instance == "echo-other", "{answer:?}");
            Ok(())
        })
    });
}
