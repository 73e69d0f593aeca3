//! Confs, and what becomes of the Envoy messages that exist without them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::cluster::common_lb_config::LocalityConfigSpecifier;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{LbConfig, LbPolicy, ring_hash_lb_config};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy as route;
use envoy_types::pb::envoy::r#type::v3::hash_policy as connection;
use meshspan_model::{ServiceIdentity, ServiceKind};
use meshspan_policy::Confs;
use meshspan_world::view::{
    Client, Destination, DestinationKey, DestinationPolicies, Endpoint, Locality, Protocol, Reach,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::destination::{eds_cluster, load_assignment};
use crate::http;

/// An instance of the own zone, named by its port.
fn instance(port: u32, tags: &[(&str, &str)]) -> Endpoint {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Endpoint {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port,
        ready: true,
        tags: Arc::new(tags.collect()),
    }
}

fn zone(name: &str, endpoints: Vec<Endpoint>) -> Locality {
    Locality {
        zone: name.to_owned(),
        priority: u32::from(name != "east"),
        reach: if name == "east" { Reach::Direct } else { Reach::Ingress },
        endpoints,
    }
}

/// A service as east sees it.
fn destination(kind: ServiceKind, localities: Vec<Locality>) -> Destination {
    Destination {
        key: DestinationKey {
            service: ServiceIdentity {
                kind,
                mesh: "default".to_owned(),
                zone: String::new(),
                namespace: String::new(),
                name: "backend".to_owned(),
            },
            section: "http".to_owned(),
        },
        zone: "east".to_owned(),
        port: 80,
        vip: None,
        protocol: Protocol::Http,
        tls: None,
        localities,
        egress: None,
    }
}

fn in_three_zones() -> Vec<Locality> {
    vec![
        zone("east", vec![instance(1, &[]), instance(2, &[])]),
        zone("south", vec![instance(3, &[]), instance(4, &[]), instance(5, &[])]),
        zone("west", vec![instance(6, &[])]),
    ]
}

fn conf(conf: Value) -> Conf {
    serde_json::from_value(conf).unwrap()
}

/// The localities, as `zone[/sub_zone] p<priority> w<weight>: ports`, and the overprovisioning factor.
fn arranged(destination: &Destination, client: &[(&str, &str)], awareness: Value) -> (Vec<String>, u32) {
    let client = client
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let policies = DestinationPolicies {
        client: Client { tags: client.collect() },
        ..Default::default()
    };
    let to = Towards {
        destination,
        policies: &policies,
        source: None,
    };
    let mut assignment = load_assignment("backend".to_owned(), destination.localities.iter());
    let conf = conf(json!({ "localityAwareness": awareness }));
    MeshLoadBalancingStrategy::endpoints(Some(&conf), &to, &mut assignment);
    let ports = |endpoint: &envoy_types::pb::envoy::config::endpoint::v3::LbEndpoint| {
        let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
            panic!("an endpoint has an address");
        };
        let text = format!("{:?}", endpoint.address);
        let (_, port) = text.split_once("PortValue(").unwrap();
        port.split_once(')').unwrap().0.to_owned()
    };
    let shown = assignment.endpoints.iter().map(|locality| {
        let name = locality.locality.as_ref().unwrap();
        let place = match name.sub_zone.as_str() {
            "" => name.zone.clone(),
            sub_zone => format!("{}/{sub_zone}", name.zone),
        };
        let ports: Vec<_> = locality.lb_endpoints.iter().map(ports).collect();
        let weight = locality.load_balancing_weight.unwrap().value;
        format!("{place} p{} w{weight}: {}", locality.priority, ports.join(" "))
    });
    let factor = assignment.policy.unwrap().overprovisioning_factor.unwrap().value;
    (shown.collect(), factor)
}

fn factor(percentage: Value) -> u32 {
    let awareness = json!({ "crossZone": { "failoverThreshold": { "percentage": percentage } } });
    arranged(
        &destination(ServiceKind::MeshMultiZoneService, in_three_zones()),
        &[],
        awareness,
    )
    .1
}

#[test]
fn zones_get_the_priority_of_their_tier_and_equal_weight() {
    let spans = destination(ServiceKind::MeshMultiZoneService, in_three_zones());
    let only_west = json!({ "crossZone": { "failover": [{ "to": { "type": "Only", "zones": ["west"] } }] } });
    assert_eq!(
        arranged(&spans, &[], only_west),
        (vec!["east p0 w1: 1 2".to_owned(), "west p1 w1: 6".to_owned()], 200)
    );
    let in_turn = json!([
        { "to": { "type": "Only", "zones": ["west"] } },
        { "from": { "zones": ["west"] }, "to": { "type": "None" } },
        { "to": { "type": "Any" } },
    ]);
    assert_eq!(
        arranged(&spans, &[], json!({ "crossZone": { "failover": in_turn } })).0,
        ["east p0 w1: 1 2", "south p2 w1: 3 4 5", "west p1 w1: 6"]
    );
    assert_eq!(
        arranged(&spans, &[], json!({ "disabled": true })).0,
        ["east p0 w1: 1 2", "south p0 w1: 3 4 5", "west p0 w1: 6"]
    );
}

#[test]
fn nobody_is_left_where_all_that_there_is_is_excluded() {
    let remote = destination(
        ServiceKind::MeshMultiZoneService,
        vec![zone("west", vec![instance(6, &[])])],
    );
    let none = json!({ "crossZone": { "failover": [{ "to": { "type": "None" } }] } });
    assert_eq!(arranged(&remote, &[], none).0, [""; 0]);
    let from_east = json!([{ "from": { "zones": ["east"] }, "to": { "type": "Any" } }]);
    assert_eq!(
        arranged(&remote, &[], json!({ "crossZone": { "failover": from_east } })).0,
        ["west p1 w1: 6"],
        "our zone is known without an instance in it"
    );
}

#[test]
fn a_service_of_one_zone_keeps_its_endpoints() {
    let none = json!({ "crossZone": {
        "failover": [{ "to": { "type": "None" } }],
        "failoverThreshold": { "percentage": 100 },
    } });
    for (localities, expected) in [
        (vec![zone("west", vec![instance(6, &[])])], "west p1 w1: 6"),
        (vec![zone("east", vec![instance(1, &[])])], "east p0 w1: 1"),
    ] {
        let one_zone = destination(ServiceKind::MeshService, localities);
        assert_eq!(arranged(&one_zone, &[], none.clone()), (vec![expected.to_owned()], 200));
    }
}

#[test]
fn a_threshold_becomes_its_inverse_rounded() {
    for percentage in 1..=100u32 {
        let expected = (20_000 / percentage).div_ceil(2);
        assert_eq!(factor(json!(percentage)), expected, "{percentage}");
    }
    assert_eq!(factor(json!(70)), 143);
    assert_eq!(factor(json!("33.3")), 300);
    assert_eq!(factor(json!("0.5")), 20_000);
    assert_eq!(factor(json!("0.00000000001")), u32::MAX);
    let without = json!({ "crossZone": {} });
    let spans = destination(ServiceKind::MeshMultiZoneService, in_three_zones());
    assert_eq!(arranged(&spans, &[], without).1, 200);
}

#[test]
fn instances_are_grouped_by_the_first_tag_that_they_share() {
    const CLIENT: [(&str, &str); 2] = [("node", "n1"), ("rack", "r1")];
    let close = || {
        vec![
            instance(1, &[("node", "n1"), ("rack", "r1")]),
            instance(2, &[("node", "n2"), ("rack", "r1")]),
            instance(3, &[("node", "n2"), ("rack", "r2")]),
            instance(4, &[]),
        ]
    };
    let tags = json!({ "localZone": { "affinityTags": [{ "key": "node" }, { "key": "hall" }, { "key": "rack" }] } });
    for kind in [ServiceKind::MeshService, ServiceKind::MeshMultiZoneService] {
        let local = destination(kind, vec![zone("east", close())]);
        assert_eq!(
            arranged(&local, &CLIENT, tags.clone()).0,
            ["east/node=n1 p0 w900: 1", "east/rack=r1 p0 w9: 2", "east p0 w1: 3 4"],
            "the client has no hall, the weights count it all the same"
        );
    }
    let weighted =
        json!({ "localZone": { "affinityTags": [{ "key": "node", "weight": 5 }, { "key": "rack", "weight": 3 }] } });
    let spans = destination(
        ServiceKind::MeshMultiZoneService,
        vec![
            zone("east", close()),
            zone("west", vec![instance(6, &[("node", "n1")])]),
        ],
    );
    assert_eq!(
        arranged(&spans, &CLIENT, weighted.clone()).0,
        [
            "east/node=n1 p0 w5: 1",
            "east/rack=r1 p0 w3: 2",
            "east p0 w1: 3 4",
            "west p1 w1: 6"
        ],
        "a preference within the zone does not keep traffic in it"
    );
    assert_eq!(
        arranged(&spans, &[("node", "n2")], weighted).0,
        ["east/node=n2 p0 w5: 2 3", "east p0 w1: 1 4", "west p1 w1: 6"]
    );
}

#[test]
fn a_balancer_becomes_a_policy_of_envoy_and_zones_keep_their_weights() {
    let chosen = |balancer: Value| {
        let mut parts = ClusterParts {
            cluster: eds_cluster("backend".to_owned()),
            ..Default::default()
        };
        let (destination, policies) = (
            destination(ServiceKind::MeshMultiZoneService, Vec::new()),
            Default::default(),
        );
        let to = Towards {
            destination: &destination,
            policies: &policies,
            source: None,
        };
        MeshLoadBalancingStrategy::cluster(Some(&conf(json!({ "loadBalancer": balancer }))), &to, &mut parts);
        let common = parts.cluster.common_lb_config.unwrap();
        assert!(matches!(
            common.locality_config_specifier,
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
        ));
        (
            LbPolicy::try_from(parts.cluster.lb_policy).unwrap(),
            parts.cluster.lb_config,
        )
    };
    assert_eq!(
        chosen(json!({ "type": "RoundRobin", "roundRobin": {} })),
        (LbPolicy::RoundRobin, None)
    );
    assert_eq!(
        chosen(json!({ "type": "Random", "random": {} })),
        (LbPolicy::Random, None)
    );
    for (name, policy) in [
        ("LeastRequest", LbPolicy::LeastRequest),
        ("RingHash", LbPolicy::RingHash),
        ("Maglev", LbPolicy::Maglev),
    ] {
        assert_eq!(chosen(json!({ "type": name })), (policy, None));
    }
    let settings = json!({ "choiceCount": 4, "activeRequestBias": "1.5" });
    let (_, least_request) = chosen(json!({ "type": "LeastRequest", "leastRequest": settings }));
    let Some(LbConfig::LeastRequestLbConfig(least_request)) = least_request else {
        panic!("{least_request:?}");
    };
    assert_eq!(least_request.choice_count.unwrap().value, 4);
    assert!((least_request.active_request_bias.unwrap().default_value - 1.5).abs() < f64::EPSILON);

    let settings = json!({ "tableSize": 251 });
    let (_, maglev) = chosen(json!({ "type": "Maglev", "maglev": settings, "ringHash": { "minRingSize": 5 } }));
    assert!(matches!(maglev, Some(LbConfig::MaglevLbConfig(maglev)) if maglev.table_size.unwrap().value == 251));

    for (settings, min, max, function) in [
        (json!({}), 1024, 8_000_000, ring_hash_lb_config::HashFunction::XxHash),
        (
            json!({ "minRingSize": 10, "maxRingSize": 20, "hashFunction": "MurmurHash2" }),
            10,
            20,
            ring_hash_lb_config::HashFunction::MurmurHash2,
        ),
        (
            json!({ "maxRingSize": 20 }),
            20,
            20,
            ring_hash_lb_config::HashFunction::XxHash,
        ),
        (
            json!({ "minRingSize": 30, "maxRingSize": 20, "hashFunction": "XXHash" }),
            20,
            20,
            ring_hash_lb_config::HashFunction::XxHash,
        ),
    ] {
        let (_, ring_hash) = chosen(json!({ "type": "RingHash", "ringHash": settings }));
        let Some(LbConfig::RingHashLbConfig(ring_hash)) = ring_hash else {
            panic!("{ring_hash:?}");
        };
        assert_eq!(ring_hash.minimum_ring_size.unwrap().value, min);
        assert_eq!(ring_hash.maximum_ring_size.unwrap().value, max);
        assert_eq!(ring_hash.hash_function(), function);
    }
}

fn all_hash_policies() -> Value {
    json!([
        { "type": "Header", "terminal": true, "header": { "name": "X-User" } },
        { "type": "Cookie", "cookie": { "name": "session", "ttl": "90s", "path": "/cart" } },
        { "type": "Connection", "connection": { "sourceIP": false } },
        { "type": "QueryParameter", "queryParameter": { "name": "User" } },
        { "type": "FilterState", "filterState": { "key": "a.b" } },
        { "type": "Connection", "connection": { "sourceIP": true } },
    ])
}

/// The newer and the older places.
fn with_hash_policies(policies: &Value) -> [Conf; 3] {
    [
        json!({ "hashPolicies": policies }),
        json!({ "loadBalancer": { "type": "RingHash", "ringHash": { "hashPolicies": policies } } }),
        json!({ "loadBalancer": { "type": "Maglev", "maglev": { "hashPolicies": policies } } }),
    ]
    .map(conf)
}

fn towards<'a>(destination: &'a Destination, policies: &'a DestinationPolicies) -> Towards<'a> {
    Towards {
        destination,
        policies,
        source: None,
    }
}

#[test]
fn every_route_hashes_what_the_policies_say_in_their_order() {
    let (destination, policies) = (
        destination(ServiceKind::MeshMultiZoneService, Vec::new()),
        Default::default(),
    );
    let hashed = |conf: &Conf| {
        let confs = Confs::new();
        let mut chain = http::outbound_chain("listener", "backend", "backend", Protocol::Http, &confs);
        let parts = &mut chain.routes[0];
        MeshLoadBalancingStrategy::route(Some(conf), &towards(&destination, &policies), parts);
        parts.action().unwrap().hash_policy.clone()
    };
    for conf in with_hash_policies(&all_hash_policies()) {
        let found = hashed(&conf);
        assert_eq!(
            found.iter().map(|policy| policy.terminal).collect::<Vec<_>>(),
            [true, false, false, false, false]
        );
        let specifiers: Vec<_> = found
            .into_iter()
            .map(|policy| policy.policy_specifier.unwrap())
            .collect();
        let cookie = route::Cookie {
            name: "session".to_owned(),
            ttl: crate::wkt::time(std::time::Duration::from_secs(90)),
            path: "/cart".to_owned(),
            ..Default::default()
        };
        assert_eq!(
            specifiers,
            [
                route::PolicySpecifier::Header(route::Header {
                    header_name: "x-user".to_owned(),
                    ..Default::default()
                }),
                route::PolicySpecifier::Cookie(cookie),
                route::PolicySpecifier::QueryParameter(route::QueryParameter {
                    name: "User".to_owned()
                }),
                route::PolicySpecifier::FilterState(route::FilterState { key: "a.b".to_owned() }),
                route::PolicySpecifier::ConnectionProperties(route::ConnectionProperties { source_ip: true }),
            ]
        );
    }
    let nested = json!({ "hashPolicies": [{ "type": "Header", "header": { "name": "nested" } }] });
    let both = conf(json!({
        "loadBalancer": { "type": "RingHash", "ringHash": nested, "maglev": nested },
        "hashPolicies": [],
    }));
    assert_eq!(hashed(&both), [], "the newer place counts, an empty list too");
    let other = conf(json!({ "loadBalancer": { "type": "Random", "ringHash": nested } }));
    assert_eq!(hashed(&other), [], "those of an algorithm that is not chosen do not");
}

#[test]
fn connections_hash_the_first_thing_that_they_have() {
    let (destination, policies) = (
        destination(ServiceKind::MeshMultiZoneService, Vec::new()),
        Default::default(),
    );
    let hashed = |conf: &Conf| {
        let mut chain = Chain::Tcp(Box::default());
        MeshLoadBalancingStrategy::outbound(Some(conf), &towards(&destination, &policies), &mut chain);
        let Chain::Tcp(chain) = chain else { unreachable!() };
        let hashed = chain.proxy.hash_policy.into_iter();
        hashed
            .map(|policy| policy.policy_specifier.unwrap())
            .collect::<Vec<_>>()
    };
    for conf in with_hash_policies(&all_hash_policies()) {
        assert_eq!(
            hashed(&conf),
            [connection::PolicySpecifier::FilterState(connection::FilterState {
                key: "a.b".to_owned()
            })]
        );
    }
    for conf in with_hash_policies(&json!([{ "type": "Connection", "connection": { "sourceIP": true } }])) {
        assert_eq!(
            hashed(&conf),
            [connection::PolicySpecifier::SourceIp(connection::SourceIp {})]
        );
    }
    for conf in with_hash_policies(&json!([{ "type": "Header", "header": { "name": "x-user" } }])) {
        assert_eq!(hashed(&conf), []);
    }
}

proptest! {
    /// What Envoy demands of any endpoint list.
    #[test]
    fn localities_are_named_once_and_their_weights_add_up(
        tags in prop::collection::vec(("[ab]", prop::option::of(any::<u32>())), 0..12),
        instances in prop::collection::btree_set((1..9u32, prop::sample::select(vec!["a", "b"]), "[xy]"), 0..6),
        value in "[xy]",
    ) {
        let instances = instances.iter().map(|(port, key, value)| instance(*port, &[(key, value)])).collect();
        let spans = destination(
            ServiceKind::MeshMultiZoneService,
            vec![zone("east", instances), zone("west", vec![instance(9, &[])])],
        );
        let tags: Vec<_> = tags.iter().map(|(key, weight)| json!({ "key": key, "weight": weight })).collect();
        let awareness = json!({ "localZone": { "affinityTags": tags } });
        let (shown, _) = arranged(&spans, &[("a", &value), ("b", &value)], awareness);
        let mut names = std::collections::BTreeSet::new();
        let mut sum = 0u64;
        for locality in &shown {
            let (name, rest) = locality.split_once(" p").unwrap();
            prop_assert!(names.insert(name), "{:?}", shown);
            let weight: u64 = rest.split_once(" w").unwrap().1.split_once(':').unwrap().0.parse().unwrap();
            prop_assert!(weight > 0);
            if rest.starts_with('0') {
                sum += weight;
            }
        }
        prop_assert!(sum <= u64::from(u32::MAX), "{:?}", shown);
    }
}
