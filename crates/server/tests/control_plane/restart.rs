//! After a restart everything is as it was, and proxies that come back are told nothing they know.

use std::sync::Arc;

use meshspan_model::kinds::mesh_multi_zone_service::MeshMultiZoneServiceStatus;
use meshspan_model::kinds::mesh_service::MeshServiceStatus;
use meshspan_model::{Kind, Resource};
use meshspan_xds::ResourceType;
use tempfile::TempDir;

use crate::support::documents::{
    PORT, cluster, dataplane, explicit, mesh_with_mtls, multi_zone_cluster, multi_zone_generator, multi_zone_service,
};
use crate::support::proxy::{Held, Sent, removed};
use crate::support::{Agent, ControlPlane, Proxy};

const MESH: &str = "secure";

fn status<T: serde::de::DeserializeOwned>(cp: &ControlPlane, kind: Kind, name: &str) -> T {
    let stored = cp.find(kind, MESH, name).unwrap();
    serde_json::from_value(stored.resource.status.clone().unwrap()).unwrap()
}

/// Everything but what is written about connections.
fn resources(cp: &ControlPlane) -> Vec<Resource> {
    let all = cp.store.list_all().into_iter();
    all.filter(|stored| !stored.resource.kind.info().is_insight)
        .filter(|stored| !stored.resource.name.starts_with("marker-"))
        .map(|stored| (*stored.resource).clone())
        .collect()
}

#[tokio::test]
async fn addresses_names_and_versions_survive() {
    let folder = Arc::new(TempDir::new().unwrap());
    let (cp, store) = ControlPlane::start_on_file(folder.clone()).await;
    cp.apply(&mesh_with_mtls(MESH, "24h")).await;
    cp.put(multi_zone_generator("{{ .DisplayName }}.mzsvc.mesh.local"))
        .await;
    cp.put(multi_zone_service(MESH, "redis", "redis", PORT)).await;
    let document = dataplane(MESH, "redis-1", "redis", "10.0.0.1");
    let narrow_document = explicit(MESH, "narrow-1", "10.0.0.2", &[(5000, "redis", PORT)]);
    let mut proxy = Proxy::start(&cp, &document).await;
    let mut narrow = Proxy::start(&cp, &narrow_document).await;
    let (of_zone, of_all) = (cluster(MESH, "redis"), multi_zone_cluster(MESH, "redis", PORT));
    let complete =
        |proxy: &Proxy| proxy.has_all_of(&of_zone) && proxy.has_all_of(&of_all) && proxy.certificate().is_some();
    proxy.until("all it should have", complete).await;
    narrow
        .until("its certificate", |narrow| {
            narrow.certificate().is_some() && narrow.has(ResourceType::Cluster, &of_all)
        })
        .await;
    for name in ["redis-1", "narrow-1"] {
        cp.until_spec::<meshspan_model::kinds::dataplane_insight::DataplaneInsight>("mTLS", MESH, name, |insight| {
            insight.mtls.is_some()
        })
        .await;
    }
    // The marker stays, so that what is held before and after is the same.
    cp.settle(MESH, &mut [&mut proxy]).await;
    let service: MeshServiceStatus = status(&cp, Kind::MeshService, "redis");
    let union: MeshMultiZoneServiceStatus = status(&cp, Kind::MeshMultiZoneService, "redis");
    assert_eq!(union.addresses[0].hostname, "redis.mzsvc.mesh.local");
    assert!(union.vips[0].ip.starts_with("243.") && service.vips[0].ip.starts_with("241."));
    let endpoints = proxy.version(ResourceType::Endpoint, &of_all);
    narrow
        .until("what the other has", |narrow| {
            narrow.version(ResourceType::Endpoint, &of_all) == endpoints
        })
        .await;
    let (before, held) = (resources(&cp), proxy.versions());
    cp.stop().await;
    let (proxy, narrow) = (proxy.kill(), narrow.kill());
    store.close().await;
    drop(store);

    let (cp, _store) = ControlPlane::start_on_file(folder).await;
    let mut proxy = again(&cp, "redis-1", &document, proxy).await;
    let mut narrow = again(&cp, "narrow-1", &narrow_document, narrow).await;
    cp.marker(MESH, &mut [&mut proxy]).await;
    cp.marker(MESH, &mut [&mut proxy]).await;
    assert_eq!(proxy.since_settled(), [], "certificates included");
    for (name, version) in &held {
        assert_eq!(proxy.version(name.0, &name.1), *version, "{name:?}");
    }
    let mut agent = Agent::connect(&cp, MESH, "redis-1", None).await;
    agent
        .until("the name", |agent| agent.names.contains_key("redis.mzsvc.mesh.local"))
        .await;
    assert_eq!(agent.names["redis.mzsvc.mesh.local"], [union.vips[0].ip.clone()]);
    let after = resources(&cp);
    for resource in &before {
        let now = after.iter().find(|now| now.key() == resource.key());
        assert_eq!(now, Some(resource), "unchanged, times included");
    }
    assert_eq!(after.len(), before.len());
    // It shares no marker: the first thing that it is sent is the next change.
    cp.put(multi_zone_service(MESH, "redis", "redis", PORT + 1)).await;
    let gone = removed(ResourceType::Cluster, &of_all);
    narrow.until("the change", |narrow| narrow.sent.contains(&gone)).await;
    let sent_again = |sent: &Sent| !sent.removed && sent.ty != ResourceType::Listener;
    assert_eq!(narrow.since_settled().into_iter().find(sent_again), None);
    cp.stop().await;
}

async fn again(cp: &ControlPlane, name: &str, document: &serde_json::Value, held: Held) -> Proxy {
    Proxy::open(cp, MESH, name, Some(document), None, held).await.unwrap()
}

#[tokio::test]
async fn a_proxy_that_reconnects_to_the_same_process_gets_only_what_it_missed() {
    let cp = ControlPlane::start().await;
    let document = dataplane("default", "redis-1", "redis", "10.0.0.1");
    let mut proxy = Proxy::start(&cp, &document).await;
    let of_zone = cluster("default", "redis");
    proxy.until("its service", |proxy| proxy.has_all_of(&of_zone)).await;
    cp.settle("default", &mut [&mut proxy]).await;
    let held = proxy.kill();
    cp.put(multi_zone_service("default", "redis", "redis", PORT)).await;
    let mut proxy = Proxy::open(&cp, "default", "redis-1", Some(&document), None, held)
        .await
        .unwrap();
    let of_all = multi_zone_cluster("default", "redis", PORT);
    proxy.until("what it missed", |proxy| proxy.has_all_of(&of_all)).await;
    cp.marker("default", &mut [&mut proxy]).await;
    cp.marker("default", &mut [&mut proxy]).await;
    let unexpected: Vec<_> = proxy
        .since_settled()
        .into_iter()
        .filter(|sent| sent.name != of_all)
        // The mesh has no mTLS: the script asks for secrets that do not exist.
        .filter(|sent| sent.ty != ResourceType::Secret)
        .collect();
    assert_eq!(unexpected, []);
}

#[tokio::test]
async fn a_fleet_that_comes_back_is_sent_nothing_and_nobody_is_taken_for_dead() {
    const SIZE: usize = 6;
    let folder = Arc::new(TempDir::new().unwrap());
    let (cp, store) = ControlPlane::start_on_file(folder.clone()).await;
    cp.apply(&mesh_with_mtls(MESH, "24h")).await;
    let names: Vec<_> = (1..=SIZE).map(|number| format!("service-{number}")).collect();
    let documents: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(number, name)| dataplane(MESH, name, name, &format!("10.0.0.{}", number + 1)))
        .collect();
    let mut proxies = Vec::new();
    for document in &documents {
        proxies.push(Proxy::start(&cp, document).await);
    }
    let all_ready = |proxy: &Proxy| {
        let ready = |name: &String| {
            let health = proxy.health(&cluster(MESH, name));
            proxy.has_all_of(&cluster(MESH, name)) && health.len() == 1 && health[0].1
        };
        names.iter().all(ready) && proxy.certificate().is_some()
    };
    // A proxy is ready for others when it has answered itself, so all take their turns.
    for _ in 0..2 {
        cp.settle(MESH, &mut proxies.iter_mut().collect::<Vec<_>>()).await;
    }
    assert!(proxies.iter().all(all_ready));
    cp.stop().await;
    let held: Vec<_> = proxies.into_iter().map(Proxy::kill).collect();
    store.close().await;
    drop(store);

    let (cp, _store) = ControlPlane::start_on_file(folder).await;
    let mut proxies = Vec::new();
    for ((name, document), held) in names.iter().zip(&documents).zip(held) {
        proxies.push(again(&cp, name, document, held).await);
    }
    for _ in 0..2 {
        cp.marker(MESH, &mut proxies.iter_mut().collect::<Vec<_>>()).await;
    }
    for proxy in &proxies {
        assert_eq!(proxy.since_settled(), [], "no resource, of whatever type");
        assert!(all_ready(proxy));
    }
    // Nor does a broken stream of all of them change anything for those who come later.
    drop(proxies);
    let mut late = Proxy::start(&cp, &dataplane(MESH, "late", "late", "10.0.0.99")).await;
    late.until("all, ready", all_ready).await;
}
