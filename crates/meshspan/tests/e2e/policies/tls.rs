//! MeshTLS.

use anyhow::ensure;
use meshspan_lab::{HttpVersion, eventually, isolated};

use super::stages::{HTTP, TwoZones};
use crate::clients::{LIMIT, MANY, http_traffic, request};
use crate::stage::{chapter, on_stage};

fn mode(mode: &str) -> String {
    format!(
        "type: MeshTLS
name: mode
mesh: default
spec:
  targetRef: {{kind: Mesh}}
  rules: [{{default: {{mode: {mode}, tlsVersion: {{min: TLS12, max: TLS13}}}}}}]
"
    )
}

#[test]
fn permissive_becomes_strict_without_a_failed_request() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let zones = TwoZones::start(mesh).await?;
            // Instances as a host without a sidecar sees them.
            let outside = mesh.zone("east")?.control_plane.machine().clone();
            let instance = zones.instance_of_near()?;
            let plain = async |expected: bool| {
                eventually(&format!("plaintext to pass: {expected}"), LIMIT, || async {
                    let get = http::Request::get("/").body(bytes::Bytes::new())?;
                    let answer = request(&outside, (instance, HTTP).into(), "near", HttpVersion::Http1, get).await;
                    let passes = answer.is_ok_and(|answer| answer.status() == 200);
                    ensure!(passes == expected);
                    Ok(())
                })
                .await
            };
            chapter("strict, as the mesh says");
            plain(false).await?;

            let traffic = [
                http_traffic(&zones.client, "near").await?,
                http_traffic(&zones.client, "far").await?,
            ];
            for traffic in &traffic {
                traffic.wait("answers", LIMIT, |seen| seen.streak >= MANY).await?;
                traffic.mark();
            }
            for (said, passes) in [
                ("Permissive", true),
                ("Strict", false),
                ("Permissive", true),
                ("Strict", false),
            ] {
                chapter(said);
                mesh.global.apply(&mode(said)).await?;
                plain(passes).await?;
                for traffic in &traffic {
                    traffic.all_answered(traffic.seen().total() + MANY, LIMIT).await?;
                }
            }
            Ok(())
        })
    });
}
