//! MeshAccessLog.

use anyhow::ensure;
use meshspan_lab::{eventually, isolated};

use super::calls::{policy_to, remove};
use super::stages::TwoZones;
use crate::clients::LIMIT;
use crate::stage::{chapter, on_stage};

#[test]
fn requests_and_connections_are_written_down() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let zones = TwoZones::start(mesh).await?;
            let directory = zones.client.machine().directory().to_owned();
            for service in zones.near_and_far().await? {
                let name = &service.name;
                chapter(&format!("{name}: to a file, in a format of one's own"));
                let path = directory.join(format!("{name}.log"));
                let format =
                    "%KUMA_SOURCE_SERVICE%->%KUMA_DESTINATION_SERVICE% %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE%";
                let file = format!(
                    "{{backends: [{{type: File, file: {{path: {}, format: {{type: Plain, plain: '{format}'}}}}}}]}}",
                    path.display()
                );
                mesh.global
                    .apply(&policy_to("MeshAccessLog", "log", name, &file))
                    .await?;
                let written = |wanted: String| {
                    let path = path.clone();
                    move || {
                        let (path, wanted) = (path.clone(), wanted.clone());
                        async move {
                            let text = std::fs::read_to_string(&path).unwrap_or_default();
                            ensure!(text.contains(&wanted), "{wanted:?} is not in {text:?}");
                            Ok(())
                        }
                    }
                };
                eventually("a line", LIMIT, || async {
                    service.get("/logged").await?;
                    written("GET /logged 200".to_owned())().await
                })
                .await?;
                let text = std::fs::read_to_string(&path)?;
                ensure!(text.contains("client->") && text.contains(name.as_str()), "{text}");

                chapter(&format!("{name}: an empty list of backends is silence"));
                mesh.global
                    .apply(&policy_to("MeshAccessLog", "log", name, "{backends: []}"))
                    .await?;
                eventually("silence", LIMIT, || async {
                    let before = std::fs::metadata(&path)?.len();
                    for _ in 0..5 {
                        service.get("/silent").await?;
                    }
                    ensure!(std::fs::metadata(&path)?.len() == before, "still written");
                    Ok(())
                })
                .await?;
                remove(mesh, "meshaccesslog", "log").await?;
            }
            Ok(())
        })
    });
}
