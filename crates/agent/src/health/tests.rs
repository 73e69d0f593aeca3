#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// An address of this host that nothing else binds, so that a port can be closed and opened again.
const APP: &str = "127.77.1.1";

struct Running {
    plans: watch::Sender<Option<Vec<HealthCheck>>>,
    reports: watch::Receiver<Option<HealthReport>>,
    phase: watch::Sender<Phase>,
    _tasks: JoinSet<()>,
}

fn start() -> Running {
    let (plans, plans_seen) = watch::channel(None);
    let (reports_in, reports) = watch::channel(None);
    let mut tasks = JoinSet::new();
    let (phase, phase_seen) = watch::channel(Phase::Running(None));
    tasks.spawn(Prober::new(SocketMark::default(), vec![79], reports_in).run(plans_seen, phase_seen));
    Running {
        plans,
        reports,
        phase,
        _tasks: tasks,
    }
}

impl Running {
    async fn until(&mut self, ready: &[(u32, bool)]) -> HealthReport {
        let matches = |report: &Option<HealthReport>| {
            report.as_ref().is_some_and(|report| {
                report
                    .inbounds
                    .iter()
                    .map(|inbound| (inbound.inbound_port, inbound.ready))
                    .eq(ready.iter().copied())
            })
        };
        self.reports.wait_for(matches).await.unwrap().clone().unwrap()
    }
}

fn check(inbound_port: u32, target: SocketAddr) -> HealthCheck {
    HealthCheck {
        inbound_port,
        address: target.ip().to_string(),
        port: target.port().into(),
        interval_ms: 10,
        timeout_ms: 1000,
        healthy_threshold: 1,
        unhealthy_threshold: 2,
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind((APP, 0)).await.unwrap()
}

#[tokio::test]
async fn an_application_goes_down_and_comes_back() {
    let mut running = start();
    let app = listen().await;
    let address = app.local_addr().unwrap();
    running.plans.send_replace(Some(vec![check(80, address)]));
    running.until(&[(80, true)]).await;
    drop(app);
    let down = running.until(&[(80, false)]).await;
    assert!(down.inbounds[0].detail.contains(&address.to_string()), "{down:?}");
    let _app = TcpListener::bind(address).await.unwrap();
    let up = running.until(&[(80, true)]).await;
    assert_eq!(up.inbounds[0].detail, "");
}

#[tokio::test]
async fn every_plan_is_followed_by_a_whole_report() {
    let mut running = start();
    running.plans.send_replace(Some(vec![]));
    running.until(&[]).await;
    let (one, two) = (listen().await, listen().await);
    let (one, two) = (
        check(80, one.local_addr().unwrap()),
        check(81, two.local_addr().unwrap()),
    );
    running.plans.send_replace(Some(vec![one.clone(), two]));
    let first = loop {
        running.reports.changed().await.unwrap();
        let report = running.reports.borrow_and_update().clone().unwrap();
        if !report.inbounds.is_empty() {
            break report;
        }
    };
    assert_eq!(first.inbounds.len(), 2, "never a part of the plan");
    running.plans.send_replace(Some(vec![one.clone()]));
    running.until(&[(80, true)]).await;
    // The same plan again, as after a reconnect: nothing changes, and it is reported.
    running.plans.send_replace(Some(vec![one]));
    running.reports.changed().await.unwrap();
    running.until(&[(80, true)]).await;
}

#[tokio::test]
async fn a_changed_check_is_replaced() {
    let mut running = start();
    let app = listen().await;
    let gone = listen().await.local_addr().unwrap();
    running.plans.send_replace(Some(vec![check(80, gone)]));
    running.until(&[(80, false)]).await;
    running
        .plans
        .send_replace(Some(vec![check(80, app.local_addr().unwrap())]));
    running.until(&[(80, true)]).await;
}

#[tokio::test]
async fn a_plan_that_cannot_be_followed_is_reported() {
    let mut running = start();
    let mut broken = check(80, "127.0.0.1:1".parse().unwrap());
    broken.address = "app.local".to_owned();
    running.plans.send_replace(Some(vec![broken]));
    let report = running.until(&[(80, false)]).await;
    assert!(report.inbounds[0].detail.contains("app.local"), "{report:?}");
}

#[tokio::test]
async fn nothing_is_ready_once_the_agent_drains() {
    let mut running = start();
    let app = listen().await;
    running
        .plans
        .send_replace(Some(vec![check(80, app.local_addr().unwrap())]));
    running.until(&[(80, true)]).await;
    running.phase.send_replace(Phase::Draining);
    let report = running.until(&[(79, false), (80, false)]).await;
    assert!(report.inbounds[0].detail.contains("draining"), "{report:?}");
    let other = check(81, app.local_addr().unwrap());
    running.plans.send_replace(Some(vec![other]));
    running.until(&[(79, false), (81, false)]).await;
}
