//! What services say about themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use meshspan_model::{Kind, Resource, ResourceKey};
use serde_json::{Value, json};
use support::*;

/// The condition of a type, as `reason: message`, and whether it is met.
fn condition(sim: &Sim, kind: Kind, name: &str, condition_type: &str) -> Option<(bool, String)> {
    let status = sim.get(kind, "default", name).status.clone().unwrap();
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == condition_type)?;
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    Some((
        text("status") == "True",
        format!("{}: {}", text("reason"), text("message")),
    ))
}

fn multi(sim: &Sim, condition_type: &str) -> (bool, String) {
    condition(sim, Kind::MeshMultiZoneService, "redis", condition_type).expect("the condition is there")
}

fn single(sim: &Sim, condition_type: &str) -> (bool, String) {
    condition(sim, Kind::MeshService, "redis", condition_type).expect("the condition is there")
}

fn permission(name: &str, default: &Value) -> Resource {
    policy(
        Kind::MeshTrafficPermission,
        name,
        json!({ "targetRef": { "kind": "Mesh" }, "rules": [ { "default": default } ] }),
    )
}

fn everybody() -> Value {
    json!({ "allow": [ { "spiffeID": { "type": "Prefix", "value": "spiffe://default" } } ] })
}

#[test]
fn that_nobody_is_allowed_is_said_until_somebody_is() {
    let mut sim = two_zones();
    let expected = "NobodyAllowed: mTLS is on and nothing allows anyone to reach redis in east: \
                    create a MeshTrafficPermission that allows its clients";
    assert_eq!(single(&sim, "TrafficPermitted"), (false, expected.to_owned()));
    assert_eq!(multi(&sim, "TrafficPermitted"), (false, expected.to_owned()));
    sim.put(allow_all());
    sim.settle();
    assert!(single(&sim, "TrafficPermitted").0 && multi(&sim, "TrafficPermitted").0);
    sim.put(permission("nobody", &json!({ "deny": everybody()["allow"] })));
    sim.settle();
    assert!(!single(&sim, "TrafficPermitted").0, "a denial of everybody wins");
    sim.delete(Kind::MeshTrafficPermission, "default", "nobody");
    sim.settle();
    assert!(multi(&sim, "TrafficPermitted").0);
    sim.delete(Kind::MeshTrafficPermission, "default", "allow-all");
    sim.settle();
    assert_eq!(multi(&sim, "TrafficPermitted"), (false, expected.to_owned()));
    sim.put(mesh(false));
    sim.settle();
    let without_mtls = condition(&sim, Kind::MeshService, "redis", "TrafficPermitted");
    assert_eq!(without_mtls, None, "without mTLS everybody is let in");
}

#[test]
fn a_port_or_an_instance_that_lets_nobody_in_is_named() {
    let mut sim = two_zones();
    sim.put(allow_all());
    let mut second = dataplane("redis-2", "redis", "10.1.0.2", "Ready");
    second.labels.insert("canary".into(), "yes".into());
    sim.put(second);
    let nobody = json!({ "targetRef": { "kind": "Dataplane", "labels": { "canary": "yes" } },
                         "rules": [ { "default": { "deny": everybody()["allow"] } } ] });
    sim.put(policy(Kind::MeshTrafficPermission, "closed", nobody));
    sim.settle();
    let (met, message) = single(&sim, "TrafficPermitted");
    assert!(
        !met && message.contains("reach redis in east through redis-2:"),
        "{message}"
    );
}

#[test]
fn that_only_clients_nobody_knows_are_allowed_is_said_while_it_is_so() {
    let mut sim = two_zones();
    let exact = |id: &str| json!({ "allow": [ { "spiffeID": { "type": "Exact", "value": id } } ] });
    sim.put(permission("clients", &exact("spiffe://default/cleint")));
    sim.settle();
    let (met, message) = single(&sim, "TrafficPermitted");
    assert!(!met && message.starts_with("OnlyStrangersAllowed"), "{message}");
    assert!(message.contains("spiffe://default/cleint"), "{message}");
    assert!(!multi(&sim, "TrafficPermitted").0);
    sim.put(dataplane("cleint-1", "cleint", "10.1.0.9", "Ready"));
    sim.settle();
    assert!(single(&sim, "TrafficPermitted").0, "the client exists");
    sim.delete(Kind::Dataplane, "default", "cleint-1");
    sim.settle();
    assert!(single(&sim, "TrafficPermitted").0, "its service may still come back");
    sim.delete(Kind::MeshService, "default", "cleint");
    sim.settle();
    assert!(!single(&sim, "TrafficPermitted").0, "the client is gone");
    sim.put(doc(
        "{type: Dataplane, mesh: default, name: gateway-1, networking: {address: 10.1.0.9, gateway: {type: DELEGATED, tags: {kuma.io/service: cleint}}}}",
    ));
    sim.settle();
    assert!(single(&sim, "TrafficPermitted").0, "a gateway has an identity too");
    sim.delete(Kind::Dataplane, "default", "gateway-1");
    sim.settle();
    assert!(!single(&sim, "TrafficPermitted").0);
    sim.put(permission("others", &exact("spiffe://elsewhere/client")));
    sim.settle();
    let (met, message) = single(&sim, "TrafficPermitted");
    assert!(met, "who is in another trust domain is not known here: {message}");
}

#[test]
fn a_port_that_one_zone_lacks_is_named() {
    let mut sim = two_zones();
    assert!(multi(&sim, "PortsMatched").0);
    let mut west = remote_service("west", "redis", "Available");
    west.spec["ports"] = json!([ { "port": 7000 } ]);
    sim.put(west);
    sim.settle();
    let expected = "PortMissing: port 6379 is not on redis in west, which has 7000: clients are not sent there for it";
    assert_eq!(multi(&sim, "PortsMatched"), (false, expected.to_owned()));
    let (met, message) = multi(&sim, "ZoneIngressesKnown");
    assert!(met && message.starts_with("OnlyLocal"), "{message}");
}

#[test]
fn nothing_is_said_of_where_traffic_goes_that_is_not_projected() {
    let mut sim = two_zones();
    sim.put(remote_service("west", "redis", "Unavailable"));
    sim.settle();
    let (met, message) = multi(&sim, "ServicesAvailable");
    let expected = "SomeUnavailable: no instance is ready: redis in west (start one, or look at its Dataplane); there are ready ones: redis in \
                    east";
    assert_eq!(
        (met, message.as_str()),
        (false, expected),
        "a strategy may send none of it there"
    );
    let (met, message) = multi(&sim, "ZoneIngressesKnown");
    assert!(met, "an address is given");
    assert!(
        message.contains("west at 192.168.1.1:10001; whether these answer is not checked"),
        "{message}"
    );
    let mut nameless = ingress("west", 1);
    nameless.spec["networking"]["advertisedAddress"] = json!("ingress.west.example");
    sim.put(nameless);
    sim.settle();
    assert!(
        multi(&sim, "ZoneIngressesKnown").1.starts_with("NoZoneIngress"),
        "a name that is not resolved is no address"
    );
}

#[test]
fn an_address_that_does_not_resolve_is_said() {
    let mut sim = two_zones();
    let named = |address: &str| {
        let mut redis = dataplane("redis-1", "redis", "10.1.0.1", "Ready");
        redis.spec["networking"]["address"] = json!(address);
        redis
    };
    sim.put(named("redis.example"));
    let mut west = ingress("west", 1);
    west.spec["networking"]["advertisedAddress"] = json!("west.example");
    sim.put(west);
    sim.settle();
    assert_eq!(sim.world.proxy_problems().len(), 0, "nobody has answered yet");
    assert!(single(&sim, "InstancesReady").0);
    let unknown = || Err("no such name".to_owned());
    assert!(sim.world.resolved("redis.example", unknown()) && sim.world.resolved("west.example", unknown()));
    assert!(!sim.world.resolved("redis.example", unknown()), "that is no news");
    sim.settle();
    let problem = "the address \"redis.example\" does not resolve on the host of this control plane (no such name), nobody can \
                   connect there: enter it in DNS or in the hosts file, or set an IP address";
    let expected = format!("NoneReady: no instance of redis in east is ready: redis-1: {problem}");
    assert_eq!(single(&sim, "InstancesReady"), (false, expected));
    assert_eq!(
        sim.get(Kind::MeshService, "default", "redis").spec["state"],
        "Unavailable"
    );
    let (met, message) = multi(&sim, "ZoneIngressesKnown");
    assert!(
        !met && message.starts_with("AddressUnresolved: west: the address \"west.example\""),
        "{message}"
    );
    let problems = sim.world.proxy_problems();
    let of = |kind: Kind, mesh: &str, name: &str| problems[&ResourceKey::new(kind, mesh, name)].concat();
    assert_eq!(of(Kind::Dataplane, "default", "redis-1"), problem);
    assert!(
        of(Kind::ZoneIngress, "", "ingress-west-1").contains("west.example"),
        "{problems:?}"
    );

    for name in ["redis.example", "west.example"] {
        assert!(sim.world.resolved(name, Ok("10.1.0.7".parse().unwrap())));
    }
    sim.settle();
    assert!(single(&sim, "InstancesReady").0 && multi(&sim, "ZoneIngressesKnown").0);
    assert_eq!(sim.world.proxy_problems().len(), 0);

    assert!(sim.world.resolved("redis.example", unknown()));
    sim.settle();
    assert!(single(&sim, "InstancesReady").0, "its last address serves");
    let problems = sim.world.proxy_problems();
    let (_, still) = problems.first_key_value().unwrap();
    assert!(
        still.concat().contains("its last address 10.1.0.7 is used"),
        "{still:?}"
    );
    sim.put(named("10.1.0.1"));
    sim.settle();
    assert_eq!(sim.world.proxy_problems().len(), 0, "nobody uses the name");
}

#[test]
fn an_inbound_whose_tag_is_no_name_is_said_until_a_service_selects_it() {
    let mut sim = two_zones();
    sim.put(dataplane("echo-1", "Echo_default", "10.1.0.9", "Ready"));
    sim.settle();
    let problems = sim.world.proxy_problems();
    let key = ResourceKey::new(Kind::Dataplane, "default", "echo-1");
    assert!(
        problems[&key]
            .concat()
            .starts_with("kuma.io/service \"Echo_default\" cannot be the name"),
        "{problems:?}"
    );
    let selected_by = |selector: Value| {
        let spec = json!({ "selector": selector, "ports": [ { "port": 6379 } ] });
        Resource::new(Kind::MeshService, "default", "echo", spec)
    };
    for selector in [
        json!({ "dataplaneTags": { "kuma.io/service": "Echo_default" } }),
        json!({ "dataplaneRef": { "name": "echo-1" } }),
    ] {
        sim.put(selected_by(selector));
        sim.settle();
        assert_eq!(sim.world.proxy_problems().len(), 0);
        sim.delete(Kind::MeshService, "default", "echo");
        sim.settle();
        assert_eq!(sim.world.proxy_problems().len(), 1);
    }
}

#[test]
fn a_service_says_why_it_is_unavailable() {
    let mut sim = two_zones();
    assert_eq!(
        single(&sim, "InstancesReady"),
        (true, "AllReady: every instance is ready".into())
    );
    sim.put(dataplane("redis-2", "redis", "10.1.0.2", "NotReady"));
    sim.settle();
    let (met, message) = single(&sim, "InstancesReady");
    assert!(
        met && message.starts_with("SomeReady: not ready: redis-2: inbound 6379"),
        "{message}"
    );
    sim.put(dataplane("redis-1", "redis", "10.1.0.1", "NotReady"));
    let gone = json!({ "presence": { "state": "Gone" } });
    sim.put(Resource::new(Kind::DataplaneInsight, "default", "redis-2", gone));
    sim.settle();
    let (met, message) = single(&sim, "InstancesReady");
    let expected = "NoneReady: no instance of redis in east is ready: redis-1: inbound 6379 is not ready, see `meshspan inspect \
                    dataplane redis-1`; redis-2: its proxy was lost and did not come back";
    assert_eq!((met, message.as_str()), (false, expected));
    for name in ["redis-1", "redis-2"] {
        sim.delete(Kind::Dataplane, "default", name);
    }
    sim.settle();
    assert!(single(&sim, "InstancesReady").1.starts_with("NoInstance"));
}

#[test]
fn an_address_outside_of_the_range_is_said() {
    let mut sim = two_zones();
    let none = condition(&sim, Kind::MeshMultiZoneService, "redis", "VipAllocated");
    assert_eq!(none, None);
    let mut service = sim.get(Kind::MeshMultiZoneService, "default", "redis").clone();
    let key = service.key();
    service.status.as_mut().unwrap()["vips"] = json!([ { "ip": "242.0.0.9" } ]);
    sim.write(key, Some(service));
    sim.settle();
    let (met, message) = multi(&sim, "VipAllocated");
    assert!(
        !met && message.starts_with("OutsideRange: the address 242.0.0.9 was given"),
        "{message}"
    );
    assert!(message.contains("KUMA_IPAM_MESH_MULTI_ZONE_SERVICE_CIDR"), "{message}");
}

#[test]
fn a_host_inside_of_a_range_is_said_where_that_matters() {
    let mut sim = two_zones();
    sim.put(dataplane("redis-1", "redis", "241.9.9.9", "Ready"));
    sim.settle();
    let (met, message) = single(&sim, "VipAllocated");
    assert!(
        !met && message.starts_with("RangeOverlaps: the Dataplane redis-1 has the address 241.9.9.9"),
        "{message}"
    );
    let other_range = condition(&sim, Kind::MeshMultiZoneService, "redis", "VipAllocated");
    assert_eq!(other_range, None);
    sim.put(dataplane("redis-1", "redis", "10.1.0.1", "Ready"));
    sim.settle();
    assert_eq!(condition(&sim, Kind::MeshService, "redis", "VipAllocated"), None);
}
