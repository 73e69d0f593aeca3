//! Every protocol, across zones: one service with a port for each.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Request;
use meshspan_demo::{ApplicationKind, WorkloadPort, WorkloadSpec};
use meshspan_lab::workload::Echo;
use meshspan_lab::{HttpVersion, eventually, isolated};

use crate::clients::{LIMIT, hostname, look_up, matched, request};
use crate::stage::{chapter, on_stage};

const SERVICE: &str = "
type: MeshMultiZoneService
name: echo
mesh: default
spec:
  selector: {meshService: {matchLabels: {kuma.io/display-name: echo}}}
  ports:
  - {port: 8080, appProtocol: http}
  - {port: 8082, appProtocol: http2}
  - {port: 8083, appProtocol: grpc}
  - {port: 8084, appProtocol: tcp}
  - {port: 6379, appProtocol: tcp}
";

#[test]
fn tcp_http_http2_and_grpc_reach_another_zone() {
    isolated(|| {
        on_stage(&["east", "west"], async |mesh| {
            let port = |number, protocol: &str, application| WorkloadPort {
                name: String::new(),
                number,
                protocol: protocol.to_owned(),
                application: Some(application),
            };
            let ports = vec![
                port(8080, "http", ApplicationKind::Echo),
                port(8082, "http2", ApplicationKind::Echo),
                port(8083, "grpc", ApplicationKind::Echo),
                port(8084, "tcp", ApplicationKind::Echo),
                port(6379, "tcp", ApplicationKind::Redis),
            ];
            let _west = mesh
                .workload(WorkloadSpec::echo("west", "echo", "http").ports(ports))
                .await?;
            let client = mesh.workload(WorkloadSpec::client("east", "client")).await?;
            let machine = client.machine();
            mesh.global.apply(SERVICE).await?;
            matched(mesh, "east", "echo", 1).await?;
            let name = hostname("echo");
            let vip = look_up(&client, &name, 8080).await?.ip();

            for (port, version, expected) in [
                (8080, HttpVersion::Http1, "HTTP/1.1"),
                (8082, HttpVersion::Http2, "HTTP/2.0"),
                // Opaque to the mesh: whatever the application speaks.
                (8084, HttpVersion::Http1, "HTTP/1.1"),
                (8084, HttpVersion::Http2, "HTTP/2.0"),
            ] {
                chapter(&format!("{expected} on port {port}"));
                let echo = eventually("an answer", LIMIT, || async {
                    let post = Request::post("/a?b=c")
                        .header("x-test", "1")
                        .body(Bytes::from_static(b"hello"))?;
                    let response = request(machine, (vip, port).into(), &name, version, post).await?;
                    ensure!(response.status() == 200, "{}", response.status());
                    Ok(serde_json::from_slice::<Echo>(response.body())?)
                })
                .await?;
                let Echo {
                    zone,
                    version,
                    path,
                    body,
                    headers,
                    ..
                } = &echo;
                ensure!(
                    (zone.as_str(), version.as_str(), path.as_str(), body.as_str())
                        == ("west", expected, "/a?b=c", "hello"),
                    "{echo:?}"
                );
                ensure!(headers.get("x-test").map(String::as_str) == Some("1"), "{echo:?}");
            }

            chapter("gRPC");
            let echo = eventually("an answer", LIMIT, || async {
                let call = Request::post("/a.Service/Method")
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .body(Bytes::from_static(b"\0\0\0\0\x02hi"))?;
                let response = request(machine, (vip, 8083).into(), &name, HttpVersion::Http2, call).await?;
                let status = response.headers().get("grpc-status").cloned();
                ensure!(
                    status.as_ref().is_some_and(|status| status == "0"),
                    "grpc-status {status:?}"
                );
                let message = response.body().get(5..).context("a message")?;
                Ok(serde_json::from_slice::<Echo>(message)?)
            })
            .await?;
            ensure!((echo.zone.as_str(), echo.body.as_str()) == ("west", "hi"), "{echo:?}");

            chapter("Redis, with a large value");
            redis(machine, (vip, 6379).into()).await
        })
    });
}

async fn redis(machine: &meshspan_demo::Machine, to: std::net::SocketAddr) -> Result<()> {
    let mut redis = meshspan_lab::RedisConnection::over(machine.connect(to).await?);
    ensure!(redis.zone().await? == "west");
    let large = "x".repeat(1 << 18);
    redis.command(&["SET", "large", &large]).await?.text()?;
    ensure!(
        redis.command(&["GET", "large"]).await?.text()?.as_deref() == Some(large.as_str()),
        "the value came back changed"
    );
    Ok(())
}
