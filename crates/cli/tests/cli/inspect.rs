//! `inspect`.

use serde_json::{Value, json};

use crate::support::ControlPlane;

fn member(core_name: &str, zone: &str, state: &str, healthy: u32) -> Value {
    json!({
        "type": "MeshService", "mesh": "default", "name": core_name,
        "labels": { "kuma.io/display-name": "redis", "kuma.io/zone": zone },
        "spec": { "state": state, "ports": [ { "port": 6379, "targetPort": 16379, "appProtocol": "tcp" } ],
                  "identities": [ { "type": "ServiceTag", "value": "redis" } ] },
        "status": { "vips": [ { "ip": "241.0.0.3" } ], "addresses": [ { "hostname": format!("redis.svc.{zone}.mesh.local") } ],
                    "tls": { "status": "Ready" }, "dataplaneProxies": { "healthy": healthy, "total": 2 } },
    })
}

fn redis(status: Value) -> Value {
    json!({
        "type": "MeshMultiZoneService", "mesh": "default", "name": "redis",
        "spec": { "selector": { "meshService": { "matchLabels": { "kuma.io/display-name": "redis" } } },
                  "ports": [ { "port": 6379, "appProtocol": "tcp" }, { "name": "admin", "port": 80, "appProtocol": "http" } ] },
        "status": status,
    })
}

fn status_in_a_zone() -> Value {
    json!({
        "addresses": [ { "hostname": "redis.mzsvc.mesh.local" } ], "vips": [ { "ip": "242.0.0.7" } ],
        "meshServices": [ { "name": "redis", "namespace": "", "zone": "east", "mesh": "default" },
                          { "name": "redis", "namespace": "", "zone": "west", "mesh": "default" } ],
        "conditions": [
            { "type": "MeshServicesMatched", "status": "True", "reason": "MatchesFound", "message": "2 MeshServices match" },
            { "type": "ServicesAvailable", "status": "False", "reason": "Unavailable", "message": "redis of west has no healthy proxy: start one" },
        ],
    })
}

#[tokio::test]
async fn services_of_several_zones_in_a_table() {
    let cp = ControlPlane::start().await;
    cp.list(
        "/meshes/default/meshmultizoneservices",
        json!([redis(status_in_a_zone())]),
    );
    let members = json!([
        member("redis", "east", "Available", 2),
        member("redis-x", "west", "Unavailable", 0)
    ]);
    cp.list("/meshes/default/meshservices", members);
    let expected = "\
Services of several zones (MeshMultiZoneService)
NAME    VIP         HOSTNAMES                PORTS                     SERVICES                                     CONDITIONS
redis   242.0.0.7   redis.mzsvc.mesh.local   6379/tcp, admin:80/http   east: Available 2/2, west: Unavailable 0/2   Unavailable

redis: Unavailable: redis of west has no healthy proxy: start one

Services of single zones (MeshService)
NAME    ZONE   STATE         PROXIES   VIP         HOSTNAMES                   PORTS            TLS
redis   east   Available     2/2       241.0.0.3   redis.svc.east.mesh.local   6379/tcp→16379   Ready
redis   west   Unavailable   0/2       241.0.0.3   redis.svc.west.mesh.local   6379/tcp→16379   Ready

redis in west: NoneReady: its zone knows of no ready instance: start one, or look at `meshspan inspect dataplanes`
";
    let out = cp.run(&["inspect", "services"]).await.done();
    assert_eq!(out, expected);
}

#[tokio::test]
async fn on_global_members_are_matched_here_and_hostnames_come_from_the_zones() {
    let cp = ControlPlane::start().await;
    cp.list("/meshmultizoneservices", json!([redis(json!({}))]));
    let mut stranger = member("other", "north", "Available", 1);
    stranger["mesh"] = json!("payments");
    cp.list(
        "/meshservices",
        json!([member("redis-x", "west", "Available", 1), stranger]),
    );
    let hostnames = json!({ "total": 1, "items": [ { "hostname": "redis.mzsvc.mesh.local", "zones": [ { "name": "east" }, { "name": "west" } ] } ] });
    cp.answer(
        "GET /meshes/default/meshmultizoneservices/redis/_hostnames?size=1000",
        200,
        hostnames,
    );
    let expected = "\
MESH      NAME    VIP   HOSTNAMES                             PORTS                     SERVICES              CONDITIONS
default   redis   -     redis.mzsvc.mesh.local (east, west)   6379/tcp, admin:80/http   west: Available 1/2   -
";
    assert_eq!(
        cp.run(&["inspect", "meshmultizoneservices", "-A"]).await.done(),
        expected
    );
}

#[tokio::test]
async fn one_service_in_full() {
    let cp = ControlPlane::start().await;
    cp.put("/meshes/default/meshmultizoneservices/redis", redis(status_in_a_zone()));
    cp.list(
        "/meshes/default/meshservices",
        json!([member("redis", "east", "Available", 2)]),
    );
    let expected = "\
Name:        redis
Mesh:        default
Resource:    redis
VIP:         242.0.0.7
Hostnames:   redis.mzsvc.mesh.local
Ports:       6379/tcp, admin:80/http
Selector:    kuma.io/display-name=redis
Services:
  ZONE   NAME    NAMESPACE   STATE       PROXIES   TLS
  east   redis   -           Available   2/2       Ready
  west   redis   -           gone        -         -
Conditions:
  TYPE                  STATUS   REASON         MESSAGE
  MeshServicesMatched   True     MatchesFound   2 MeshServices match
  ServicesAvailable     False    Unavailable    redis of west has no healthy proxy: start one
";
    assert_eq!(
        cp.run(&["inspect", "meshmultizoneservice", "redis"]).await.done(),
        expected
    );

    cp.put(
        "/meshes/default/meshservices/redis",
        member("redis", "east", "Available", 1),
    );
    let out = cp.run(&["inspect", "meshservice", "redis"]).await.done();
    for line in [
        "Zone:         east",
        "Proxies:      1/2",
        "Identities:   ServiceTag redis",
        "Conditions: none",
    ] {
        assert!(out.contains(line), "{line:?} is missing in\n{out}");
    }
    let empty = json!({ "total": 0, "items": [], "next": null });
    cp.answer(
        "GET /meshes/default/meshmultizoneservices?name=nope&size=1000",
        200,
        empty,
    );
    let error = cp.run(&["inspect", "mzsvc", "nope"]).await.error();
    assert!(
        error.contains("there is no MeshMultiZoneService nope in mesh default"),
        "{error}"
    );
}

fn overview(name: &str, inbound_states: &[&str], online: bool) -> Value {
    let inbound: Vec<Value> = inbound_states
        .iter()
        .enumerate()
        .map(|(index, state)| json!({ "port": 8080 + index, "state": state, "tags": { "kuma.io/service": "cart" } }))
        .collect();
    let mut subscription = json!({
        "id": "1", "connectTime": "2025-02-03T09:00:00Z",
        "status": { "lastUpdateTime": "2025-02-03T11:48:00Z", "total": { "responsesSent": "9", "responsesRejected": "1" },
                    "rejections": [ { "type": "listener", "names": ["inbound"], "message": "no such filter" } ] },
        "version": { "kumaDp": { "version": "2.9.13", "kumaCpCompatible": true },
                     "envoy": { "version": "1.40.0", "kumaDpCompatible": true }, "dependencies": { "coredns": "1.11.3" } },
    });
    if !online {
        subscription["disconnectTime"] = json!("2025-02-03T11:00:00Z");
    }
    json!({
        "type": "DataplaneOverview", "mesh": "default", "name": name,
        "dataplane": { "networking": { "address": "10.1.0.4", "inbound": inbound } },
        "dataplaneInsight": { "subscriptions": [subscription],
            "mTLS": { "certificateExpirationTime": "2025-02-04T09:00:00Z", "lastCertificateRegeneration": "2025-02-03T09:00:00Z",
                      "certificateRegenerations": 4, "issuedBackend": "ca-1", "supportedBackends": ["ca-1"] } },
    })
}

#[tokio::test]
async fn dataplanes() {
    let cp = ControlPlane::start().await;
    let overviews = json!([
        overview("a", &["Ready"], true),
        overview("b", &["Ready", "NotReady"], true),
        overview("c", &["NotReady"], true),
        overview("d", &["Ready"], false),
        { "type": "DataplaneOverview", "mesh": "default", "name": "new", "dataplane": { "networking": { "address": "10.1.0.5" } } },
    ]);
    let list = json!({ "total": 5, "items": overviews, "next": null });
    let line =
        "GET /meshes/default/dataplanes/_overview?tag=kuma.io%2Fservice%3Acart&tag=version%3A1&gateway=true&size=1000";
    cp.answer(line, 200, list);
    let flags = [
        "inspect",
        "dataplanes",
        "--tag",
        "kuma.io/service=cart",
        "--tag",
        "version=1",
        "--gateway",
    ];
    let out = cp.run(&flags).await.done();
    let rows: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split("   ").map(str::trim).filter(|c| !c.is_empty()).collect())
        .collect();
    let expected = [
        "default",
        "a",
        "kuma.io/service=cart",
        "Online",
        "3h",
        "12m",
        "9",
        "1",
        "3h",
        "2025-02-04 09:00:00",
        "4",
        "ca-1",
        "ca-1",
        "2.9.13",
        "1.40.0",
        "coredns: 1.11.3",
        "Envoy rejects listener inbound: no such filter",
    ];
    assert_eq!(rows[0].len(), expected.len());
    assert_eq!(rows[1], expected);
    let states: Vec<&str> = rows[1..].iter().map(|row| row[3]).collect();
    assert_eq!(
        states,
        ["Online", "Partially degraded", "Offline", "Offline", "Offline"]
    );
    assert_eq!(rows[5][4..9], ["never", "never", "0", "0", "never"]);
}

#[tokio::test]
async fn a_proxy_says_why_it_is_not_ready_whom_it_refused_and_what_is_not_served() {
    let cp = ControlPlane::start().await;
    let mut proxy = overview("redis-x7", &["NotReady"], true);
    proxy["labels"] = json!({ "kuma.io/display-name": "redis-1", "kuma.io/zone": "west", "kuma.io/origin": "zone" });
    proxy["problems"] = json!(["networking.inbound[1] is not served: give it another port"]);
    proxy["dataplaneInsight"]["inbounds"] = json!([
        { "port": 8080, "notReady": "connection refused", "denied": "12", "lastDenied": "2025-02-03T11:57:00Z" },
    ]);
    cp.put("/meshes/default/dataplanes/redis-x7", proxy.clone());
    cp.put("/meshes/default/dataplanes/redis-x7/_overview", proxy.clone());
    cp.list(
        "/zones/_overview",
        json!([{ "type": "ZoneOverview", "name": "west", "zone": {}, "zoneInsight": { "subscriptions": [
            { "connectTime": "2025-02-03T09:00:00Z", "disconnectTime": "2025-02-03T11:58:00Z" } ] } }]),
    );
    let list = json!({ "total": 1, "items": [proxy], "next": null });
    cp.answer(
        "GET /meshes/default/dataplanes?name=redis-1&size=1000",
        200,
        list.clone(),
    );
    // By the name that its user gave.
    let out = cp.run(&["inspect", "dataplane", "redis-1"]).await.done();
    for line in [
        "Display name:        redis-1",
        "Identities:          spiffe://default/cart",
        "Notes:\n  the control plane of zone west is offline for 2m: this is as of then",
        "  inbound 8080 is not ready: connection refused",
        "  inbound 8080 refused 12 connections or requests, the last 3m ago: no MeshTrafficPermission allows their clients",
        "  networking.inbound[1] is not served: give it another port",
    ] {
        assert!(out.contains(line), "{line:?} is missing in\n{out}");
    }
    cp.answer("GET /meshes/default/dataplanes/_overview?size=1000", 200, list);
    let table = cp.run(&["inspect", "dataplanes"]).await.done();
    assert!(
        table.contains("inbound 8080 is not ready: connection refused; inbound 8080 refused"),
        "{table}"
    );
}

#[tokio::test]
async fn several_proxies_of_one_name_are_listed() {
    let cp = ControlPlane::start().await;
    let proxy = |core: &str, zone: &str| {
        json!({ "type": "Dataplane", "mesh": "default", "name": core,
                "labels": { "kuma.io/display-name": "redis-1", "kuma.io/zone": zone } })
    };
    let list = json!({ "total": 2, "items": [proxy("redis-1-a", "east"), proxy("redis-1-b", "west")], "next": null });
    cp.answer("GET /meshes/default/dataplanes?name=redis-1&size=1000", 200, list);
    let error = cp.run(&["inspect", "dataplane", "redis-1"]).await.error();
    assert_eq!(error, "several are called redis-1: name one of redis-1-a, redis-1-b");
}

#[tokio::test]
async fn traffic_is_asked_about_by_host_name_too() {
    let cp = ControlPlane::start().await;
    cp.put(
        "/meshes/default/dataplanes/web-1",
        json!({ "type": "Dataplane", "mesh": "default", "name": "web-1" }),
    );
    let mut service = redis(status_in_a_zone());
    service["kri"] = json!("kri_mzsvc_default___redis_");
    cp.list("/meshes/default/meshmultizoneservices", json!([service]));
    let answer = json!({ "matched": [], "policies": [] });
    let line = "GET /meshes/default/dataplanes/web-1/_policies?shadow=false&destination=kri_mzsvc_default___redis_";
    cp.answer(line, 200, answer);
    let flags = ["inspect", "dataplane", "web-1", "--to", "redis.mzsvc.mesh.local"];
    cp.run(&flags).await.done();
    assert!(cp.lines().contains(&line.to_owned()), "{:?}", cp.lines());
}

#[tokio::test]
async fn a_zone_says_that_it_does_not_know_how_the_global_sees_it() {
    let cp = ControlPlane::start().await;
    cp.answer("GET /", 200, json!({ "mode": "zone", "zone": "east" }));
    cp.list(
        "/zones/_overview",
        json!([{ "type": "ZoneOverview", "name": "east", "zone": { "enabled": true } }]),
    );
    let out = cp.run(&["inspect", "zones"]).await.done();
    assert!(out.contains("east   Unknown   never"), "{out}");
    assert!(
        out.contains("east: this is the control plane of the zone itself"),
        "{out}"
    );
    cp.put(
        "/zones/east/_overview",
        json!({ "type": "ZoneOverview", "name": "east", "zone": { "enabled": true } }),
    );
    let one = cp.run(&["inspect", "zone", "east"]).await.done();
    assert!(one.contains("Status:          Unknown"), "{one}");
    let error = cp.run(&["inspect", "zone", "north"]).await.error();
    assert_eq!(error, "there is no zone north: see `meshspan inspect zones`");

    let foreign = json!({ "type": "ZoneIngressOverview", "name": "in-west", "labels": { "kuma.io/origin": "global", "kuma.io/zone": "west" },
        "zoneIngress": { "zone": "west", "networking": { "address": "10.0.0.1", "port": 10001 } } });
    cp.list("/zone-ingresses/_overview", json!([foreign]));
    let out = cp.run(&["inspect", "zone-ingresses"]).await.done();
    assert!(out.contains("in-west   Unknown   never"), "{out}");
    assert!(out.contains("in-west: it is in another zone"), "{out}");
    cp.put("/zone-ingresses/in-west", foreign.clone());
    cp.put("/zone-ingresses/in-west/_overview", foreign);
    let one = cp.run(&["inspect", "zone-ingress", "in-west"]).await.done();
    assert!(one.contains("Listens on:       10.0.0.1:10001"), "{one}");
}

#[tokio::test]
async fn the_global_shows_a_row_a_zone_and_what_is_old() {
    let cp = ControlPlane::start().await;
    let unmet =
        |reason: &str, message: &str| json!({ "type": "T", "status": "False", "reason": reason, "message": message });
    let mut status = status_in_a_zone();
    status["zones"] = json!([
        { "zone": "east", "vips": [{ "ip": "242.0.0.7" }], "addresses": [{ "hostname": "redis.mzsvc.mesh.local" }] },
        { "zone": "west", "vips": [{ "ip": "243.0.0.7" }], "conditions": [unmet("NoZoneIngress", "x"), unmet("NobodyAllowed", "y")] },
    ]);
    cp.put("/meshes/default/meshmultizoneservices/redis", redis(status));
    let mut old = member("redis-x", "west", "Available", 1);
    old["status"]["conditions"] = json!([unmet("ZoneOffline", "old")]);
    cp.list("/meshes/default/meshservices", json!([old]));
    let out = cp.run(&["inspect", "mzsvc", "redis"]).await.done();
    for line in [
        "  east   242.0.0.7   redis.mzsvc.mesh.local   OK",
        "  west   243.0.0.7   -                        NoZoneIngress, NobodyAllowed",
        "  west   redis   -           Available (zone offline)   1/2       Ready",
    ] {
        assert!(out.contains(line), "{line:?} is missing in\n{out}");
    }
}

#[tokio::test]
async fn empty_tables_say_so() {
    let cp = ControlPlane::start().await;
    for (path, line) in [
        ("/zones/_overview", &["inspect", "zones"][..]),
        ("/zone-ingresses/_overview", &["inspect", "zone-ingresses"]),
        ("/zoneegresses/_overview", &["inspect", "zoneegresses"]),
        ("/meshes/default/meshexternalservices", &["inspect", "extsvc"]),
        ("/meshes/default/dataplanes/_overview", &["inspect", "dataplanes"]),
        ("/meshes/default/meshservices", &["inspect", "meshservices"]),
        ("/meshes/default/dataplanes", &["get", "dataplanes"]),
    ] {
        cp.list(path, json!([]));
        let ran = cp.run(line).await;
        assert!(ran.err.starts_with("no "), "{line:?}: {:?}", ran.err);
        assert_eq!(ran.done().lines().count(), 1, "programs read the header only");
    }
}

#[tokio::test]
async fn zones_and_their_ingresses() {
    let cp = ControlPlane::start().await;
    let connected = json!({ "subscriptions": [ {
        "connectTime": "2025-02-03T09:00:00Z", "status": { "lastUpdateTime": "2025-02-03T11:59:30Z", "total": { "responsesSent": "12" } },
        "version": { "kumaCp": { "version": "2.9.13" } }, "config": "{\"store\":{\"type\":\"sqlite\"}}",
    } ] });
    cp.list(
        "/zones/_overview",
        json!([
            { "type": "ZoneOverview", "name": "east", "zone": {}, "zoneInsight": connected },
            { "type": "ZoneOverview", "name": "south", "zone": { "enabled": false }, "zoneInsight": connected },
            { "type": "ZoneOverview", "name": "west", "zone": {} },
        ]),
    );
    let expected = "\
NAME    STATUS     LAST CONNECTED AGO   LAST UPDATED AGO   TOTAL UPDATES   TOTAL ERRORS   ZONE-CP VERSION   BACKEND
east    Online     3h                   30s                12              0              2.9.13            sqlite
south   Disabled   3h                   30s                12              0              2.9.13            sqlite
west    Offline    never                never              0               0              -                 -
";
    assert_eq!(cp.run(&["inspect", "zones"]).await.done(), expected);

    cp.list("/zone-ingresses/_overview", json!([ {
        "type": "ZoneIngressOverview", "name": "ingress-1",
        "zoneIngress": { "zone": "east", "networking": { "address": "10.0.0.1", "port": 10001, "advertisedAddress": "192.0.2.1", "advertisedPort": 10001 } },
        "zoneIngressInsight": { "subscriptions": [ { "connectTime": "2025-02-03T11:59:00Z", "version": { "envoy": { "version": "1.40.0" } } } ] },
        "problems": [ "its address does not resolve" ],
    } ]));
    let out = cp.run(&["inspect", "zone-ingresses"]).await.done();
    assert!(out.contains("ingress-1   Online   1m"), "{out}");
    assert!(
        out.lines()
            .nth(1)
            .unwrap()
            .ends_with("1.40.0          east   192.0.2.1:10001"),
        "{out}"
    );
    assert!(out.ends_with("ingress-1: its address does not resolve\n"), "{out}");
}

#[tokio::test]
async fn zone_egresses() {
    let cp = ControlPlane::start().await;
    let overview = json!({
        "type": "ZoneEgressOverview", "name": "egress-1",
        "zoneEgress": { "zone": "east", "networking": { "address": "10.0.0.1", "port": 10002 } },
        "zoneEgressInsight": { "subscriptions": [ { "connectTime": "2025-02-03T11:59:00Z", "version": { "envoy": { "version": "1.40.0" } } } ] },
    });
    cp.list("/zoneegresses/_overview", json!([overview]));
    for name in ["zoneegresses", "zone-egresses"] {
        let out = cp.run(&["inspect", name]).await.done();
        assert!(out.contains("egress-1   Online   1m"), "{out}");
        assert!(out.ends_with("1.40.0          east   10.0.0.1:10002\n"), "{out}");
    }
    cp.put("/zoneegresses/egress-1", overview.clone());
    // As applied in a zone: the payload does not say which.
    let mut overview = overview;
    overview["zoneEgress"]["zone"] = json!("");
    overview["labels"] = json!({ "kuma.io/zone": "west" });
    cp.put("/zoneegresses/egress-1/_overview", overview);
    cp.list("/zones/_overview", json!([]));
    let one = cp.run(&["inspect", "zoneegress", "egress-1"]).await.done();
    for line in [
        "Zone:            west",
        "Address:         10.0.0.1:10002",
        "Listens on:      10.0.0.1:10002",
        "Status:          Online",
    ] {
        assert!(one.contains(line), "{line:?} is missing in\n{one}");
    }
    cp.answer("GET /zoneegresses/egress-1/clusters", 200, "a::b\n");
    let clusters = ["inspect", "zoneegress", "egress-1", "--type", "clusters"];
    assert_eq!(cp.run(&clusters).await.done(), "a::b\n");
}

fn bank() -> Value {
    json!({
        "type": "MeshExternalService", "mesh": "default", "name": "bank",
        "spec": {
            "match": { "type": "HostnameGenerator", "port": 443, "protocol": "http" },
            "endpoints": [ { "address": "bank.example.com", "port": 8443 }, { "address": "fd00::1", "port": 1, "priority": 1 } ],
            "tls": { "enabled": true },
        },
        "status": {
            "vip": { "ip": "242.0.0.7" },
            "addresses": [ { "hostname": "bank.extsvc.mesh.local", "origin": "HostnameGenerator" } ],
            "conditions": [ { "type": "Reachable", "status": "False", "reason": "NoZoneEgress", "message": "run one" } ],
        },
    })
}

#[tokio::test]
async fn on_global_services_outside_the_mesh_have_the_hostnames_of_the_zones() {
    let cp = ControlPlane::start().await;
    let mut bank = bank();
    bank["status"] = json!({});
    cp.list("/meshes/default/meshexternalservices", json!([bank]));
    let hostnames =
        json!({ "total": 1, "items": [ { "hostname": "bank.extsvc.mesh.local", "zones": [ { "name": "east" } ] } ] });
    cp.answer(
        "GET /meshes/default/meshexternalservices/bank/_hostnames?size=1000",
        200,
        hostnames,
    );
    let out = cp.run(&["inspect", "extsvc"]).await.done();
    assert!(out.contains("bank   -     bank.extsvc.mesh.local (east)"), "{out}");
}

#[tokio::test]
async fn services_outside_the_mesh() {
    let cp = ControlPlane::start().await;
    cp.list("/meshes/default/meshexternalservices", json!([bank()]));
    let expected = "\
NAME   VIP         HOSTNAMES                PORT       ENDPOINTS                                              TLS       CONDITIONS
bank   242.0.0.7   bank.extsvc.mesh.local   443/http   bank.example.com:8443, [fd00::1]:1 (priority 1)   Secured   NoZoneEgress

bank: NoZoneEgress: run one
";
    let squeezed = |text: &str| {
        text.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    let out = cp.run(&["inspect", "meshexternalservices"]).await.done();
    assert_eq!(squeezed(&out), squeezed(expected), "{out}");
    cp.list("/meshes/default/meshservices", json!([]));
    cp.list("/meshes/default/meshmultizoneservices", json!([]));
    let all = cp.run(&["inspect", "services"]).await.done();
    assert!(
        all.contains("Services outside the mesh (MeshExternalService)\nNAME"),
        "{all}"
    );
    cp.put("/meshes/default/meshexternalservices/bank", bank());
    let one = cp.run(&["inspect", "extsvc", "bank"]).await.done();
    for line in [
        "Server name:   bank.example.com",
        "VIP:           242.0.0.7",
        "Reachable   False    NoZoneEgress",
    ] {
        assert!(one.contains(line), "{line:?} is missing in\n{one}");
    }
}

#[tokio::test]
async fn what_is_refused_of_a_zone_is_shown() {
    let cp = ControlPlane::start().await;
    let refused = |name: &str| json!({ "type": "MeshService", "name": format!("MeshService default/{name}"), "message": "ports: no" });
    let older = json!({ "connectTime": "2025-02-03T08:00:00Z", "status": { "rejections": [ refused("old") ] } });
    let newest =
        json!({ "connectTime": "2025-02-03T09:00:00Z", "status": { "rejections": [ refused("a"), refused("b") ] } });
    let west = json!({ "type": "ZoneOverview", "name": "west", "zone": {}, "zoneInsight": { "subscriptions": [ newest, older ] } });
    cp.list("/zones/_overview", json!([west]));
    let out = cp.run(&["inspect", "zones"]).await.done();
    let expected = "west: the global control plane refuses MeshService default/a: ports: no; and 1 more, see `meshspan inspect zone west`";
    assert_eq!(out.lines().last(), Some(expected), "{out}");
    cp.put("/zones/west/_overview", west);
    let out = cp.run(&["inspect", "zone", "west"]).await.done();
    let expected = "\
Refused of it by the global control plane:
  RESOURCE                REASON
  MeshService default/a   ports: no
  MeshService default/b   ports: no
";
    assert!(out.ends_with(expected), "{out}");
}

#[tokio::test]
async fn meshes_are_counted_from_their_resources() {
    let cp = ControlPlane::start().await;
    cp.list(
        "/meshes",
        json!([{ "type": "Mesh", "name": "default" }, { "type": "Mesh", "name": "empty" }]),
    );
    cp.list(
        "/dataplanes/_overview",
        json!([overview("a", &["Ready"], true), overview("d", &["Ready"], false)]),
    );
    cp.list("/meshservices", json!([member("redis", "east", "Available", 2)]));
    cp.list("/meshmultizoneservices", json!([redis(json!({}))]));
    cp.list("/meshexternalservices", json!([bank()]));
    let expected = "\
MESH      MTLS   DATAPLANES   SERVICES   MULTI-ZONE SERVICES   EXTERNAL SERVICES
default   off    1/2          1/1        1                     1
empty     off    0/0          0/0        0                     0
";
    assert_eq!(cp.run(&["inspect", "meshes"]).await.done(), expected);
}

#[tokio::test]
async fn one_proxy_in_full_and_what_its_envoy_says() {
    let cp = ControlPlane::start().await;
    let mut proxy = overview("cart-1", &["Ready", "NotReady"], true);
    proxy["type"] = json!("DataplaneOverview");
    cp.put("/meshes/default/dataplanes/cart-1", proxy.clone());
    cp.put("/meshes/default/dataplanes/cart-1/_overview", proxy);
    let out = cp.run(&["inspect", "dataplane", "cart-1"]).await.done();
    for line in [
        "Status:              Partially degraded",
        "Address:             10.1.0.4",
        "  8081   NotReady   kuma.io/service=cart",
    ] {
        assert!(out.contains(line), "{line:?} is missing in\n{out}");
    }
    cp.answer("GET /meshes/default/dataplanes/cart-1/stats", 200, "cluster.x: 1\n");
    assert_eq!(
        cp.run(&["inspect", "dataplane", "cart-1", "--type", "stats"])
            .await
            .done(),
        "cluster.x: 1\n"
    );
    cp.answer(
        "GET /meshes/default/dataplanes/cart-1/xds?include_eds=true",
        200,
        json!({ "configs": [] }),
    );
    let dump = cp
        .run(&["inspect", "dataplane", "cart-1", "--type", "config-dump"])
        .await
        .done();
    assert_eq!(dump, "{\n  \"configs\": []\n}\n");
    cp.answer(
        "GET /meshes/default/dataplanes/cart-1/_config?shadow=true&include=diff",
        200,
        json!({}),
    );
    let flags = [
        "inspect",
        "dataplane",
        "cart-1",
        "--type",
        "config",
        "--shadow",
        "--include",
        "diff",
    ];
    assert_eq!(cp.run(&flags).await.done(), "{}\n");
    cp.answer("GET /zoneingresses/in-1/clusters", 200, "a::b\n");
    assert_eq!(
        cp.run(&["inspect", "zoneingress", "in-1", "--type", "clusters"])
            .await
            .done(),
        "a::b\n"
    );
    let error = cp.run(&["inspect", "dataplane", "nope"]).await.error();
    assert!(
        error.starts_with("there is no Dataplane named nope in mesh default"),
        "{error}"
    );
    let error = cp
        .run(&["inspect", "dataplane", "cart-1", "--type", "clusters"])
        .await
        .error();
    assert!(error.contains("curl http://127.0.0.1:9901/clusters"), "{error}");
}

#[tokio::test]
async fn a_zone_that_is_offline_says_since_when_and_why() {
    let cp = ControlPlane::start().await;
    let zone = json!({ "type": "ZoneOverview", "name": "west", "zone": {}, "zoneInsight": { "subscriptions": [
        { "connectTime": "2025-02-03T09:00:00Z", "disconnectTime": "2025-02-03T11:58:00Z",
          "disconnectReason": "its token expired", "tokenExpires": "2025-02-03T11:58:00Z" } ] } });
    cp.list("/zones/_overview", json!([zone]));
    cp.put("/zones/west/_overview", zone);
    let note = "not connected since 2025-02-03 11:58:00 (2m ago): its token expired";
    let listed = cp.run(&["inspect", "zones"]).await.done();
    assert!(listed.ends_with(&format!("west: {note}\n")), "{listed}");
    let one = cp.run(&["inspect", "zone", "west"]).await.done();
    assert!(
        one.contains(note) && one.contains("Token until:     2025-02-03 11:58:00"),
        "{one}"
    );
}

#[tokio::test]
async fn the_global_repeats_what_the_zone_found_wrong_with_a_proxy() {
    let cp = ControlPlane::start().await;
    let mut proxy = overview("redis-x7", &["Ready"], true);
    proxy["labels"] = json!({ "kuma.io/display-name": "redis-1" });
    proxy["dataplaneInsight"]["problems"] = json!(["its address does not resolve"]);
    proxy["dataplaneInsight"]["presence"] = json!({ "tokenExpires": "2025-02-04T09:00:00Z" });
    cp.put("/meshes/default/dataplanes/redis-x7", proxy.clone());
    cp.put("/meshes/default/dataplanes/redis-x7/_overview", proxy);
    let shown = cp.run(&["inspect", "dataplane", "redis-x7"]).await.done();
    assert!(shown.contains("Notes:\n  its address does not resolve\n"), "{shown}");
    assert!(shown.contains("Token until:         2025-02-04 09:00:00"), "{shown}");

    let closed = json!({ "type": "ZoneIngressOverview", "name": "in-1", "zoneIngress": { "zone": "east",
        "networking": { "address": "10.0.0.1", "port": 10001 } },
        "zoneIngressInsight": { "problems": ["its name does not resolve"] } });
    cp.list("/zone-ingresses/_overview", json!([closed]));
    let shown = cp.run(&["inspect", "zone-ingresses"]).await.done();
    assert!(
        shown.contains("in-1: it has no public address, so other zones cannot enter here"),
        "{shown}"
    );
    assert!(shown.ends_with("in-1: its name does not resolve\n"), "{shown}");
}
