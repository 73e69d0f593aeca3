//! Dataplanes that proxies bring with them: stored when they connect, kept while they may come back, removed then.

use meshspan_model::kinds::dataplane::{Dataplane, InboundState};
use meshspan_model::{Kind, labels};
use meshspan_xds::ResourceType;
use serde_json::json;
use tonic::Code;

use crate::support::control_plane::{ZONE, millis};
use crate::support::documents::{PORT, dataplane, ingress, probed};
use crate::support::{Agent, ControlPlane, Proxy};

#[tokio::test]
async fn a_brought_dataplane_is_stored_with_what_the_zone_adds() {
    let cp = ControlPlane::start().await;
    let mut proxy = Proxy::start(&cp, &dataplane("default", "redis-1", "redis", "10.0.0.1")).await;
    let stored = cp.find(Kind::Dataplane, "default", "redis-1").unwrap();
    for (label, value) in [
        (labels::MESH, "default"),
        (labels::DISPLAY_NAME, "redis-1"),
        (labels::ORIGIN, labels::ORIGIN_ZONE),
        (labels::ZONE, ZONE),
        (labels::ENV, "universal"),
    ] {
        assert_eq!(stored.resource.label(label), value, "{label}");
    }
    assert_eq!(stored.owner.as_ref().unwrap().kind, Kind::Mesh);
    let spec: Dataplane = cp.spec("default", "redis-1");
    assert_eq!(spec.networking.inbound[0].tags[labels::TAG_ZONE], ZONE);
    proxy
        .until("its inbound", |proxy| {
            proxy.has(ResourceType::Cluster, "self_inbound_dp_6379")
        })
        .await;
}

#[tokio::test]
async fn what_cannot_be_registered_is_refused_with_the_reason() {
    let cp = ControlPlane::start().await;
    let good = dataplane("default", "redis-1", "redis", "10.0.0.1");
    let mut invalid = good.clone();
    invalid["networking"]["inbound"][0]["port"] = json!(70000);
    let mut no_service = good.clone();
    no_service["networking"]["inbound"][0]["tags"] = json!({});
    let nowhere = dataplane("nowhere", "redis-1", "redis", "10.0.0.1");
    for (mesh, name, resource, code, said) in [
        (
            "default",
            "redis-1",
            Some(&invalid),
            Code::InvalidArgument,
            "networking.inbound[0].port",
        ),
        (
            "default",
            "redis-1",
            Some(&no_service),
            Code::InvalidArgument,
            "kuma.io/service",
        ),
        ("other", "redis-1", Some(&good), Code::InvalidArgument, "other/redis-1"),
        (
            "default",
            "redis-2",
            Some(&good),
            Code::InvalidArgument,
            "default/redis-2",
        ),
        (
            "nowhere",
            "redis-1",
            Some(&nowhere),
            Code::NotFound,
            "mesh \"nowhere\" does not exist",
        ),
        ("default", "redis-1", None, Code::NotFound, "--dataplane-file"),
        ("default", "", None, Code::InvalidArgument, "<mesh>.<name>"),
    ] {
        let Err(status) = Proxy::connect(&cp, mesh, name, resource, None).await else {
            panic!("{mesh}.{name} was let in");
        };
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(said), "{status}");
    }
    let Err(status) = Proxy::connect(&cp, "default", "redis-1", Some(&json!("no object")), None).await else {
        panic!("a text is no resource");
    };
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(
        cp.find(Kind::Dataplane, "default", "redis-1").is_none(),
        "nothing was stored"
    );
}

#[tokio::test]
async fn a_proxy_that_does_not_come_back_takes_its_resource_and_insight_along() {
    let cp = ControlPlane::start_with(|settings| {
        settings.xds_server.dataplane_deregistration_delay = millis(50);
    })
    .await;
    let proxy = Proxy::start(&cp, &dataplane("default", "redis-1", "redis", "10.0.0.1")).await;
    cp.until("the insight", |snapshot| {
        snapshot.list(Kind::DataplaneInsight, Some("default")).next().cloned()
    })
    .await;
    proxy.kill();
    cp.gone(Kind::Dataplane, "default", "redis-1").await;
    cp.gone(Kind::DataplaneInsight, "default", "redis-1").await;
}

#[tokio::test]
async fn a_zone_ingress_is_registered_and_removed_alike() {
    let cp = ControlPlane::start_with(|settings| {
        settings.xds_server.dataplane_deregistration_delay = millis(50);
    })
    .await;
    let document = ingress("ingress-1");
    let mut proxy = Proxy::connect(&cp, "", "ingress-1", Some(&document), None)
        .await
        .unwrap();
    let stored = cp.find(Kind::ZoneIngress, "", "ingress-1").unwrap();
    assert_eq!(stored.resource.spec["zone"], ZONE);
    proxy
        .until("its listener", |proxy| {
            proxy.has(ResourceType::Listener, "self_zoneingress_dp_ingress-1")
        })
        .await;
    proxy.kill();
    cp.gone(Kind::ZoneIngress, "", "ingress-1").await;
}

#[tokio::test]
async fn a_proxy_that_comes_back_in_time_keeps_its_resource() {
    let cp = ControlPlane::start_with(|settings| {
        settings.xds_server.dataplane_deregistration_delay = millis(50);
    })
    .await;
    let document = dataplane("default", "redis-1", "redis", "10.0.0.1");
    let other = dataplane("default", "redis-2", "redis", "10.0.0.2");
    let first = Proxy::start(&cp, &document).await;
    let created = cp.find(Kind::Dataplane, "default", "redis-1").unwrap();
    // The second stream takes over; the first one's end must not count any more.
    let second = Proxy::start(&cp, &document).await;
    let status = first.end().await;
    assert_eq!(status.code(), Code::Aborted, "{status}");
    // One whose delay starts later is removed; had the first one's end counted, redis-1 were gone by then.
    Proxy::start(&cp, &other).await.kill();
    cp.gone(Kind::Dataplane, "default", "redis-2").await;
    let now = cp.find(Kind::Dataplane, "default", "redis-1").unwrap();
    assert_eq!(now.resource.creation_time, created.resource.creation_time);
    second.kill();
    cp.gone(Kind::Dataplane, "default", "redis-1").await;
}

#[tokio::test]
async fn a_refused_reconnect_does_not_keep_a_gone_proxy_alive() {
    let cp = ControlPlane::start_with(|settings| {
        settings.xds_server.dataplane_deregistration_delay = millis(50);
    })
    .await;
    let document = dataplane("default", "redis-1", "redis", "10.0.0.1");
    let proxy = Proxy::start(&cp, &document).await;
    // Well-formed, but its mesh does not let it in: the refusal comes from registration itself.
    cp.apply(&json!({
        "type": "Mesh", "name": "default",
        "constraints": {"dataplaneProxy": {"restrictions": [{"tags": {"kuma.io/service": "forbidden"}}]}},
    }))
    .await;
    let forbidden = dataplane("default", "redis-1", "forbidden", "10.0.0.1");
    let refused = Proxy::connect(&cp, "default", "redis-1", Some(&forbidden), None).await;
    assert_eq!(refused.err().unwrap().code(), Code::InvalidArgument);
    proxy.kill();
    cp.gone(Kind::Dataplane, "default", "redis-1").await;
}

#[tokio::test]
async fn an_applied_dataplane_stays_when_its_proxy_goes() {
    let cp = ControlPlane::start_with(|settings| {
        settings.xds_server.dataplane_deregistration_delay = millis(1);
    })
    .await;
    cp.apply(&dataplane("default", "applied", "redis", "10.0.0.1")).await;
    let applied = Proxy::connect(&cp, "default", "applied", None, None).await.unwrap();
    applied.kill();
    cp.until_insight("default", "applied", |subscription| {
        subscription.disconnect_time.is_some()
    })
    .await;
    Proxy::start(&cp, &dataplane("default", "brought", "redis", "10.0.0.2"))
        .await
        .kill();
    cp.gone(Kind::Dataplane, "default", "brought").await;
    assert!(cp.find(Kind::Dataplane, "default", "applied").is_some());
}

#[tokio::test]
async fn a_probed_inbound_starts_not_ready_and_keeps_its_state_over_reconnects() {
    let cp = ControlPlane::start().await;
    let document = probed("default", "redis-1", "redis", "10.0.0.1");
    let proxy = Proxy::start(&cp, &document).await;
    let state = |cp: &ControlPlane| cp.spec::<Dataplane>("default", "redis-1").networking.inbound[0].state;
    assert_eq!(state(&cp), InboundState::NotReady);
    let agent = Agent::connect(&cp, "default", "redis-1", None).await;
    agent.report(PORT, true).await;
    cp.until_spec::<Dataplane>("ready", "default", "redis-1", |spec| {
        spec.networking.inbound[0].state == InboundState::Ready
    })
    .await;
    proxy.kill();
    let _proxy = Proxy::start(&cp, &document).await;
    assert_eq!(state(&cp), InboundState::Ready);
    // Nor does a user who applies the file again change it.
    cp.apply(&document).await;
    assert_eq!(state(&cp), InboundState::Ready);
}
