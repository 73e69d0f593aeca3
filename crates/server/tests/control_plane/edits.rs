//! Resources of connected proxies that users edit.

use meshspan_model::Kind;
use meshspan_xds::ResourceType::{Cluster, Listener};
use serde_json::json;

use crate::support::documents::{
    PORT, cluster, dataplane, ingress, mesh, mesh_with_mtls, multi_zone_cluster, multi_zone_service,
};
use crate::support::{ControlPlane, Proxy};

#[tokio::test]
async fn a_change_of_what_a_proxy_may_reach_takes_effect_at_once_both_ways() {
    let cp = ControlPlane::start().await;
    for name in ["redis", "web"] {
        cp.put(multi_zone_service("default", name, name, PORT)).await;
    }
    let all = dataplane("default", "client-1", "client", "10.0.0.1");
    let mut only_web = all.clone();
    only_web["networking"]["transparentProxying"]["reachableBackends"] =
        json!({"refs": [{"kind": "MeshMultiZoneService", "name": "web"}]});
    cp.apply(&all).await;
    let mut proxy = Proxy::connect(&cp, "default", "client-1", None, None).await.unwrap();
    let (redis, web) = (
        multi_zone_cluster("default", "redis", PORT),
        multi_zone_cluster("default", "web", PORT),
    );
    for _ in 0..2 {
        proxy
            .until("all", |proxy| proxy.has_all_of(&redis) && proxy.has_all_of(&web))
            .await;
        cp.apply(&only_web).await;
        proxy
            .until("less", |proxy| {
                !proxy.has(Cluster, &redis) && !proxy.has(Listener, &redis) && proxy.has_all_of(&web)
            })
            .await;
        cp.apply(&all).await;
    }
}

#[tokio::test]
async fn a_proxy_whose_dataplane_is_deleted_keeps_what_it_has_and_catches_up_when_it_returns() {
    let cp = ControlPlane::start().await;
    let document = dataplane("default", "client-1", "client", "10.0.0.1");
    cp.apply(&document).await;
    cp.put(multi_zone_service("default", "old", "old", PORT)).await;
    let mut proxy = Proxy::connect(&cp, "default", "client-1", None, None).await.unwrap();
    let of = |name: &str| multi_zone_cluster("default", name, PORT);
    proxy.until("a service", |proxy| proxy.has_all_of(&of("old"))).await;
    cp.delete(Kind::Dataplane, "default", "client-1").await;
    cp.put(multi_zone_service("default", "new", "new", PORT)).await;
    cp.delete(Kind::MeshMultiZoneService, "default", "old").await;
    let mut other = Proxy::start(&cp, &dataplane("default", "other-1", "other", "10.0.0.2")).await;
    cp.marker("default", &mut [&mut other]).await;
    cp.apply(&document).await;
    proxy
        .until("what it missed", |proxy| {
            proxy.has_all_of(&of("new")) && !proxy.has(Cluster, &of("old")) && !proxy.has(Listener, &of("old"))
        })
        .await;
}

#[tokio::test]
async fn a_zone_ingress_that_is_deleted_and_applied_again_catches_up() {
    let cp = ControlPlane::start().await;
    cp.apply(&mesh_with_mtls("secure", "1h")).await;
    cp.apply(&ingress("ingress-1")).await;
    cp.put(multi_zone_service("secure", "old", "old", PORT)).await;
    let mut proxy = Proxy::connect(&cp, "", "ingress-1", None, None).await.unwrap();
    let of = |name: &str| multi_zone_cluster("secure", name, PORT);
    proxy.until("a service", |proxy| proxy.has(Cluster, &of("old"))).await;
    cp.delete(Kind::ZoneIngress, "", "ingress-1").await;
    cp.put(multi_zone_service("secure", "new", "new", PORT)).await;
    cp.delete(Kind::MeshMultiZoneService, "secure", "old").await;
    let mut other = Proxy::start(&cp, &dataplane("secure", "other-1", "other", "10.0.0.2")).await;
    cp.marker("secure", &mut [&mut other]).await;
    cp.apply(&ingress("ingress-1")).await;
    proxy
        .until("what it missed", |proxy| {
            proxy.has(Cluster, &of("new")) && !proxy.has(Cluster, &of("old"))
        })
        .await;
}

#[tokio::test]
async fn a_mesh_that_is_deleted_and_made_again_starts_afresh() {
    let cp = ControlPlane::start().await;
    for _ in 0..2 {
        cp.apply(&mesh("blue")).await;
        cp.put(multi_zone_service("blue", "redis", "redis", PORT)).await;
        let mut proxy = Proxy::start(&cp, &dataplane("blue", "redis-1", "redis", "10.0.0.1")).await;
        let union = multi_zone_cluster("blue", "redis", PORT);
        proxy
            .until("its services", |proxy| {
                proxy.health(&union) == [(format!("10.0.0.1:{PORT}"), true)]
                    && proxy.has_all_of(&cluster("blue", "redis"))
            })
            .await;
        proxy.kill();
        cp.until_insight("blue", "redis-1", |subscription| subscription.disconnect_time.is_some())
            .await;
        cp.delete(Kind::Mesh, "", "blue").await;
        assert!(
            cp.find(Kind::Dataplane, "blue", "redis-1").is_none(),
            "all of the mesh goes with it"
        );
    }
}
