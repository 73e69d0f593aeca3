//! MeshAccessLog.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use meshspan_lab::{GATEWAY, eventually, isolated};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

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

                chapter(&format!(
                    "{name}: to a collector that takes lines over TCP, through the agent"
                ));
                let collector = Collector::start().await?;
                let backend = format!(
                    "{{backends: [{{type: Tcp, tcp: {{address: '{}', format: {{type: Plain, plain: '{format}'}}}}}}]}}",
                    collector.address
                );
                mesh.global
                    .apply(&policy_to("MeshAccessLog", "log", name, &backend))
                    .await?;
                eventually("a line at the collector", LIMIT, || async {
                    service.get("/collected").await?;
                    let text = collector.text();
                    ensure!(text.contains("GET /collected 200"), "{text:?}");
                    Ok(())
                })
                .await?;
                remove(mesh, "meshaccesslog", "log").await?;
            }
            Ok(())
        })
    });
}

/// Takes lines on the bridge of the lab.
struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
    _task: AbortOnDrop,
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Collector {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind((GATEWAY, 0)).await?;
        let address = listener.local_addr()?;
        let received = Arc::new(Mutex::new(Vec::new()));
        let sink = received.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    sink.lock().unwrap().extend_from_slice(&buffer[..count]);
                }
            }
        });
        Ok(Self {
            address,
            received,
            _task: AbortOnDrop(task),
        })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().unwrap()).into_owned()
    }
}
