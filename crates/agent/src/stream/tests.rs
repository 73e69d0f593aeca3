#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::args::Secret;
use crate::fake_control_plane::{FakeControlPlane, FakeStream, TestCertificate};
use crate::socket::SocketMark;
use crate::tls::Trust;
use crate::token::Token;
use meshspan_xds::proto::agent::{DnsRecord, DnsUpdate, HealthCheckPlan, InboundHealth};
use tokio::task::JoinSet;
use tonic::Status;

struct Running {
    dns: Arc<Table>,
    plans: watch::Receiver<Option<Vec<HealthCheck>>>,
    reports: watch::Sender<Option<HealthReport>>,
    _phase: watch::Sender<Phase>,
    _tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

fn start(url: &str, trust: Option<Trust>) -> Running {
    let (plans, plans_seen) = watch::channel(None);
    let (reports, reports_seen) = watch::channel(None);
    let (phase, phase_seen) = watch::channel(Phase::Running(None));
    let dns = Arc::new(Table::new());
    let hello = Hello {
        mesh: "demo".to_owned(),
        name: "web-1".to_owned(),
        ..Hello::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let stream = AgentStream {
        control_plane: ControlPlane::new(url, trust, SocketMark::default()).unwrap(),
        token: Arc::new(TokenSecret::new(
            Token::Text("tok.en".parse::<Secret>().unwrap()),
            folder.path(),
        )),
        hello,
        dns: Some(dns.clone()),
        plans,
        reports: reports_seen,
        denials: watch::channel(None).1,
        phase: phase_seen,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(stream.run());
    Running {
        dns,
        plans: plans_seen,
        reports,
        _phase: phase,
        _tasks: tasks,
        _folder: folder,
    }
}

async fn send(stream: &FakeStream, message: control_plane_message::Message) {
    stream
        .outgoing
        .send(Ok(ControlPlaneMessage { message: Some(message) }))
        .await
        .unwrap();
}

fn dns_update(address: &str) -> control_plane_message::Message {
    let record = DnsRecord {
        name: "a.mesh.local".to_owned(),
        addresses: vec![address.to_owned()],
    };
    control_plane_message::Message::Dns(DnsUpdate {
        full: true,
        records: vec![record],
        removed_names: vec![],
        ttl_seconds: 1,
        ..DnsUpdate::default()
    })
}

async fn until_address(table: &Table, address: &str) {
    let found = || table.addresses("a.mesh.local").is_some_and(|found| found[0] == address);
    while !found() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn records_and_plans_come_down_reports_go_up() {
    let certificate = TestCertificate::self_signed_ca("localhost");
    let mut server = FakeControlPlane::start(Some(&certificate), vec![]).await;
    let mut running = start(&server.url("https", "localhost"), Some(Trust::Ca(certificate.ca_pem)));
    let mut stream = server.streams.recv().await.unwrap();
    assert_eq!(stream.authorization.as_deref(), Some("tok.en"));
    assert!(matches!(stream.next().await, agent_message::Message::Hello(hello) if hello.name == "web-1"));
    send(&stream, dns_update("243.0.0.1")).await;
    until_address(&running.dns, "243.0.0.1").await;
    let plan = HealthCheckPlan {
        checks: vec![HealthCheck {
            inbound_port: 80,
            ..HealthCheck::default()
        }],
    };
    send(&stream, control_plane_message::Message::HealthChecks(plan.clone())).await;
    running
        .plans
        .wait_for(|seen| seen.as_ref() == Some(&plan.checks))
        .await
        .unwrap();
    let inbound = InboundHealth {
        inbound_port: 80,
        ready: true,
        detail: String::new(),
    };
    let report = HealthReport {
        inbounds: vec![inbound],
        draining: false,
    };
    running.reports.send_replace(Some(report.clone()));
    assert_eq!(stream.next().await, agent_message::Message::Health(report));
}

#[tokio::test]
async fn a_broken_stream_is_opened_again_and_nothing_is_forgotten() {
    let mut server = FakeControlPlane::start(None, vec![]).await;
    let mut running = start(&server.url("http", "127.0.0.1"), None);
    let first = server.streams.recv().await.unwrap();
    send(&first, dns_update("243.0.0.1")).await;
    let plan = HealthCheckPlan {
        checks: vec![HealthCheck {
            inbound_port: 80,
            ..HealthCheck::default()
        }],
    };
    send(&first, control_plane_message::Message::HealthChecks(plan)).await;
    running.plans.wait_for(Option::is_some).await.unwrap();
    first
        .outgoing
        .send(Err(Status::unavailable("restarting")))
        .await
        .unwrap();
    let mut second = server.streams.recv().await.unwrap();
    assert!(matches!(second.next().await, agent_message::Message::Hello(_)));
    until_address(&running.dns, "243.0.0.1").await;
    assert!(running.plans.borrow().is_some());
    send(&second, dns_update("243.0.0.2")).await;
    until_address(&running.dns, "243.0.0.2").await;
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let refusal = Status::unauthenticated("token is revoked");
    let server = FakeControlPlane::start_refusing(None, vec![], Some(refusal)).await;
    let (plans, _plans_seen) = watch::channel(None);
    let (_reports, reports) = watch::channel(None);
    let (_phase, phase) = watch::channel(Phase::Running(None));
    let stream = AgentStream {
        control_plane: ControlPlane::new(&server.url("http", "127.0.0.1"), None, SocketMark::default()).unwrap(),
        token: Arc::new(TokenSecret::new(Token::None, "/".as_ref())),
        hello: Hello::default(),
        dns: None,
        plans,
        reports,
        denials: watch::channel(None).1,
        phase,
    };
    let Err(error) = stream.run_once(&mut None).await;
    assert!(
        matches!(&error, StreamError::Unauthenticated(text) if text == "token is revoked"),
        "{error}"
    );
}

#[tokio::test]
async fn an_unreachable_control_plane_is_named() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (plans, _plans_seen) = watch::channel(None);
    let (_reports, reports) = watch::channel(None);
    let (_phase, phase) = watch::channel(Phase::Running(None));
    let stream = AgentStream {
        control_plane: ControlPlane::new(&format!("http://{closed}"), None, SocketMark::default()).unwrap(),
        token: Arc::new(TokenSecret::new(Token::None, "/".as_ref())),
        hello: Hello::default(),
        dns: None,
        plans,
        reports,
        denials: watch::channel(None).1,
        phase,
    };
    let Err(error) = stream.run_once(&mut None).await;
    assert!(
        error.to_string().contains(&format!("cannot connect to {closed}")),
        "{error}"
    );
}
