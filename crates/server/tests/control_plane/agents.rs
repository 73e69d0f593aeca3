//! The agents' stream: DNS and probes go down, health comes up and reaches other proxies' endpoints.

use meshspan_model::Kind;
use meshspan_model::kinds::dataplane::{Dataplane, InboundState};
use meshspan_model::kinds::dataplane_insight::DataplaneInsight;
use meshspan_model::kinds::presence::PresenceState;
use serde_json::json;

use crate::support::documents::{
    PORT, cluster, dataplane, multi_zone_cluster, multi_zone_generator, multi_zone_service, probed,
};
use crate::support::{Agent, ControlPlane, Proxy};

const GENERATOR: &str = "{{ .DisplayName }}.mzsvc.mesh.local";

#[tokio::test]
async fn an_agent_first_gets_its_plan_then_all_names_then_what_changes() {
    let cp = ControlPlane::start().await;
    cp.put(multi_zone_generator(GENERATOR)).await;
    cp.put(multi_zone_service("default", "redis", "redis", PORT)).await;
    let _proxy = Proxy::start(&cp, &probed("default", "redis-1", "redis", "10.0.0.1"))
        .await
        .driven();
    let mut agent = Agent::connect(&cp, "default", "redis-1", None).await;
    agent.step().await.unwrap();
    assert_eq!(agent.updates.len(), 0, "the plan comes first");
    let check = &agent.plans[0].checks[0];
    assert_eq!((check.inbound_port, check.port), (u32::from(PORT), u32::from(PORT)));
    assert_eq!(check.address, "10.0.0.1", "behind transparent proxying");
    agent
        .until("the name", |agent| agent.names.contains_key("redis.mzsvc.mesh.local"))
        .await;
    assert!(agent.updates[0].full);
    let addresses = agent.names["redis.mzsvc.mesh.local"].clone();
    assert!(addresses[0].starts_with("243."), "{addresses:?}");

    let full = agent.updates.len();
    cp.put(multi_zone_service("default", "web", "web", 80)).await;
    agent
        .until("a new name", |agent| agent.names.contains_key("web.mzsvc.mesh.local"))
        .await;
    let update = agent.updates.last().unwrap();
    assert!(!update.full && update.removed_names.is_empty(), "{update:?}");
    assert_eq!(update.records.len(), 1, "only what is new: {update:?}");

    cp.delete(Kind::MeshMultiZoneService, "default", "web").await;
    agent
        .until("the name gone", |agent| {
            !agent.names.contains_key("web.mzsvc.mesh.local")
        })
        .await;
    let update = agent.updates.last().unwrap();
    assert_eq!((update.records.len(), update.removed_names.len()), (0, 1), "{update:?}");

    cp.put(multi_zone_generator("{{ .DisplayName }}.everywhere")).await;
    agent
        .until("names of the new template", |agent| {
            agent.names.contains_key("redis.everywhere") && !agent.names.contains_key("redis.mzsvc.mesh.local")
        })
        .await;
    assert_eq!(agent.names["redis.everywhere"], addresses, "the address stays");
    assert!(agent.updates[full..].iter().all(|update| !update.full));
}

#[tokio::test]
async fn a_report_reaches_the_endpoints_of_others() {
    let cp = ControlPlane::start().await;
    let mut client = Proxy::start(&cp, &dataplane("default", "web-1", "web", "10.0.0.9")).await;
    let _server = Proxy::start(&cp, &probed("default", "redis-1", "redis", "10.0.0.1"))
        .await
        .driven();
    let redis = cluster("default", "redis");
    let at = |ready| vec![(format!("10.0.0.1:{PORT}"), ready)];
    client
        .until("not probed yet", |client| client.health(&redis) == at(false))
        .await;
    let agent = Agent::connect(&cp, "default", "redis-1", None).await;
    for ready in [true, false, true] {
        agent.report(PORT, ready).await;
        client
            .until("what was reported", |client| client.health(&redis) == at(ready))
            .await;
    }
}

#[tokio::test]
async fn a_draining_proxy_takes_no_new_traffic_even_without_a_probe() {
    let cp = ControlPlane::start().await;
    let mut client = Proxy::start(&cp, &dataplane("default", "web-1", "web", "10.0.0.9")).await;
    let redis = cluster("default", "redis");
    let at = |ready| vec![(format!("10.0.0.1:{PORT}"), ready)];
    for registered in [true, false] {
        let document = dataplane("default", "redis-1", "redis", "10.0.0.1");
        if !registered {
            cp.apply(&document).await;
        }
        let brought = registered.then_some(&document);
        let server = Proxy::connect(&cp, "default", "redis-1", brought, None)
            .await
            .unwrap()
            .driven();
        client.until("ready", |client| client.health(&redis) == at(true)).await;
        let agent = Agent::connect(&cp, "default", "redis-1", None).await;
        agent.drain().await;
        // An Envoy that has only just started takes no traffic either, so the endpoint alone does not say that the report arrived.
        cp.until_spec("drained", "default", "redis-1", |insight: &DataplaneInsight| {
            insight.presence.state == PresenceState::Left
        })
        .await;
        client
            .until("drained", |client| client.health(&redis) == at(false))
            .await;
        let spec: Dataplane = cp.spec("default", "redis-1");
        assert_eq!(
            spec.networking.inbound[0].state,
            InboundState::Ready,
            "what the user wrote"
        );
        // Its successor starts afresh.
        drop(server);
        let _server = Proxy::connect(&cp, "default", "redis-1", brought, None)
            .await
            .unwrap()
            .driven();
        client
            .until("ready again", |client| client.health(&redis) == at(true))
            .await;
    }
}

#[tokio::test]
async fn a_name_is_answered_once_envoy_serves_it() {
    let cp = ControlPlane::start().await;
    cp.put(multi_zone_generator(GENERATOR)).await;
    cp.put(multi_zone_service("default", "redis", "redis", PORT)).await;
    let mut proxy = Proxy::start(&cp, &dataplane("default", "web-1", "web", "10.0.0.9")).await;
    let redis = multi_zone_cluster("default", "redis", PORT);
    proxy.until("the listener", |proxy| proxy.has_all_of(&redis)).await;
    cp.settle("default", &mut [&mut proxy]).await;
    let mut agent = Agent::connect(&cp, "default", "web-1", None).await;
    agent
        .until("what Envoy serves already", |agent| {
            agent.names.contains_key("redis.mzsvc.mesh.local")
        })
        .await;
    let full: Vec<_> = agent.updates.iter().map(|update| update.full).collect();
    assert!(
        full[0] && full[1..].iter().all(|full| !full),
        "changes follow: {full:?}"
    );

    // Envoy refuses the listener of one name, and takes that of another.
    let (bad, good) = ("bad", "good");
    proxy.refuse(&multi_zone_cluster("default", bad, 80), "no");
    let rejected = multi_zone_cluster("default", bad, 80);
    cp.put(multi_zone_service("default", bad, "redis", 80)).await;
    proxy
        .until("the refused one", |proxy| {
            proxy.sent.iter().any(|sent| sent.name == rejected)
        })
        .await;
    cp.put(multi_zone_service("default", good, "redis", 80)).await;
    proxy
        .until("the other one", |proxy| {
            proxy.has_all_of(&multi_zone_cluster("default", good, 80))
        })
        .await;
    agent
        .until("the name", |agent| agent.names.contains_key("good.mzsvc.mesh.local"))
        .await;
    assert!(!agent.names.contains_key("bad.mzsvc.mesh.local"), "{:?}", agent.names);
    proxy.accept();
    cp.put(multi_zone_service("default", bad, "redis", 81)).await;
    let _proxy = proxy.driven();
    agent
        .until("the name", |agent| agent.names.contains_key("bad.mzsvc.mesh.local"))
        .await;
    assert!(agent.names.contains_key("redis.mzsvc.mesh.local"));
}

#[tokio::test]
async fn what_is_answered_stays_while_envoy_is_away() {
    let cp = ControlPlane::start().await;
    cp.put(multi_zone_generator(GENERATOR)).await;
    cp.put(multi_zone_service("default", "redis", "redis", PORT)).await;
    let document = dataplane("default", "web-1", "web", "10.0.0.9");
    let mut proxy = Proxy::start(&cp, &document).await;
    let redis = multi_zone_cluster("default", "redis", PORT);
    proxy.until("the listener", |proxy| proxy.has_all_of(&redis)).await;
    let mut agent = Agent::connect(&cp, "default", "web-1", None).await;
    agent
        .until("the name", |agent| agent.names.contains_key("redis.mzsvc.mesh.local"))
        .await;
    drop(proxy);
    cp.put(multi_zone_service("default", "later", "redis", PORT)).await;
    // An agent that comes before its Envoy, as after a restart of the control plane, is told nothing: it keeps what it has.
    let mut second = Agent::connect(&cp, "default", "web-1", None).await;
    second.until("the plan", |agent| !agent.plans.is_empty()).await;
    let mut proxy = Proxy::start(&cp, &document).await;
    let later = multi_zone_cluster("default", "later", PORT);
    proxy.until("the new listener", |proxy| proxy.has_all_of(&later)).await;
    for agent in [&mut agent, &mut second] {
        agent
            .until("the new name", |agent| {
                agent.names.contains_key("later.mzsvc.mesh.local")
            })
            .await;
        assert!(agent.names.contains_key("redis.mzsvc.mesh.local"));
        assert!(
            agent.updates[1..]
                .iter()
                .all(|update| !update.full && update.removed_names.is_empty())
        );
    }
    assert!(second.updates[0].records.len() >= 2, "all at once");
}

#[tokio::test]
async fn an_ignored_inbound_and_unknown_ports_are_left_alone() {
    let cp = ControlPlane::start().await;
    let mut document = probed("default", "redis-1", "redis", "10.0.0.1");
    document["networking"]["inbound"].as_array_mut().unwrap().push(json!({
        "port": 7000, "state": "Ignored", "tags": {"kuma.io/service": "redis-admin"},
    }));
    let _proxy = Proxy::start(&cp, &document).await;
    let agent = Agent::connect(&cp, "default", "redis-1", None).await;
    agent.report(7000, true).await;
    agent.report(9999, false).await;
    agent.report(PORT, true).await;
    let spec = cp
        .until_spec::<Dataplane>("the last report", "default", "redis-1", |spec| {
            spec.networking.inbound[0].state == InboundState::Ready
        })
        .await;
    assert_eq!(spec.networking.inbound[1].state, InboundState::Ignored);
}

#[tokio::test]
async fn two_agents_of_one_proxy_are_both_served() {
    let cp = ControlPlane::start().await;
    cp.put(multi_zone_generator(GENERATOR)).await;
    let _proxy = Proxy::start(&cp, &probed("default", "redis-1", "redis", "10.0.0.1"))
        .await
        .driven();
    let mut first = Agent::connect(&cp, "default", "redis-1", None).await;
    let mut second = Agent::connect(&cp, "default", "redis-1", None).await;
    for agent in [&mut first, &mut second] {
        agent.until("a plan", |agent| !agent.plans.is_empty()).await;
    }
    cp.put(multi_zone_service("default", "redis", "redis", PORT)).await;
    for agent in [&mut first, &mut second] {
        agent
            .until("the name", |agent| agent.names.contains_key("redis.mzsvc.mesh.local"))
            .await;
    }
    drop(first);
    cp.delete(Kind::MeshMultiZoneService, "default", "redis").await;
    second
        .until("the name gone", |agent| {
            !agent.names.contains_key("redis.mzsvc.mesh.local")
        })
        .await;
}

#[tokio::test]
async fn an_agent_may_be_ahead_of_its_envoy_and_outlive_it() {
    let cp = ControlPlane::start_with(|settings| {
        settings.xds_server.dataplane_deregistration_delay = crate::support::control_plane::millis(20);
    })
    .await;
    let document = probed("default", "redis-1", "redis", "10.0.0.1");
    let (mut agent, proxy) = tokio::join!(Agent::connect(&cp, "default", "redis-1", None), async {
        Proxy::start(&cp, &document).await
    });
    agent.until("a plan", |agent| !agent.plans.is_empty()).await;
    proxy.kill();
    cp.gone(Kind::Dataplane, "default", "redis-1").await;
    agent
        .until("nothing to probe", |agent| {
            agent.plans.last().unwrap().checks.is_empty()
        })
        .await;
    let _proxy = Proxy::start(&cp, &document).await;
    agent
        .until("the probe again", |agent| agent.plans.last().unwrap().checks.len() == 1)
        .await;
}
