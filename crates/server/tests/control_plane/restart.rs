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
use crate::support::proxy::{Held, updated};
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
    let narrow_held = narrow.versions();
    cp.stop().await;
    let (proxy, narrow) = (proxy.kill(), narrow.kill());
    store.close().await;
    drop(store);

    let (cp, _store) = ControlPlane::start_on_file(folder).await;
    let mut proxy = again(&cp, "redis-1", &document, proxy).await;
    cp.marker(MESH, &mut [&mut proxy]).await;
    cp.marker(MESH, &mut [&mut proxy]).await;
    assert_eq!(
        proxy.since_settled(),
        [updated(ResourceType::Secret, "identity_cert:secret:secure")],
        "only what lives in memory alone"
    );
    let identity = (ResourceType::Secret, "identity_cert:secret:secure".to_owned());
    for (name, version) in held.iter().filter(|(name, _)| **name != identity) {
        assert_eq!(proxy.version(name.0, &name.1), *version, "{name:?}");
    }
    let mut narrow = again(&cp, "narrow-1", &narrow_document, narrow).await;
    narrow
        .until("its new certificate", |narrow| {
            narrow.version(identity.0, &identity.1) != narrow_held[&identity]
        })
        .await;
    assert_eq!(narrow.since_settled(), [updated(identity.0, &identity.1)]);
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
        .filter(|sent| sent.name != of_all && !(sent.ty == ResourceType::Endpoint && sent.name == of_zone))
        // The mesh has no mTLS: the script asks for secrets that do not exist.
        .filter(|sent| sent.ty != ResourceType::Secret)
        .collect();
    // Its own endpoint was unready while it was away; whether that was undone before it came back is a race.
    assert_eq!(unexpected, []);
}
