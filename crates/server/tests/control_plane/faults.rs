//! A store that fails stops changes, and nothing is lost once it works again.

use std::sync::Arc;

use meshspan_model::kinds::dataplane::{Dataplane, InboundState};
use meshspan_model::{Kind, ResourceKey};
use meshspan_store::{Store as _, Write};
use tempfile::TempDir;

use crate::support::control_plane::millis;
use crate::support::documents::{PORT, cluster, dataplane, multi_zone_cluster, multi_zone_service, probed};
use crate::support::faulty_store::FaultyStore;
use crate::support::{Agent, ControlPlane, Proxy};

async fn start() -> (ControlPlane, Arc<FaultyStore>) {
    let store = FaultyStore::new();
    let folder = Arc::new(TempDir::new().unwrap());
    let cp = ControlPlane::start_on(store.clone(), folder, |settings| {
        settings.xds_server.dataplane_deregistration_delay = millis(20);
        settings.xds_server.dataplane_status_flush_interval = millis(100);
    })
    .await;
    (cp, store)
}

fn key(kind: Kind, name: &str) -> ResourceKey {
    ResourceKey::new(kind, "default", name)
}

/// Writes past the fault, as zone synchronisation with another disk would.
async fn put(store: &FaultyStore, resource: meshspan_model::Resource) {
    let owner = Some(ResourceKey::new(Kind::Mesh, "", resource.mesh.as_str()));
    store
        .inner
        .apply(vec![Write::Upsert { resource, owner }])
        .await
        .unwrap();
}

#[tokio::test]
async fn proxies_are_served_while_nothing_can_be_stored_and_it_is_stored_later() {
    let (cp, store) = start().await;
    let mut proxy = Proxy::start(&cp, &dataplane("default", "redis-1", "redis", "10.0.0.1")).await;
    let redis = cluster("default", "redis");
    proxy.until("its service", |proxy| proxy.has_all_of(&redis)).await;
    store.set_full(true);
    put(&store, multi_zone_service("default", "redis", "redis", PORT)).await;
    let union = multi_zone_cluster("default", "redis", PORT);
    proxy.until("the new service", |proxy| proxy.has_all_of(&union)).await;
    put(&store, multi_zone_service("default", "web", "web", PORT)).await;
    let key = |name: &str| key(Kind::MeshMultiZoneService, name);
    assert!(store.get(&key("redis")).unwrap().resource.status.is_none());
    store.set_full(false);
    for name in ["redis", "web"] {
        cp.until("the status", |snapshot| {
            snapshot.get(&key(name))?.resource.status.clone()
        })
        .await;
    }
}

#[tokio::test]
async fn a_proxy_that_goes_meanwhile_is_removed_later() {
    let (cp, store) = start().await;
    cp.apply(&dataplane("default", "applied", "web", "10.0.0.2")).await;
    let brought = Proxy::start(&cp, &dataplane("default", "brought", "redis", "10.0.0.1")).await;
    let applied = Proxy::connect(&cp, "default", "applied", None, None).await.unwrap();
    // Two of four: that is no mass loss.
    let _stay = [
        Proxy::start(&cp, &dataplane("default", "stays-1", "web", "10.0.0.3")).await,
        Proxy::start(&cp, &dataplane("default", "stays-2", "web", "10.0.0.4")).await,
    ];
    for name in ["brought", "applied"] {
        cp.until_insight("default", name, |subscription| subscription.disconnect_time.is_none())
            .await;
    }
    store.set_full(true);
    store.forget();
    brought.kill();
    applied.kill();
    for (kind, name) in [(Kind::Dataplane, "brought"), (Kind::DataplaneInsight, "applied")] {
        store.asked(|write| write.key() == key(kind, name)).await;
    }
    store.set_full(false);
    cp.gone(Kind::Dataplane, "default", "brought").await;
    cp.until_insight("default", "applied", |subscription| {
        subscription.disconnect_time.is_some()
    })
    .await;
}

#[tokio::test]
async fn a_report_that_could_not_be_stored_counts_later() {
    let (cp, store) = start().await;
    let _proxy = Proxy::start(&cp, &probed("default", "redis-1", "redis", "10.0.0.1")).await;
    let mut agent = Agent::connect(&cp, "default", "redis-1", None).await;
    agent.until("a plan", |agent| !agent.plans.is_empty()).await;
    store.set_full(true);
    store.forget();
    agent.report(PORT, true).await;
    store
        .asked(|write| write.key() == key(Kind::Dataplane, "redis-1"))
        .await;
    store.set_full(false);
    cp.until_spec::<Dataplane>("ready", "default", "redis-1", |spec| {
        spec.networking.inbound[0].state == InboundState::Ready
    })
    .await;
}

#[tokio::test]
async fn a_proxy_that_hangs_up_while_it_is_registered_leaves_nothing_behind() {
    let (cp, store) = start().await;
    let document = dataplane("default", "redis-1", "redis", "10.0.0.1");
    let disk = store.stall().await;
    store.forget();
    let mut proxy = Proxy::open(&cp, "default", "redis-1", Some(&document), None, Default::default())
        .await
        .unwrap();
    tokio::select! {
        _ = proxy.step() => panic!("answered before the registration is stored"),
        () = store.asked(|write| write.key() == key(Kind::Dataplane, "redis-1")) => {}
    }
    proxy.kill();
    drop(disk);
    cp.until("the registration", |snapshot| {
        snapshot.get(&key(Kind::Dataplane, "redis-1")).is_some().then_some(())
    })
    .await;
    cp.gone(Kind::Dataplane, "default", "redis-1").await;
}

#[tokio::test]
async fn a_proxy_that_comes_back_just_when_it_is_given_up_keeps_its_resource() {
    let (cp, store) = start().await;
    let document = dataplane("default", "redis-1", "redis", "10.0.0.1");
    let first = Proxy::start(&cp, &document).await;
    cp.until_insight("default", "redis-1", |subscription| {
        subscription.disconnect_time.is_none()
    })
    .await;
    // The removal is on its way to the disk when the proxy comes back.
    let disk = store.stall().await;
    store.forget();
    first.kill();
    store
        .asked(|write| matches!(write, Write::Remove { key } if key.name == "redis-1"))
        .await;
    let mut second = Proxy::open(&cp, "default", "redis-1", Some(&document), None, Default::default())
        .await
        .unwrap();
    let other = tokio::spawn(async move {
        second.step().await.unwrap();
        second
    });
    drop(disk);
    let mut second = other.await.unwrap();
    cp.marker("default", &mut [&mut second]).await;
    let (name, later) = ("default", dataplane("default", "later", "web", "10.0.0.2"));
    Proxy::start(&cp, &later).await.kill();
    cp.gone(Kind::Dataplane, name, "later").await;
    assert!(cp.find(Kind::Dataplane, name, "redis-1").is_some());
}
