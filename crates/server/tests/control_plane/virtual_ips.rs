//! A range of addresses that is too small.

use meshspan_model::Kind;
use meshspan_model::kinds::mesh_multi_zone_service::MeshMultiZoneServiceStatus;

use crate::support::documents::{PORT, dataplane, multi_zone_cluster, multi_zone_service};
use crate::support::{ControlPlane, Proxy};

fn status(snapshot: &meshspan_store::Snapshot, name: &str) -> Option<MeshMultiZoneServiceStatus> {
    let key = meshspan_model::ResourceKey::new(Kind::MeshMultiZoneService, "default", name);
    let status = snapshot.get(&key)?.resource.status.clone()?;
    serde_json::from_value(status).ok()
}

#[tokio::test]
async fn the_service_without_an_address_says_so_and_gets_the_next_free_one() {
    let cp = ControlPlane::start_with(|settings| {
        settings.ipam.mesh_multi_zone_service.cidr = "243.0.0.0/31".into();
    })
    .await;
    let mut proxy = Proxy::start(&cp, &dataplane("default", "redis-1", "redis", "10.0.0.1")).await;
    for name in ["first", "second", "third"] {
        cp.put(multi_zone_service("default", name, "redis", PORT)).await;
        cp.until("a status", |snapshot| status(snapshot, name)).await;
    }
    let third = cp
        .until("the condition", |snapshot| {
            status(snapshot, "third").filter(|status| {
                status
                    .conditions
                    .iter()
                    .any(|condition| condition.condition_type == "VipAllocated")
            })
        })
        .await;
    let condition = third
        .conditions
        .iter()
        .find(|one| one.condition_type == "VipAllocated")
        .unwrap();
    assert_eq!((condition.status.as_str(), third.vips.len()), ("False", 0));
    assert!(
        condition.message.contains("243.0.0.0/31")
            && condition.message.contains("KUMA_IPAM_MESH_MULTI_ZONE_SERVICE_CIDR"),
        "{}",
        condition.message
    );
    let has_vip = |name: &'static str| {
        move |snapshot: &meshspan_store::Snapshot| status(snapshot, name)?.vips.first().map(|vip| vip.ip.clone())
    };
    let (first, second) = (
        cp.until("an address", has_vip("first")).await,
        cp.until("an address", has_vip("second")).await,
    );
    let of = |name: &str| multi_zone_cluster("default", name, PORT);
    proxy
        .until("the others", |proxy| {
            proxy.has_all_of(&of("first")) && proxy.has_all_of(&of("second"))
        })
        .await;

    cp.delete(Kind::MeshMultiZoneService, "default", "first").await;
    assert_eq!(cp.until("the freed address", has_vip("third")).await, first);
    proxy
        .until("the third", |proxy| {
            proxy.has_all_of(&of("third")) && !proxy.has_all_of(&of("first"))
        })
        .await;
    assert_eq!(
        cp.until("an address", has_vip("second")).await,
        second,
        "an address that is held never moves"
    );
    cp.until("no complaint", |snapshot| {
        let conditions = status(snapshot, "third")?.conditions;
        conditions
            .iter()
            .all(|one| one.condition_type != "VipAllocated")
            .then_some(())
    })
    .await;
}
