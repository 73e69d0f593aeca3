#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::EnvoyExited;
use crate::fake_control_plane::{FAKE_ENVOY, FakeControlPlane, bootstrap_answer};
use crate::http_client;
use bytes::Bytes;
use clap::Parser;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use meshspan_xds::proto::agent::{ControlPlaneMessage, DnsUpdate, agent_message, control_plane_message};
use rustix::process::{Pid, Signal};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use tokio::net::{TcpListener, TcpStream};

#[derive(clap::Parser)]
struct Program {
    #[command(flatten)]
    run: RunArgs,
}

const DATAPLANE: &str = "{type: Dataplane, mesh: demo, name: web-1, networking: {inbound: [{port: 8080}]}}";

/// A loopback address per test and test process, so that chosen ports are free.
fn host(test: u32) -> String {
    let pid = std::process::id();
    format!(
        "127.{}.{}.{}",
        64 + ((pid >> 13) & 0x3f),
        (pid >> 5) & 0xff,
        ((pid & 0x1f) << 3) + test
    )
}

fn args(control_plane: &FakeControlPlane, host: &str, more: &[&str]) -> RunArgs {
    let url = control_plane.url("http", "127.0.0.1");
    let fixed = [
        "dp",
        "--cp-address",
        &url,
        "--dataplane",
        DATAPLANE,
        "--binary-path",
        FAKE_ENVOY,
        "--readiness-address",
        host,
        "--readiness-port",
        "9902",
        "--dns-proxy-address",
        host,
        "--dns-proxy-port",
        "15053",
    ];
    Program::try_parse_from(fixed.iter().chain(more)).unwrap().run
}

/// Envoy's admin interface: records what is posted, is always LIVE.
struct FakeAdmin {
    address: SocketAddr,
    posts: mpsc::Receiver<String>,
    _tasks: JoinSet<()>,
}

async fn fake_admin() -> FakeAdmin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (posts_in, posts) = mpsc::channel(16);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let posts_in = posts_in.clone();
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                if request.method() == http::Method::POST {
                    posts_in.try_send(request.uri().to_string()).unwrap();
                }
                std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("LIVE\n")))))
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    FakeAdmin {
        address,
        posts,
        _tasks: tasks,
    }
}

fn bootstrap(admin: Option<SocketAddr>, behaviour: &str) -> Vec<(u16, Bytes)> {
    let admin = admin.map_or_else(String::new, |address| {
        format!(
            "admin: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}",
            address.ip(),
            address.port()
        )
    });
    vec![(
        200,
        bootstrap_answer(&format!("node: {{id: demo.web-1}}\n{admin}\n# do: {behaviour}\n")),
    )]
}

const RUN_ON: &str = "trap 'exit 0' TERM; while :; do sleep 0.02; done";

async fn readiness(host: &str) -> Option<(StatusCode, String)> {
    let stream = TcpStream::connect((host, 9902)).await.ok()?;
    let request = Request::get("/ready")
        .header("host", "agent")
        .body(Full::default())
        .unwrap();
    let (status, body) = http_client::send(stream, request, 1000, Duration::from_secs(5))
        .await
        .ok()?;
    Some((status, String::from_utf8(body.to_vec()).unwrap()))
}

async fn until_ready_is(host: &str, status: u16, text: &str) {
    let wanted = (StatusCode::from_u16(status).unwrap(), text);
    loop {
        match readiness(host).await {
            Some((status, body)) if (status, body.as_str()) == wanted => return,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn from_start_to_drained_stop() {
    let host: &str = &host(1);
    let mut admin = fake_admin().await;
    let mut control_plane = FakeControlPlane::start(None, bootstrap(Some(admin.address), RUN_ON)).await;
    let folder = tempfile::tempdir().unwrap();
    let config_dir = folder.path().join("config");
    let args = args(
        &control_plane,
        host,
        &["--drain-time", "1h", "--config-dir", config_dir.to_str().unwrap()],
    );
    let (stop, stops) = mpsc::channel(2);
    let agent = tokio::spawn(run_until(args, stops));

    until_ready_is(host, 503, "waiting for the first DNS records from the control plane").await;
    let request = control_plane.requests.recv().await.unwrap();
    assert_eq!(
        (&request["name"], &request["readinessPort"]),
        (&"web-1".into(), &9902.into())
    );
    let mode = std::fs::metadata(config_dir.join("bootstrap.yaml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let mut stream = control_plane.streams.recv().await.unwrap();
    assert!(matches!(stream.next().await, agent_message::Message::Hello(hello) if hello.wants_dns));
    let update = DnsUpdate {
        full: true,
        ..DnsUpdate::default()
    };
    let message = ControlPlaneMessage {
        message: Some(control_plane_message::Message::Dns(update)),
    };
    stream.outgoing.send(Ok(message)).await.unwrap();
    until_ready_is(host, 200, "READY").await;

    stop.send(()).await.unwrap();
    until_ready_is(host, 503, "TERMINATING").await;
    assert_eq!(admin.posts.recv().await.unwrap(), "/healthcheck/fail");
    assert_eq!(
        admin.posts.recv().await.unwrap(),
        "/drain_listeners?inboundonly&graceful&skip_exit"
    );
    assert!(!agent.is_finished(), "an hour has not passed");
    let agent_message::Message::Health(report) = stream.next().await else {
        panic!("no health report")
    };
    assert_eq!(
        (
            report.inbounds[0].inbound_port,
            report.inbounds[0].ready,
            report.draining
        ),
        (8080, false, true)
    );
    stop.send(()).await.unwrap();
    assert!(matches!(stream.next().await, agent_message::Message::Goodbye(_)));
    assert!(
        stream.incoming.message().await.unwrap().is_none(),
        "the stream ends in good order"
    );
    drop(stream);
    agent.await.unwrap().unwrap();
    assert!(readiness(host).await.is_none(), "everything is down");
}

#[tokio::test]
async fn the_agent_ends_with_envoy() {
    let host: &str = &host(2);
    let control_plane =
        FakeControlPlane::start(None, bootstrap(None, "echo 'cannot bind 0.0.0.0:80' >&2; exit 5")).await;
    let (_stop, stops) = mpsc::channel(1);
    let error = run_until(args(&control_plane, host, &["--dns-enabled=false"]), stops)
        .await
        .unwrap_err();
    assert_eq!(error.downcast_ref::<EnvoyExited>().unwrap().exit_code(), 5);
    let text = error.to_string();
    assert!(
        text.contains("cannot bind 0.0.0.0:80") && text.contains("networking.admin.port"),
        "{text}"
    );
}

#[tokio::test]
async fn a_stop_ends_the_wait_for_the_control_plane() {
    let host: &str = &host(3);
    let mut control_plane = FakeControlPlane::start(None, vec![(404, Bytes::new())]).await;
    let (stop, stops) = mpsc::channel(1);
    let agent = tokio::spawn(run_until(args(&control_plane, host, &[]), stops));
    control_plane.requests.recv().await.unwrap();
    until_ready_is(
        host,
        503,
        "waiting for the bootstrap configuration from the control plane",
    )
    .await;
    stop.send(()).await.unwrap();
    agent.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_wrong_here_is_found_before_the_control_plane_is_asked() {
    let host: &str = &host(4);
    let mut control_plane = FakeControlPlane::start(None, vec![(404, Bytes::new())]).await;
    let _taken = TcpListener::bind((host, 9902)).await.unwrap();
    let cases: [(&[&str], &str); 3] = [
        (&[], "--readiness-port"),
        (&["--binary-path", "/nonexistent/envoy"], "does not exist"),
        (&["--cp-address", "https://127.0.0.1:1"], "--skip-verify"),
    ];
    for (more, expected) in cases {
        let mut args = args(&control_plane, host, &[]);
        for pair in more.chunks(2) {
            match pair[0] {
                "--binary-path" => args.binary_path = Some(pair[1].into()),
                _ => args.cp_address = pair[1].to_owned(),
            }
        }
        let (_stop, stops) = mpsc::channel(1);
        let error = format!("{:#}", run_until(args, stops).await.unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
    assert!(control_plane.requests.try_recv().is_err());
}

const SIGNALLED_AGENT: &str = "MESHSPAN_TEST_SIGNALLED_AGENT";

/// Not a test by itself: the process that `the_first_signal_drains_and_the_second_ends` signals.
#[tokio::test]
async fn agent_that_is_signalled() {
    let Ok(arguments) = std::env::var(SIGNALLED_AGENT) else {
        return;
    };
    run(Program::try_parse_from(arguments.split(' ')).unwrap().run)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_ends() {
    let host: &str = &host(6);
    let control_plane = FakeControlPlane::start(None, bootstrap(None, RUN_ON)).await;
    let url = control_plane.url("http", "127.0.0.1");
    let arguments = format!(
        "dp --cp-address {url} --name web-1 --binary-path {FAKE_ENVOY} --readiness-address {host} --dns-enabled=false \
         --drain-time 1h"
    );
    let mut agent = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "run::tests::agent_that_is_signalled"])
        .env(SIGNALLED_AGENT, arguments)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(agent.id().unwrap().try_into().unwrap()).unwrap();
    until_ready_is(host, 200, "READY").await;
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    until_ready_is(host, 503, "TERMINATING").await;
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    assert!(agent.wait().await.unwrap().success());
}

const REAL_BOOTSTRAP: &str = "
node: {id: demo.web-1, cluster: web}
admin: {address: {socket_address: {address: HOST, port_value: 9901}}}
static_resources:
  listeners:
  - name: health
    address: {socket_address: {address: HOST, port_value: 8080}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: health
          route_config: {virtual_hosts: [{name: all, domains: ['*'], routes: [{match: {prefix: /}, direct_response: {status: 204}}]}]}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
";

/// The one test here with a real Envoy, which `meshspan envoy install` brings.
#[tokio::test]
async fn a_real_envoy_gets_live_and_drains() {
    let host: &str = &host(5);
    let mut control_plane = FakeControlPlane::start(
        None,
        vec![(200, bootstrap_answer(&REAL_BOOTSTRAP.replace("HOST", host)))],
    )
    .await;
    let mut args = args(
        &control_plane,
        host,
        &["--dns-enabled=false", "--drain-time", "1s", "--concurrency", "1"],
    );
    args.binary_path = None;
    let (stop, stops) = mpsc::channel(2);
    let agent = tokio::spawn(run_until(args, stops));
    control_plane.requests.recv().await.unwrap();
    until_ready_is(host, 200, "READY").await;
    assert!(TcpStream::connect((host, 8080)).await.is_ok());
    stop.send(()).await.unwrap();
    agent.await.unwrap().unwrap();
    assert!(TcpStream::connect((host, 8080)).await.is_err());
}
