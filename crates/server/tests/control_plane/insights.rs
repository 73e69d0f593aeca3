//! What is told of connections: who is there, what was rejected, who has gone.

use meshspan_model::kinds::dataplane_insight::DataplaneInsight;
use meshspan_model::{Kind, Resource};
use serde_json::json;

use crate::support::control_plane::millis;
use crate::support::documents::{PORT, cluster, dataplane, multi_zone_cluster, multi_zone_service};
use crate::support::{ControlPlane, Proxy};

#[tokio::test]
async fn a_rejection_is_told_and_forgotten_when_cured() {
    let cp = ControlPlane::start().await;
    let mut proxy = Proxy::start(&cp, &dataplane("default", "redis-1", "redis", "10.0.0.1")).await;
    let name = multi_zone_cluster("default", "redis", PORT);
    proxy.refuse(&name, "no such transport socket");
    cp.put(multi_zone_service("default", "redis", "redis", PORT)).await;
    proxy
        .until("the cluster", |proxy| proxy.sent.iter().any(|sent| sent.name == name))
        .await;
    // The stream goes on for everything else.
    let driver = async {
        loop {
            proxy.step().await.unwrap();
        }
    };
    let rejected = tokio::select! {
        () = driver => unreachable!(),
        insight = cp.until_insight("default", "redis-1", |subscription| !subscription.status.rejections.is_empty()) => insight,
    };
    let status = &rejected.subscriptions.last().unwrap().status;
    let rejection = &status.rejections[0];
    assert_eq!(rejection.resource_type, "cluster");
    assert_eq!(rejection.names.join(","), name);
    assert!(
        rejection.message.contains("no such transport socket"),
        "{}",
        rejection.message
    );
    assert!(status.cds.responses_rejected >= 1);

    proxy.accept();
    let mut cured = multi_zone_service("default", "redis", "redis", PORT);
    cured.spec["ports"][0]["appProtocol"] = json!("http");
    cp.put(cured).await;
    let driver = async {
        loop {
            proxy.step().await.unwrap();
        }
    };
    tokio::select! {
        () = driver => unreachable!(),
        _ = cp.until_insight("default", "redis-1", |subscription| subscription.status.rejections.is_empty()) => {}
    }
}

#[tokio::test]
async fn the_end_of_a_stream_is_noted_at_once_and_says_nothing_about_the_instance() {
    let cp = ControlPlane::start().await;
    let mut client = Proxy::start(&cp, &dataplane("default", "web-1", "web", "10.0.0.9")).await;
    let document = dataplane("default", "redis-1", "redis", "10.0.0.1");
    let mut server = Proxy::start(&cp, &document).await;
    let redis = cluster("default", "redis");
    server.until("its listener", |server| server.has_all_of(&redis)).await;
    let at = |ready| vec![(format!("10.0.0.1:{PORT}"), ready)];
    client.until("ready", |client| client.health(&redis) == at(true)).await;
    cp.settle("default", &mut [&mut client]).await;
    let held = server.kill();
    let insight = cp
        .until_insight("default", "redis-1", |subscription| {
            subscription.disconnect_time.is_some()
        })
        .await;
    assert_eq!(insight.subscriptions.len(), 1);
    let _server = Proxy::open(&cp, "default", "redis-1", Some(&document), None, held)
        .await
        .unwrap()
        .driven();
    let insight: DataplaneInsight = cp
        .until_insight("default", "redis-1", |subscription| {
            subscription.disconnect_time.is_none()
        })
        .await;
    assert_eq!(insight.subscriptions.len(), 2);
    assert_eq!(
        insight
            .subscriptions
            .iter()
            .filter(|one| one.disconnect_time.is_none())
            .count(),
        1
    );
    cp.marker("default", &mut [&mut client]).await;
    cp.marker("default", &mut [&mut client]).await;
    assert_eq!(client.since_settled(), [], "others heard nothing of it");
}

#[tokio::test]
async fn only_the_newest_connections_are_kept() {
    let cp = ControlPlane::start().await;
    let document = dataplane("default", "redis-1", "redis", "10.0.0.1");
    for _ in 0..5 {
        Proxy::start(&cp, &document).await.kill();
        cp.until_insight("default", "redis-1", |subscription| {
            subscription.disconnect_time.is_some()
        })
        .await;
    }
    let insight: DataplaneInsight = cp.spec("default", "redis-1");
    assert_eq!(insight.subscriptions.len(), 2);
}

#[tokio::test]
async fn the_end_of_the_control_plane_is_not_the_end_of_its_proxies() {
    let cp = ControlPlane::start().await;
    let proxy = Proxy::start(&cp, &dataplane("default", "redis-1", "redis", "10.0.0.1")).await;
    cp.until_insight("default", "redis-1", |subscription| {
        subscription.disconnect_time.is_none()
    })
    .await;
    let (store, waiting) = (cp.store.clone(), tokio::spawn(proxy.end()));
    cp.stop().await;
    waiting.await.unwrap();
    let key = meshspan_model::ResourceKey::new(Kind::DataplaneInsight, "default", "redis-1");
    let insight: DataplaneInsight = store.get(&key).unwrap().resource.parse().unwrap();
    assert_eq!(insight.subscriptions.last().unwrap().disconnect_time, None);
    let key = meshspan_model::ResourceKey::new(Kind::Dataplane, "default", "redis-1");
    assert!(store.get(&key).is_some());
}

#[tokio::test]
async fn counters_are_written_also_while_others_keep_the_control_plane_busy() {
    let cp = ControlPlane::start_with(|settings| {
        settings.xds_server.dataplane_status_flush_interval = millis(300);
    })
    .await;
    let mut quiet = Proxy::start(&cp, &dataplane("default", "quiet-1", "quiet", "10.0.0.1")).await;
    let mut busy = Proxy::start(&cp, &dataplane("default", "busy-1", "busy", "10.0.0.2")).await;
    quiet
        .until("its service", |quiet| quiet.has_all_of(&cluster("default", "quiet")))
        .await;
    let noise = async {
        loop {
            cp.marker("default", &mut [&mut busy]).await;
        }
    };
    tokio::select! {
        () = noise => unreachable!(),
        _ = cp.until_insight("default", "quiet-1", |subscription| {
            subscription.status.cds.responses_acknowledged > 0 && subscription.status.lds.responses_sent > 0
        }) => {}
    }
}

#[tokio::test]
async fn what_keeps_clients_from_a_proxy_is_in_its_insight_for_other_control_planes() {
    let cp = ControlPlane::start().await;
    let until = async |what: &str| {
        cp.until_spec(
            &format!("problem {what:?}"),
            "default",
            "echo-1",
            |insight: &DataplaneInsight| match what {
                "" => insight.problems.is_empty(),
                what => insight.problems.iter().any(|problem| problem.contains(what)),
            },
        )
        .await;
    };
    let misnamed = dataplane("default", "echo-1", "Echo_default", "10.0.0.1");
    let proxy = Proxy::start(&cp, &misnamed).await.driven();
    until("cannot be the name of a MeshService").await;
    let spec = json!({"selector": {"dataplaneTags": {"kuma.io/service": "Echo_default"}}, "ports": [{"port": PORT}]});
    cp.put(Resource::new(Kind::MeshService, "default", "echo", spec)).await;
    until("").await;
    cp.delete(Kind::MeshService, "default", "echo").await;
    until("cannot be the name of a MeshService").await;

    // The next connection of the proxy brings another Dataplane, with another fault.
    drop(proxy);
    let mut circle = dataplane("default", "echo-1", "echo", "10.0.0.1");
    let networking = circle["networking"].as_object_mut().unwrap();
    networking.remove("transparentProxying");
    let _proxy = Proxy::start(&cp, &circle).await.driven();
    until("go round in a circle").await;
}
