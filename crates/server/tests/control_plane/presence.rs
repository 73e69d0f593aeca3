//! Who is taken to be there: a new instance when its Envoy listens, a lost one until there is evidence against it.

use std::sync::Arc;

use meshspan_model::Kind;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::dataplane_insight::{DataplaneInsight, ZoneIngressInsight};
use meshspan_model::kinds::presence::PresenceState;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_server::settings::Settings;
use meshspan_store::{MemoryStore, Store as _};
use serde_json::json;
use tempfile::TempDir;

use crate::support::control_plane::millis;
use crate::support::documents::{PORT, cluster, dataplane, ingress};
use crate::support::proxy::Driven;
use crate::support::{Agent, ControlPlane, Proxy};

/// Patient enough for the end of several streams to be noticed on a busy machine.
fn impatient(settings: &mut Settings) {
    settings.xds_server.dataplane_deregistration_delay = millis(1000);
}

fn redis(number: usize) -> (String, serde_json::Value) {
    let name = format!("redis-{number}");
    let document = dataplane("default", &name, "redis", &format!("10.0.0.{number}"));
    (name, document)
}

/// Connects so many instances and waits until their endpoints are announced.
async fn instances(cp: &ControlPlane, numbers: std::ops::RangeInclusive<usize>) -> Vec<Driven> {
    let mut driven = Vec::new();
    for number in numbers {
        let (name, document) = redis(number);
        driven.push(Proxy::start(cp, &document).await.driven());
        until_listening(cp, &name).await;
    }
    driven
}

async fn until_listening(cp: &ControlPlane, name: &str) {
    cp.until_spec::<DataplaneInsight>("a listener", "default", name, |insight| {
        insight.presence.listens("6379")
    })
    .await;
}

async fn until_state(cp: &ControlPlane, name: &str, state: PresenceState) -> DataplaneInsight {
    cp.until_spec("the state", "default", name, |insight: &DataplaneInsight| {
        insight.presence.state == state
    })
    .await
}

fn all_ready(numbers: std::ops::RangeInclusive<usize>) -> Vec<(String, bool)> {
    numbers
        .map(|number| (format!("10.0.0.{number}:{PORT}"), true))
        .collect()
}

#[tokio::test]
async fn a_new_instance_is_announced_when_its_envoy_listens() {
    let cp = ControlPlane::start().await;
    let mut client = Proxy::start(&cp, &dataplane("default", "web-1", "web", "10.0.0.9")).await;
    let cluster = cluster("default", "redis");
    let at = |ready| vec![(format!("10.0.0.1:{PORT}"), ready)];
    // Applied by a user, nobody is there yet.
    let (name, document) = redis(1);
    cp.apply(&document).await;
    client
        .until("announced as unready", |client| client.health(&cluster) == at(false))
        .await;
    // Envoy is there, and refuses the listener.
    let mut server = Proxy::connect(&cp, "default", &name, None, None).await.unwrap();
    let listener = format!("self_inbound_dp_{PORT}");
    server.refuse(&listener, "cannot bind 10.0.0.1:6379");
    server
        .until("the listener", |server| {
            server.sent.iter().any(|sent| sent.name == listener)
        })
        .await;
    let rejecting = async {
        loop {
            server.step().await.unwrap();
        }
    };
    let rejected = tokio::select! {
        () = rejecting => unreachable!(),
        insight = cp.until_insight("default", &name, |subscription| !subscription.status.rejections.is_empty()) => insight,
    };
    let message = &rejected.subscriptions.last().unwrap().status.rejections[0].message;
    assert!(message.contains("cannot bind"), "{message}");
    cp.settle("default", &mut [&mut client]).await;
    assert_eq!(client.health(&cluster), at(false), "refused");
    // It changes, and is accepted.
    server.accept();
    let mut other = document.clone();
    other["networking"]["inbound"][0]["tags"]["kuma.io/protocol"] = "http".into();
    cp.apply(&other).await;
    let _server = server.driven();
    client
        .until("ready", |client| client.health(&cluster) == at(true))
        .await;
}

#[tokio::test]
async fn an_access_log_that_cannot_be_opened_costs_the_log_and_no_traffic() {
    let cp = ControlPlane::start().await;
    cp.apply(&json!({
        "type": "MeshAccessLog", "mesh": "default", "name": "logs",
        "spec": {
            "to": [{"targetRef": {"kind": "Mesh"}, "default": {"backends": [{"type": "File", "file": {"path": "/missing/out.log"}}]}}],
            "from": [{"targetRef": {"kind": "Mesh"}, "default": {"backends": [{"type": "File", "file": {"path": "/missing/in.log"}}]}}],
        },
    }))
    .await;
    let (name, document) = redis(1);
    let mut server = Proxy::start(&cp, &document).await;
    server.cannot_open("/missing/in.log");
    let listener = format!("self_inbound_dp_{PORT}");
    let driving = async {
        loop {
            server.step().await.unwrap();
        }
    };
    let insight = tokio::select! {
        () = driving => unreachable!(),
        insight = cp.until_spec::<DataplaneInsight>("listening", "default", &name, |insight| insight.presence.listens("6379")) => insight,
    };
    assert!(server.has(meshspan_xds::ResourceType::Listener, &listener));
    assert_eq!(
        insight.presence.unopened_logs.iter().collect::<Vec<_>>(),
        ["/missing/in.log"]
    );
    let serves = insight.serves(&cp.spec::<Dataplane>("default", &name).networking.inbound[0]);
    assert!(serves);
}

#[tokio::test]
async fn an_envoy_that_starts_again_is_ready_when_it_listens_again() {
    let cp = ControlPlane::start().await;
    let mut client = Proxy::start(&cp, &dataplane("default", "web-1", "web", "10.0.0.9")).await;
    let cluster = cluster("default", "redis");
    let at = |ready| vec![(format!("10.0.0.1:{PORT}"), ready)];
    let servers = instances(&cp, 1..=1).await;
    client
        .until("ready", |client| client.health(&cluster) == at(true))
        .await;
    drop(servers);
    // A new process holds nothing.
    let server = Proxy::start(&cp, &redis(1).1).await;
    client
        .until("unready", |client| client.health(&cluster) == at(false))
        .await;
    let _server = server.driven();
    client
        .until("ready", |client| client.health(&cluster) == at(true))
        .await;
}

#[tokio::test]
async fn a_goodbye_counts_at_once() {
    let cp = ControlPlane::start().await;
    let mut client = Proxy::start(&cp, &dataplane("default", "web-1", "web", "10.0.0.9")).await;
    let cluster = cluster("default", "redis");
    let at = |ready| vec![(format!("10.0.0.1:{PORT}"), ready)];
    let servers = instances(&cp, 1..=1).await;
    client
        .until("ready", |client| client.health(&cluster) == at(true))
        .await;
    let agent = Agent::connect(&cp, "default", "redis-1", None).await;
    drop(servers);
    agent.goodbye().await;
    client
        .until("unready", |client| client.health(&cluster) == at(false))
        .await;
    let insight = until_state(&cp, "redis-1", PresenceState::Left).await;
    assert!(
        insight.presence.reason.contains("goodbye"),
        "{}",
        insight.presence.reason
    );
}

#[tokio::test]
async fn a_zone_ingress_is_announced_when_it_listens_and_withdrawn_when_it_drains() {
    let cp = ControlPlane::start().await;
    let announced = |spec: &ZoneIngress| spec.public_address().is_some();
    let mut gateway = Proxy::connect(&cp, "", "ingress-1", Some(&ingress("ingress-1")), None)
        .await
        .unwrap();
    assert!(!announced(&cp.spec("", "ingress-1")), "nobody listens there yet");
    gateway
        .until("its listener", |gateway| {
            gateway.has(meshspan_xds::ResourceType::Listener, "self_zoneingress_dp_ingress-1")
        })
        .await;
    cp.until_spec("announced", "", "ingress-1", announced).await;
    // It comes back, listening as before.
    let held = gateway.kill();
    let document = ingress("ingress-1");
    let gateway = Proxy::open(&cp, "", "ingress-1", Some(&document), None, held)
        .await
        .unwrap()
        .driven();
    cp.until_spec::<ZoneIngressInsight>("connected again", "", "ingress-1", |insight| {
        insight.subscriptions.len() == 2
    })
    .await;
    assert!(announced(&cp.spec("", "ingress-1")));
    let agent = Agent::connect(&cp, "", "ingress-1", None).await;
    agent.drain().await;
    cp.until_spec("withdrawn", "", "ingress-1", |spec| !announced(spec))
        .await;
    drop(gateway);
    let _gateway = Proxy::connect(&cp, "", "ingress-1", Some(&document), None)
        .await
        .unwrap()
        .driven();
    cp.until_spec("announced again", "", "ingress-1", announced).await;
}

#[tokio::test]
async fn many_that_are_lost_at_once_are_held_and_one_alone_goes() {
    let cp = ControlPlane::start_with(impatient).await;
    let gateway = Proxy::connect(&cp, "", "ingress-1", Some(&ingress("ingress-1")), None)
        .await
        .unwrap()
        .driven();
    let servers = instances(&cp, 1..=2).await;
    // Ingress and both proxies: all that the zone has.
    drop((gateway, servers));
    let mut reasons = Vec::new();
    for number in 1..=2 {
        reasons.push(
            until_state(&cp, &redis(number).0, PresenceState::Held)
                .await
                .presence
                .reason,
        );
    }
    assert!(
        reasons
            .iter()
            .all(|reason| reason.contains("lost together with others")),
        "{reasons:?}"
    );
    cp.until_spec::<ZoneIngressInsight>("the ingress held", "", "ingress-1", |insight| {
        insight.presence.state == PresenceState::Held
    })
    .await;
    for (kind, mesh, name) in [
        (Kind::Dataplane, "default", "redis-1"),
        (Kind::Dataplane, "default", "redis-2"),
        (Kind::ZoneIngress, "", "ingress-1"),
    ] {
        assert!(cp.find(kind, mesh, name).is_some(), "{name}");
    }
    // Whoever comes sees them, ready as they were.
    let mut client = Proxy::start(&cp, &dataplane("default", "web-1", "web", "10.0.0.9")).await;
    let cluster = cluster("default", "redis");
    client
        .until("both", |client| client.health(&cluster) == all_ready(1..=2))
        .await;
    // Others come back; the one that does not is missed alone now.
    let _servers = instances(&cp, 2..=2).await;
    let _gateway = Proxy::connect(&cp, "", "ingress-1", Some(&ingress("ingress-1")), None)
        .await
        .unwrap()
        .driven();
    client
        .until("one", |client| client.health(&cluster) == all_ready(2..=2))
        .await;
    cp.gone(Kind::Dataplane, "default", "redis-1").await;
    until_state(&cp, "redis-2", PresenceState::Expected).await;
}

#[tokio::test]
async fn an_applied_dataplane_of_a_lost_proxy_takes_no_traffic_any_more() {
    let cp = ControlPlane::start_with(impatient).await;
    let mut client = Proxy::start(&cp, &dataplane("default", "web-1", "web", "10.0.0.9")).await;
    let (name, document) = redis(1);
    cp.apply(&document).await;
    let server = Proxy::connect(&cp, "default", &name, None, None)
        .await
        .unwrap()
        .driven();
    let cluster = cluster("default", "redis");
    let at = |ready| vec![(format!("10.0.0.1:{PORT}"), ready)];
    client
        .until("ready", |client| client.health(&cluster) == at(true))
        .await;
    drop(server);
    client
        .until("unready", |client| client.health(&cluster) == at(false))
        .await;
    until_state(&cp, &name, PresenceState::Gone).await;
    assert!(cp.find(Kind::Dataplane, "default", &name).is_some());
    let _server = Proxy::connect(&cp, "default", &name, None, None)
        .await
        .unwrap()
        .driven();
    client
        .until("ready", |client| client.health(&cluster) == at(true))
        .await;
}

#[tokio::test]
async fn after_a_restart_those_who_do_not_come_back_go_unless_nobody_does() {
    let store = Arc::new(MemoryStore::new());
    let start = async || {
        let folder = Arc::new(TempDir::new().unwrap());
        ControlPlane::start_on(store.clone(), folder, impatient).await
    };
    let cp = start().await;
    let servers = instances(&cp, 1..=3).await;
    cp.stop().await;
    drop(servers);
    // Nobody comes back.
    let cp = start().await;
    for number in 1..=3 {
        let insight = until_state(&cp, &redis(number).0, PresenceState::Held).await;
        assert!(
            insight.subscriptions.iter().all(|one| one.disconnect_time.is_some()),
            "closed"
        );
    }
    // Two do; once more the control plane is not there when one of them dies.
    let servers = instances(&cp, 1..=2).await;
    cp.gone(Kind::Dataplane, "default", "redis-3").await;
    cp.stop().await;
    drop(servers);
    let cp = start().await;
    let _servers = instances(&cp, 2..=2).await;
    cp.gone(Kind::Dataplane, "default", "redis-1").await;
    assert!(
        store.list_all().iter().all(|stored| stored.resource.name != "redis-1"),
        "its insight too"
    );
    assert!(cp.find(Kind::Dataplane, "default", "redis-2").is_some());
}
