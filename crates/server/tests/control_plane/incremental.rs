//! Cost follows the change: what is sent to whom (DESIGN §3.2).

use meshspan_model::Kind;
use meshspan_xds::ResourceType::{Cluster, Endpoint, Listener};
use serde_json::json;

use crate::support::documents::{
    PORT, cluster, dataplane, explicit, ingress, mesh, mesh_with_mtls, multi_zone_cluster, multi_zone_service, probed,
    remote_ingress, remote_service,
};
use crate::support::proxy::{removed, updated};
use crate::support::{Agent, ControlPlane, Proxy};

/// Waits until a destination is there in full.
async fn has(proxy: &mut Proxy, destination: &str) {
    proxy.until(destination, |proxy| proxy.has_all_of(destination)).await;
}

#[tokio::test]
async fn a_readiness_flip_sends_the_endpoints_that_hold_the_instance_and_nothing_else() {
    let cp = ControlPlane::start().await;
    cp.put(multi_zone_service("default", "redis", "redis", PORT)).await;
    cp.put(multi_zone_service("default", "web", "web", PORT)).await;
    cp.apply(&mesh("other")).await;
    let mut redis = Proxy::start(&cp, &probed("default", "redis-1", "redis", "10.0.0.1")).await;
    let mut web = Proxy::start(&cp, &dataplane("default", "web-1", "web", "10.0.0.2")).await;
    let mut foreign = Proxy::start(&cp, &dataplane("other", "redis-1", "redis", "10.0.0.3")).await;
    let mut narrow = Proxy::start(
        &cp,
        &explicit("default", "narrow-1", "10.0.0.4", &[(5000, "web", PORT)]),
    )
    .await;
    let (of_zone, of_all) = (
        cluster("default", "redis"),
        multi_zone_cluster("default", "redis", PORT),
    );
    for proxy in [&mut redis, &mut web] {
        has(proxy, &of_zone).await;
        has(proxy, &of_all).await;
    }
    let web_cluster = multi_zone_cluster("default", "web", PORT);
    narrow
        .until("its outbound", |narrow| {
            narrow.health(&web_cluster).len() == 1 && narrow.has(Listener, "outbound:127.0.0.1:5000")
        })
        .await;
    let agent = Agent::connect(&cp, "default", "redis-1", None).await;
    cp.settle("default", &mut [&mut redis, &mut web]).await;
    cp.settle("other", &mut [&mut foreign]).await;

    for ready in [true, false] {
        agent.report(PORT, ready).await;
        let flipped = vec![(format!("10.0.0.1:{PORT}"), ready)];
        for proxy in [&mut redis, &mut web] {
            proxy
                .until("the flip", |proxy| {
                    proxy.health(&of_zone) == flipped && proxy.health(&of_all) == flipped
                })
                .await;
        }
        cp.marker("default", &mut [&mut redis, &mut web]).await;
        cp.marker("default", &mut [&mut redis, &mut web]).await;
        for proxy in [&mut redis, &mut web] {
            assert_eq!(
                proxy.since_settled(),
                [updated(Endpoint, &of_zone), updated(Endpoint, &of_all)]
            );
        }
    }
    cp.marker("other", &mut [&mut foreign]).await;
    assert_eq!(foreign.since_settled(), []);
    // It gets no markers; one of its own destination's changes comes right after whatever else was sent.
    narrow.sent.clear();
    cp.delete(Kind::Dataplane, "default", "web-1").await;
    narrow
        .until("its destination without instances", |narrow| {
            narrow.health(&web_cluster).is_empty()
        })
        .await;
    assert_eq!(narrow.since_settled(), [updated(Endpoint, &web_cluster)]);
}

#[tokio::test]
async fn a_new_service_is_one_cluster_one_endpoint_list_and_one_listener() {
    let cp = ControlPlane::start().await;
    let mut proxy = Proxy::start(&cp, &dataplane("default", "redis-1", "redis", "10.0.0.1")).await;
    has(&mut proxy, &cluster("default", "redis")).await;
    cp.settle("default", &mut [&mut proxy]).await;
    let name = multi_zone_cluster("default", "redis", PORT);
    cp.put(multi_zone_service("default", "redis", "redis", PORT)).await;
    has(&mut proxy, &name).await;
    cp.marker("default", &mut [&mut proxy]).await;
    cp.marker("default", &mut [&mut proxy]).await;
    assert_eq!(
        proxy.since_settled(),
        [
            updated(Cluster, &name),
            updated(Endpoint, &name),
            updated(Listener, &name)
        ]
    );
    proxy.sent.clear();
    cp.delete(Kind::MeshMultiZoneService, "default", "redis").await;
    proxy
        .until("its end", |proxy| {
            !proxy.has(Cluster, &name) && !proxy.has(Listener, &name)
        })
        .await;
    cp.marker("default", &mut [&mut proxy]).await;
    let sent = proxy.since_settled();
    assert!(
        sent.contains(&removed(Cluster, &name)) && sent.contains(&removed(Listener, &name)),
        "{sent:?}"
    );
    assert!(sent.iter().all(|sent| sent.removed && sent.name == name), "{sent:?}");
}

#[tokio::test]
async fn another_instance_changes_endpoints_only() {
    let cp = ControlPlane::start().await;
    let mut client = Proxy::start(&cp, &dataplane("default", "web-1", "web", "10.0.0.9")).await;
    let _one = Proxy::start(&cp, &dataplane("default", "redis-1", "redis", "10.0.0.1")).await;
    let redis = cluster("default", "redis");
    has(&mut client, &redis).await;
    cp.settle("default", &mut [&mut client]).await;
    let _two = Proxy::start(&cp, &dataplane("default", "redis-2", "redis", "10.0.0.2")).await;
    client
        .until("two instances", |client| client.endpoints(&redis).len() == 2)
        .await;
    cp.marker("default", &mut [&mut client]).await;
    cp.marker("default", &mut [&mut client]).await;
    assert_eq!(client.since_settled(), [updated(Endpoint, &redis)]);
}

#[tokio::test]
async fn another_zones_service_failing_touches_its_endpoints_only() {
    let cp = ControlPlane::start().await;
    cp.apply(&mesh_with_mtls("secure", "1h")).await;
    cp.put(remote_ingress("west", "192.0.2.1")).await;
    cp.put(remote_service("secure", "west", "redis", "Available")).await;
    cp.put(multi_zone_service("secure", "redis", "redis", PORT)).await;
    let mut client = Proxy::start(&cp, &dataplane("secure", "web-1", "web", "10.0.0.9")).await;
    let union = multi_zone_cluster("secure", "redis", PORT);
    let at = |healthy| vec![("192.0.2.1:10001".to_owned(), healthy)];
    client
        .until("the other zone", |client| client.health(&union) == at(true))
        .await;
    cp.settle("secure", &mut [&mut client]).await;
    cp.put(remote_service("secure", "west", "redis", "Unavailable")).await;
    client
        .until("the loss", |client| client.health(&union) == at(false))
        .await;
    let endpoint = &client.endpoints(&union)[0];
    assert_eq!((endpoint.priority, endpoint.zone.as_str()), (1, "west"));
    cp.marker("secure", &mut [&mut client]).await;
    cp.marker("secure", &mut [&mut client]).await;
    assert_eq!(client.since_settled(), [updated(Endpoint, &union)]);
}

#[tokio::test]
async fn a_proxy_with_reachable_backends_gets_only_those() {
    let cp = ControlPlane::start().await;
    for name in ["redis", "web", "mail"] {
        cp.put(multi_zone_service("default", name, name, PORT)).await;
    }
    let mut document = dataplane("default", "narrow-1", "narrow", "10.0.0.1");
    document["networking"]["transparentProxying"]["reachableBackends"] =
        json!({"refs": [{"kind": "MeshMultiZoneService", "name": "web"}]});
    let mut narrow = Proxy::start(&cp, &document).await;
    let mut broad = Proxy::start(&cp, &dataplane("default", "broad-1", "broad", "10.0.0.2")).await;
    let of = |name: &str| multi_zone_cluster("default", name, PORT);
    for name in ["redis", "web", "mail"] {
        has(&mut broad, &of(name)).await;
    }
    has(&mut narrow, &of("web")).await;
    let held = narrow.versions();
    assert!(
        held.keys()
            .all(|(_, name)| !name.starts_with("kri_") || *name == of("web")),
        "{held:?}"
    );

    // One that it may reach appears later, one that it may not as well.
    document["networking"]["transparentProxying"]["reachableBackends"]["refs"]
        .as_array_mut()
        .unwrap()
        .push(json!({"kind": "MeshMultiZoneService", "name": "later"}));
    let _narrow_old = narrow.kill();
    let mut narrow = Proxy::start(&cp, &document).await;
    cp.put(multi_zone_service("default", "unwanted", "unwanted", PORT))
        .await;
    cp.put(multi_zone_service("default", "later", "later", PORT)).await;
    has(&mut narrow, &of("later")).await;
    assert!(!narrow.has(Cluster, &of("unwanted")));
}

#[tokio::test]
async fn explicit_outbounds_get_only_theirs_at_their_own_address() {
    let cp = ControlPlane::start().await;
    for name in ["redis", "web"] {
        cp.put(multi_zone_service("default", name, name, PORT)).await;
    }
    let document = explicit("default", "narrow-1", "10.0.0.1", &[(5000, "redis", PORT)]);
    let mut proxy = Proxy::start(&cp, &document).await;
    let (redis, web) = (
        multi_zone_cluster("default", "redis", PORT),
        multi_zone_cluster("default", "web", PORT),
    );
    proxy
        .until("its outbound", |proxy| {
            proxy.has(Cluster, &redis) && proxy.has(Endpoint, &redis) && proxy.has(Listener, "outbound:127.0.0.1:5000")
        })
        .await;
    assert!(!proxy.has(Cluster, &web) && !proxy.has(Listener, &redis));
}

#[tokio::test]
async fn a_zone_ingress_hears_only_of_what_lies_behind_it() {
    let cp = ControlPlane::start().await;
    cp.apply(&mesh_with_mtls("secure", "1h")).await;
    cp.put(multi_zone_service("secure", "redis", "redis", PORT)).await;
    let mut zone_ingress = Proxy::connect(&cp, "", "ingress-1", Some(&ingress("ingress-1")), None)
        .await
        .unwrap();
    let mut redis = Proxy::start(&cp, &probed("secure", "redis-1", "redis", "10.0.0.1")).await;
    let (of_zone, of_all) = (cluster("secure", "redis"), multi_zone_cluster("secure", "redis", PORT));
    let at = |ready| vec![(format!("10.0.0.1:{PORT}"), ready)];
    zone_ingress
        .until("both", |ingress| {
            ingress.health(&of_zone) == at(false) && ingress.health(&of_all) == at(false)
        })
        .await;
    redis
        .until("a certificate", |redis| redis.certificate().is_some())
        .await;
    cp.settle("secure", &mut [&mut redis]).await;
    let endpoints_only = |ingress: &Proxy| ingress.sent.iter().all(|sent| sent.ty == Endpoint);
    let agent = Agent::connect(&cp, "secure", "redis-1", None).await;
    // Whatever was on its way before the flip has been taken by then.
    agent.report(PORT, true).await;
    zone_ingress
        .until("ready", |ingress| ingress.health(&of_all) == at(true))
        .await;
    zone_ingress
        .until("ready", |ingress| ingress.health(&of_zone) == at(true))
        .await;
    zone_ingress.sent.clear();
    agent.report(PORT, false).await;
    zone_ingress
        .until("not ready", |ingress| {
            ingress.health(&of_all) == at(false) && ingress.health(&of_zone) == at(false)
        })
        .await;
    assert!(endpoints_only(&zone_ingress), "{:?}", zone_ingress.sent);
    // What another zone has is none of its business.
    zone_ingress.sent.clear();
    cp.put(remote_ingress("west", "192.0.2.1")).await;
    cp.put(remote_service("secure", "west", "redis", "Available")).await;
    redis
        .until("the other zone, whose endpoint is the only ready one", |redis| {
            redis.health(&of_all) == [("192.0.2.1:10001".to_owned(), true)]
        })
        .await;
    cp.put(multi_zone_service("secure", "mail", "mail", PORT)).await;
    zone_ingress
        .until("a new service", |ingress| {
            ingress.has(Cluster, &multi_zone_cluster("secure", "mail", PORT))
        })
        .await;
    let about_redis = zone_ingress.sent.iter().filter(|sent| sent.name.contains("redis"));
    assert_eq!(about_redis.count(), 0, "{:?}", zone_ingress.sent);
}
