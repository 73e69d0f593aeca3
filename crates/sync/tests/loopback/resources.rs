//! What travels, as seen in the stores.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use meshspan_model::{Kind, Resource, ResourceKey, labels};
use meshspan_store::{Snapshot, Store, Write};
use serde_json::json;

use crate::system::{Global, Resources, Zone};

fn mesh() -> Resource {
    Resource::new(
        Kind::Mesh,
        "",
        "default",
        json!({"meshServices": {"mode": "Exclusive"}}),
    )
}

fn service(name: &str, port: u16) -> Resource {
    let spec = json!({"state": "Available", "selector": {"dataplaneTags": {"kuma.io/service": name}}, "ports": [{"port": port, "appProtocol": "tcp"}]});
    Resource::new(Kind::MeshService, "default", name, spec)
}

fn multi_zone(name: &str, port: u16) -> Resource {
    let spec = json!({"selector": {"meshService": {"matchLabels": {"kuma.io/display-name": name}}}, "ports": [{"port": port, "appProtocol": "tcp"}]});
    Resource::new(Kind::MeshMultiZoneService, "default", name, spec).with_label(labels::ORIGIN, "global")
}

struct System {
    global: Global,
    west: Zone,
    east: Zone,
}

async fn system() -> System {
    let global = Global::start(&Resources::new()).await;
    global.resources.put(mesh()).await;
    let mut west = Zone::start("west", &Resources::new(), global.address);
    let mut east = Zone::start("east", &Resources::new(), global.address);
    west.connected().await;
    east.connected().await;
    System { global, west, east }
}

impl System {
    async fn stop(self) {
        self.west.stop().await;
        self.east.stop().await;
        self.global.stop().await;
    }
}

#[tokio::test]
async fn one_service_for_all_zones_keeps_its_name_labels_and_local_status() {
    let system = system().await;
    system.global.resources.put(multi_zone("redis", 6379)).await;
    for zone in [&system.west, &system.east] {
        let stored = zone.resources.arrival(Kind::MeshMultiZoneService, "redis").await;
        assert_eq!(stored.resource.name, "redis-7w7bc2f55x7w9d29");
        assert_eq!(stored.resource.mesh, "default");
        assert_eq!(stored.resource.label(labels::ORIGIN), "global");
        assert_eq!(stored.resource.label(labels::DISPLAY_NAME), "redis");
        assert_eq!(stored.resource.spec, multi_zone("redis", 6379).spec);
    }
    let status = json!({"vips": [{"ip": "243.0.0.9"}]});
    let key = ResourceKey::new(Kind::MeshMultiZoneService, "default", "redis-7w7bc2f55x7w9d29");
    system
        .west
        .resources
        .write(Write::put_status(key.clone(), status.clone()))
        .await;
    system.global.resources.put(multi_zone("redis", 6380)).await;
    let changed = |snapshot: &Snapshot| {
        snapshot
            .get(&key)
            .is_some_and(|stored| stored.resource.spec["ports"][0]["port"] == 6380)
    };
    system.west.resources.eventually("new port", changed).await;
    let stored = system.west.resources.find(Kind::MeshMultiZoneService, "redis").unwrap();
    assert_eq!(stored.resource.status, Some(status));
    system
        .global
        .resources
        .write(Write::delete(ResourceKey::new(
            Kind::MeshMultiZoneService,
            "default",
            "redis",
        )))
        .await;
    system
        .west
        .resources
        .departure(Kind::MeshMultiZoneService, "redis")
        .await;
    system
        .east
        .resources
        .departure(Kind::MeshMultiZoneService, "redis")
        .await;
    system.stop().await;
}

#[tokio::test]
async fn egresses_and_external_services_of_a_zone_reach_the_global_and_those_of_the_global_reach_all_zones() {
    let system = system().await;
    let spec = json!({"match": {"type": "HostnameGenerator", "port": 443, "protocol": "tcp"}, "endpoints": [{"address": "a.example", "port": 443, "priority": 1}]});
    let external = |name: &str| Resource::new(Kind::MeshExternalService, "default", name, spec.clone());
    let proxy = json!({"networking": {"address": "10.0.0.3", "port": 10002, "admin": {"port": 9901}}});
    let egress = Resource::new(Kind::ZoneEgress, "", "egress-1", proxy);
    let connected = json!({"subscriptions": [{"id": "1", "connectTime": "2026-11-23T18:00:00Z"}]});
    let insight = Resource::new(Kind::ZoneEgressInsight, "", "egress-1", connected);
    for resource in [external("till"), egress, insight] {
        system.west.resources.put(resource).await;
    }
    let arrived = system.global.resources.arrival(Kind::ZoneEgress, "egress-1").await;
    assert_eq!(
        arrived.resource.spec,
        json!({"zone": "west", "networking": {"address": "10.0.0.3", "port": 10002, "admin": {"port": 9901}}})
    );
    let insight = system
        .global
        .resources
        .arrival(Kind::ZoneEgressInsight, "egress-1")
        .await;
    assert_eq!(insight.resource.name, arrived.resource.name);
    let till = system.global.resources.arrival(Kind::MeshExternalService, "till").await;
    assert_eq!((&till.resource.spec, till.resource.zone()), (&spec, "west"));
    // What comes later finds whatever would have come before it.
    system.global.resources.put(external("bank")).await;
    for zone in [&system.west, &system.east] {
        let bank = zone.resources.arrival(Kind::MeshExternalService, "bank").await;
        assert_eq!(
            (&bank.resource.spec, bank.resource.label(labels::ORIGIN)),
            (&spec, "global")
        );
    }
    assert!(system.east.resources.find(Kind::MeshExternalService, "till").is_none());
    assert!(system.east.resources.find(Kind::ZoneEgress, "egress-1").is_none());
    assert_eq!(
        system
            .west
            .resources
            .find(Kind::MeshExternalService, "till")
            .unwrap()
            .resource
            .name,
        "till",
        "a zone's own stays as it is"
    );
    system.stop().await;
}

#[tokio::test]
async fn a_service_reaches_global_and_other_zones_but_not_its_own_again() {
    let system = system().await;
    system.west.resources.put(service("redis", 6379)).await;
    let key = ResourceKey::new(Kind::MeshService, "default", "redis");
    system
        .west
        .resources
        .write(Write::put_status(key, json!({"dataplaneProxies": {"total": 1}})))
        .await;
    let on_global = system.global.resources.arrival(Kind::MeshService, "redis").await;
    assert_eq!(on_global.resource.name, "redis-f8xz8bddwx8b5c22");
    assert_eq!(
        (on_global.resource.zone(), on_global.resource.label(labels::ORIGIN)),
        ("west", "zone")
    );
    assert_eq!(on_global.owner, Some(ResourceKey::new(Kind::Zone, "", "west")));
    let with_status = |snapshot: &Snapshot| {
        snapshot
            .list(Kind::MeshService, None)
            .any(|stored| stored.resource.status.is_some())
    };
    system
        .global
        .resources
        .eventually("status of west on the global", with_status)
        .await;
    let in_east = system.east.resources.arrival(Kind::MeshService, "redis").await;
    assert_eq!(
        (in_east.resource.name.as_str(), in_east.resource.zone()),
        ("redis-f8xz8bddwx8b5c22", "west")
    );
    assert_eq!(in_east.resource.label(labels::ORIGIN), "global");
    assert_eq!(in_east.resource.status, None);
    // What comes after it on the same streams is there, so nothing can still be on its way back to west.
    system.east.resources.put(service("marker", 1)).await;
    system.west.resources.arrival(Kind::MeshService, "marker").await;
    assert_eq!(
        system
            .west
            .resources
            .names(Kind::MeshService)
            .iter()
            .filter(|name| name.starts_with("redis"))
            .count(),
        1
    );
    system
        .west
        .resources
        .write(Write::delete(ResourceKey::new(Kind::MeshService, "default", "redis")))
        .await;
    system.east.resources.departure(Kind::MeshService, "redis").await;
    system.stop().await;
}

#[tokio::test]
async fn a_disabled_zone_vanishes_from_the_others_at_once() {
    let system = system().await;
    system.west.resources.put(service("redis", 6379)).await;
    let ingress = json!({"networking": {"address": "10.0.0.1", "port": 10001, "advertisedAddress": "192.0.2.1", "advertisedPort": 10001}});
    system
        .west
        .resources
        .put(Resource::new(Kind::ZoneIngress, "", "ingress", ingress))
        .await;
    system.east.resources.arrival(Kind::MeshService, "redis").await;
    let received = system.east.resources.arrival(Kind::ZoneIngress, "ingress").await;
    assert_eq!(received.resource.spec["zone"], "west");
    let zone = |enabled| Resource::new(Kind::Zone, "", "west", json!({"enabled": enabled}));
    system.global.resources.put(zone(false)).await;
    system.east.resources.departure(Kind::MeshService, "redis").await;
    system.east.resources.departure(Kind::ZoneIngress, "ingress").await;
    assert!(system.global.resources.find(Kind::MeshService, "redis").is_some());
    system.global.resources.put(zone(true)).await;
    system.east.resources.arrival(Kind::MeshService, "redis").await;
    system.stop().await;
}

#[tokio::test]
async fn secrets_travel_as_far_as_they_may() {
    let system = system().await;
    let secret = |kind, mesh: &str, name: &str, data: &[u8]| {
        Resource::new(kind, mesh, name, json!({"data": BASE64.encode(data)}))
    };
    let resources = &system.global.resources;
    resources
        .put(secret(Kind::GlobalSecret, "", "zone-token-signing-key-1", b"private"))
        .await;
    resources
        .put(secret(Kind::GlobalSecret, "", "admin-user-token", b"token"))
        .await;
    resources
        .put(secret(Kind::GlobalSecret, "", "zone-token-signing-key-bad", b"broken"))
        .await;
    resources
        .put(Resource::new(Kind::Config, "", "cp-catalog", json!({"config": "x"})))
        .await;
    resources
        .put(Resource::new(
            Kind::Config,
            "",
            "kuma-cluster-id",
            json!({"config": "id"}),
        ))
        .await;
    resources
        .put(secret(Kind::Secret, "default", "default.ca-builtin-key-ca-1", b"ca"))
        .await;
    let west = &system.west.resources;
    let key = west
        .arrival(Kind::GlobalSecret, "zone-token-signing-public-key-1")
        .await;
    assert_eq!(key.resource.spec["data"], BASE64.encode(b"public"));
    west.arrival(Kind::Secret, "default.ca-builtin-key-ca-1").await;
    west.arrival(Kind::Config, "kuma-cluster-id").await;
    assert_eq!(
        (west.names(Kind::GlobalSecret).len(), west.names(Kind::Config).len()),
        (1, 1)
    );
    system.stop().await;
}

#[tokio::test]
async fn an_invalid_resource_does_not_hold_up_valid_ones() {
    let system = system().await;
    // Both in one transaction, so in one response.
    let writes = vec![
        Write::create(multi_zone("bad", 0)),
        Write::create(multi_zone("good", 1)),
    ];
    Store::apply(&*system.global.resources.0, writes).await.unwrap();
    system.west.resources.arrival(Kind::MeshMultiZoneService, "good").await;
    assert!(system.west.resources.find(Kind::MeshMultiZoneService, "bad").is_none());
    system.global.resources.put(multi_zone("bad", 2)).await;
    system.west.resources.arrival(Kind::MeshMultiZoneService, "bad").await;
    system.stop().await;
}

#[tokio::test]
async fn a_big_resource_and_many_small_ones_arrive() {
    let system = system().await;
    let big = Resource::new(
        Kind::Secret,
        "default",
        "big",
        json!({"data": BASE64.encode(vec![7_u8; 6 * 1024 * 1024])}),
    );
    system.global.resources.put(big.clone()).await;
    let stored = system.east.resources.arrival(Kind::Secret, "big").await;
    assert!(stored.resource.spec == big.spec);
    let many = (0..500)
        .map(|number| Write::create(service(&format!("s{number}"), 1)))
        .collect();
    Store::apply(&*system.west.resources.0, many).await.unwrap();
    let all = |snapshot: &Snapshot| snapshot.list(Kind::MeshService, None).count() == 500;
    system.east.resources.eventually("500 services", all).await;
    system.stop().await;
}

#[tokio::test]
async fn any_amount_of_one_kind_arrives_in_an_empty_zone_and_an_empty_global() {
    const MAX_MESSAGE: usize = 300_000;
    let start = async |address: &str| {
        let limit = |options: &mut meshspan_sync::GlobalOptions| options.max_message = MAX_MESSAGE;
        Global::start_at(&Resources::new(), address.parse().unwrap(), limit, None).await
    };
    let global = start("127.0.0.1:0").await;
    for index in 0..5 {
        let secret = json!({"data": "A".repeat(240_000)});
        let secret = Resource::new(Kind::Secret, "default", format!("large-{index}"), secret);
        global.resources.put(secret).await;
    }
    let west = Resources::new();
    let value = "x".repeat(60);
    let mut tags: serde_json::Map<_, _> = (0..60).map(|tag| (format!("tag-{tag}"), json!(value))).collect();
    tags.insert("kuma.io/service".to_owned(), json!("web"));
    for index in 0..300 {
        let networking = json!({"address": "10.0.0.1", "inbound": [{"port": 80, "tags": tags}]});
        let spec = json!({ "networking": networking });
        west.put(Resource::new(Kind::Dataplane, "default", format!("web-{index}"), spec))
            .await;
    }
    let address = global.address.to_string();
    let zone = Zone::start_with("west", &west, &format!("grpc://{address}"), |options| {
        options.max_message = MAX_MESSAGE
    });
    for index in 0..5 {
        west.arrival(Kind::Secret, &format!("large-{index}")).await;
    }
    let all = |snapshot: &Snapshot| snapshot.list(Kind::Dataplane, None).count() == 300;
    global.resources.eventually("all Dataplanes on the global", all).await;
    global.stop().await;
    let fresh = start(&address).await;
    fresh
        .resources
        .eventually("all Dataplanes on an empty global", all)
        .await;
    zone.stop().await;
    fresh.stop().await;
}

#[tokio::test]
async fn what_a_name_kept_away_comes_when_the_name_is_free() {
    let global = Global::start(&Resources::new()).await;
    // On both sides somebody made a resource with the name under which one of the other side would be stored.
    let service = |name: &str| Resource::new(Kind::MeshService, "default", name, json!({"ports": [{"port": 1}]}));
    let name = meshspan_model::name::synced("default", "redis", Some("west"), None);
    let own = service(&name).with_label(labels::DISPLAY_NAME, "in-the-way");
    let own_key = own.key();
    global.resources.put(own).await;
    let resources = Resources::new();
    let spec = json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "20s"}}]});
    let timeout = |name: &str| Resource::new(Kind::MeshTimeout, "default", name, spec.clone());
    global.resources.put(timeout("other")).await;
    let theirs = timeout("slow");
    global.resources.put(theirs.clone()).await;
    let name = meshspan_model::name::synced("default", "slow", None, None);
    let mine = timeout(&name)
        .with_label(labels::ORIGIN, "zone")
        .with_label(labels::ZONE, "west")
        .with_label(labels::DISPLAY_NAME, "in-the-way");
    let mine_key = mine.key();
    resources.put(mine).await;
    resources.put(service("redis")).await;
    resources.put(service("other")).await;
    let mut west = Zone::start("west", &resources, global.address);
    west.connected().await;
    global.resources.arrival(Kind::MeshService, "other").await;
    resources.arrival(Kind::MeshTimeout, "other").await;
    assert!(global.resources.find(Kind::MeshService, "redis").is_none());

    global.resources.write(Write::delete(own_key)).await;
    global.resources.arrival(Kind::MeshService, "redis").await;
    assert!(resources.find(Kind::MeshTimeout, "slow").is_none());
    resources.write(Write::delete(mine_key)).await;
    resources.arrival(Kind::MeshTimeout, "slow").await;
    west.stop().await;
    global.stop().await;
}
