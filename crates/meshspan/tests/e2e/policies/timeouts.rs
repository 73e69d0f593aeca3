//! MeshTimeout.

use meshspan_lab::isolated;

use super::calls::{policy_to, remove};
use super::stages::TwoZones;
use crate::stage::{chapter, on_stage};

const SLOW: &str = "/delay/600";

#[test]
fn a_request_takes_as_long_as_it_may() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let zones = TwoZones::start(mesh).await?;
            for service in zones.near_and_far().await? {
                let name = &service.name;
                chapter(&format!("{name}: a policy on the global, by labels"));
                service.answers(SLOW, 200).await?;
                let short = policy_to("MeshTimeout", "short", name, "{http: {requestTimeout: 300ms}}");
                mesh.global.apply(&short).await?;
                service.answers(SLOW, 504).await?;
                service.answers("/", 200).await?;
                remove(mesh, "meshtimeout", "short").await?;
                service.answers(SLOW, 200).await?;

                chapter(&format!("{name}: a policy of the zone, which names the global service"));
                let by_name = short.replace(
                    &format!("labels: {{kuma.io/display-name: {name}}}"),
                    &format!("name: {name}"),
                );
                let zonal = by_name.replace("mesh: default\n", "mesh: default\nlabels: {kuma.io/origin: zone}\n");
                let zone = &mesh.zone("east")?.control_plane;
                zone.apply(&zonal).await?;
                service.answers(SLOW, 504).await?;
                zone.client(&["delete", "meshtimeout", "short"]).await?;
                service.answers(SLOW, 200).await?;

                chapter(&format!("{name}: on the way in"));
                let incoming = format!(
                    "type: MeshTimeout
name: incoming
mesh: default
spec:
  targetRef: {{kind: MeshSubset, tags: {{kuma.io/service: {name}}}}}
  rules: [{{default: {{http: {{requestTimeout: 200ms}}}}}}]
"
                );
                // Enough failures, of retries for example, and the client would leave the instance alone.
                let once = policy_to("MeshRetry", "once", name, "{http: {numRetries: 0}}");
                mesh.global.apply(&once).await?;
                mesh.global.apply(&incoming).await?;
                service.answers(SLOW, 504).await?;
                remove(mesh, "meshtimeout", "incoming").await?;
                remove(mesh, "meshretry", "once").await?;
                service.answers(SLOW, 200).await?;
            }
            Ok(())
        })
    });
}
