use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_envoy::destination_endpoints;
use meshspan_model::ServiceKind;
use meshspan_model::policy::PolicyKind;
use meshspan_world::view::{Destination, DestinationPolicies, Endpoint, Locality, Protocol};
use serde_json::{Value, json};

use crate::support::app::{App, closed_port};
use crate::support::client::get_with;
use crate::support::envoy::eventually;
use crate::support::inputs::*;
use crate::support::proxies::{Backend, Client, backend};

const ZONES: [&str; 4] = ["east", "north", "south", "west"];

/// One application a zone; the client is in the first.
struct Zones {
    apps: BTreeMap<&'static str, App>,
}

impl Zones {
    fn start() -> Self {
        Self {
            apps: ZONES.map(|zone| (zone, App::line(zone))).into(),
        }
    }

    /// The service while the zones of `down` are not ready.
    fn without(&self, down: &[&str]) -> Destination {
        let localities = self.apps.iter().map(|(zone, app)| {
            let endpoint = if down.contains(zone) {
                unready(app.port())
            } else {
                ready(app.port())
            };
            locality(zone, vec![endpoint])
        });
        plain(Protocol::Tcp, localities.collect())
    }
}

fn locality(zone: &str, endpoints: Vec<Endpoint>) -> Locality {
    if zone == "east" {
        own_zone(endpoints)
    } else {
        other_zone(zone, endpoints)
    }
}

fn plain(protocol: Protocol, localities: Vec<Locality>) -> Destination {
    with_localities(destination("backend", "main", protocol), localities)
}

fn strategy(conf: Value) -> DestinationPolicies {
    policies([(PolicyKind::MeshLoadBalancingStrategy, conf)])
}

fn awareness(awareness: Value) -> DestinationPolicies {
    strategy(json!({ "localityAwareness": awareness }))
}

fn failover(rules: Value) -> DestinationPolicies {
    awareness(json!({ "crossZone": { "failover": rules } }))
}

/// How many of `count` connections each application answers; those that none does are counted under "".
fn answers(client: &Client, count: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..count {
        *answers.entry(client.ask_line().unwrap_or_default()).or_default() += 1;
    }
    answers
}

/// The applications that answer, as `a b`; nothing if none does.
fn who(client: &Client) -> String {
    answers(client, 20).into_keys().collect::<Vec<_>>().join(" ")
}

/// Waits until shares of the traffic, in percent and by application, are about these; a share of 0 or 100 is exact.
fn eventually_about(client: &Client, expected: &[(&str, usize)]) {
    const COUNT: usize = 400;
    eventually(&format!("shares of {expected:?}"), || {
        let answers = answers(client, COUNT);
        let fits = |(name, percent): &(&str, usize)| {
            let count = answers.get(*name).copied().unwrap_or(0);
            match percent {
                0 => count == 0,
                100 => count == COUNT,
                _ => (count * 100 / COUNT).abs_diff(*percent) <= 10,
            }
        };
        expected.iter().all(fits).then_some(())
    });
}

/// Takes zones down one after the other. Before and after each, `expected` says who answers.
fn as_zones_go(policies: &DestinationPolicies, going: &[&str], expected: &[&str]) {
    let zones = Zones::start();
    let client = Client::start_with(&zones.without(&[]), policies);
    assert_eq!(going.len() + 1, expected.len());
    for (gone, expected) in expected.iter().enumerate() {
        if gone > 0 {
            client
                .envoy
                .set_endpoints(&destination_endpoints(&zones.without(&going[..gone]), policies));
        }
        eventually(&format!("only {expected:?} without {:?}", &going[..gone]), || {
            (who(&client) == **expected).then_some(())
        });
    }
}

#[test]
fn without_rules_all_other_zones_follow_the_own_one() {
    let expected = ["east", "north south west", "south west"];
    as_zones_go(&policies([]), &["east", "north"], &expected);
    let closest = awareness(json!({ "localZone": { "affinityTags": [{ "key": "node" }] } }));
    as_zones_go(&closest, &["east", "north"], &expected);
}

#[test]
fn only_the_listed_zones_take_over_in_the_order_of_the_rules() {
    let rules = json!([
        { "from": { "zones": ["south"] }, "to": { "type": "Any" } },
        { "to": { "type": "Only", "zones": ["west"] } },
        { "from": { "zones": ["east"] }, "to": { "type": "Only", "zones": ["north", "west"] } },
    ]);
    // South is accepted by no rule for clients in east.
    as_zones_go(
        &failover(rules),
        &["east", "west", "north"],
        &["east", "west", "north", ""],
    );
}

#[test]
fn any_zone_but_the_listed_ones_takes_over() {
    let rules = json!([{ "to": { "type": "AnyExcept", "zones": ["south"] } }]);
    as_zones_go(
        &failover(rules),
        &["east", "north", "west"],
        &["east", "north west", "west", ""],
    );
}

#[test]
fn any_takes_what_the_rules_before_it_left() {
    let rules = json!([{ "to": { "type": "Only", "zones": ["south"] } }, { "to": { "type": "Any" } }]);
    as_zones_go(
        &failover(rules),
        &["east", "south", "west"],
        &["east", "south", "north west", "north"],
    );
}

#[test]
fn none_keeps_traffic_in_its_zone() {
    let rules = json!([{ "from": { "zones": ["east"] }, "to": { "type": "None" } }]);
    as_zones_go(&failover(rules), &["east"], &["east", ""]);
}

#[test]
fn a_zone_without_an_instance_sends_to_the_first_that_takes_over() {
    let zones = Zones::start();
    let rules = json!([
        { "from": { "zones": ["east"] }, "to": { "type": "Only", "zones": ["south"] } },
        { "to": { "type": "Any" } },
    ]);
    let (mut service, policies) = (zones.without(&[]), failover(rules));
    service.localities.retain(|locality| locality.zone != "east");
    let client = Client::start_with(&service, &policies);
    assert_eq!(who(&client), "south");
}

#[test]
fn disabled_spreads_traffic_over_all_zones_equally() {
    let zones = Zones::start();
    let client = Client::start_with(&zones.without(&[]), &awareness(json!({ "disabled": true })));
    eventually_about(&client, &ZONES.map(|zone| (zone, 25)));
}

#[test]
fn what_is_said_about_zones_does_not_empty_a_service_of_one_zone() {
    let west = App::line("west");
    let mut service = plain(Protocol::Tcp, vec![locality("west", vec![ready(west.port())])]);
    service.key.service.kind = ServiceKind::MeshService;
    "west".clone_into(&mut service.key.service.zone);
    let client = Client::start_with(&service, &failover(json!([{ "to": { "type": "None" } }])));
    assert_eq!(who(&client), "west");
}

#[test]
fn traffic_leaves_below_the_threshold() {
    let (east, west) = ([(); 10].map(|()| App::line("east")), App::line("west"));
    let with = |healthy: usize| {
        let instances = east.iter().enumerate().map(|(index, app)| {
            if index < healthy {
                ready(app.port())
            } else {
                unready(app.port())
            }
        });
        let localities = vec![
            locality("east", instances.collect()),
            locality("west", vec![ready(west.port())]),
        ];
        plain(Protocol::Tcp, localities)
    };
    // For each percentage, how much stays with so many of ten.
    for (percentage, stays) in [
        (json!(1), vec![(1, 100), (0, 0)]),
        (json!(20), vec![(2, 100), (1, 50)]),
        (json!(50), vec![(5, 100), (3, 60)]),
        (json!(70), vec![(7, 100), (6, 85), (3, 42)]),
        (json!("99.9"), vec![(10, 100), (8, 80)]),
        (json!(100), vec![(10, 100), (8, 80), (5, 50)]),
    ] {
        let policies = awareness(json!({ "crossZone": { "failoverThreshold": { "percentage": percentage } } }));
        let client = Client::start_with(&with(10), &policies);
        for (healthy, stays) in stays {
            client
                .envoy
                .set_endpoints(&destination_endpoints(&with(healthy), &policies));
            eventually_about(&client, &[("east", stays), ("west", 100 - stays)]);
        }
    }
}

fn tagged(endpoint: Endpoint, tags: &[(&str, &str)]) -> Endpoint {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Endpoint {
        tags: Arc::new(tags.collect()),
        ..endpoint
    }
}

#[test]
fn instances_that_share_a_tag_with_the_client_are_preferred() {
    let names = ["same-node", "same-rack", "elsewhere"];
    let apps = names.map(App::line);
    let west = App::line("west");
    let without = |down: &[&str]| {
        let tags: [&[(&str, &str)]; 3] = [
            &[("node", "n1"), ("rack", "r1")],
            &[("node", "n2"), ("rack", "r1")],
            &[("node", "n3"), ("rack", "r2")],
        ];
        let instances = names.iter().zip(&apps).zip(tags).map(|((name, app), tags)| {
            let endpoint = if down.contains(name) {
                unready(app.port())
            } else {
                ready(app.port())
            };
            tagged(endpoint, tags)
        });
        let localities = vec![
            locality("east", instances.collect()),
            locality("west", vec![ready(west.port())]),
        ];
        plain(Protocol::Tcp, localities)
    };
    let mut policies = awareness(json!({
        "localZone": { "affinityTags": [{ "key": "node" }, { "key": "rack" }] },
        "crossZone": { "failoverThreshold": { "percentage": 10 } },
    }));
    policies.client.tags = [("node", "n1"), ("rack", "r1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let client = Client::start_with(&without(&[]), &policies);
    eventually_about(&client, &[("same-node", 90), ("same-rack", 9), ("west", 0)]);
    for (down, expected) in [
        (&names[..1], &[("same-rack", 90), ("elsewhere", 10), ("west", 0)][..]),
        (&names[..2], &[("elsewhere", 100)]),
        (&names[..], &[("west", 100)]),
    ] {
        client
            .envoy
            .set_endpoints(&destination_endpoints(&without(down), &policies));
        eventually_about(&client, expected);
    }
}

/// The load balancers that hash, with what they hash in the newer or the older place.
fn hashing(hash_policies: &Value) -> [DestinationPolicies; 2] {
    let maglev = json!({ "tableSize": 5003, "hashPolicies": hash_policies });
    [
        json!({ "loadBalancer": { "type": "RingHash", "ringHash": {} }, "hashPolicies": hash_policies }),
        json!({ "loadBalancer": { "type": "Maglev", "maglev": maglev } }),
    ]
    .map(strategy)
}

/// HTTP applications behind the sidecars of one service.
struct Backends {
    _apps: Vec<App>,
    sidecars: Vec<Backend>,
}

impl Backends {
    fn start(names: &[&str]) -> Self {
        let apps: Vec<_> = names.iter().map(|name| App::http(name)).collect();
        let sidecars = apps
            .iter()
            .map(|app| Backend::start(app.port(), Protocol::Http, |_| {}))
            .collect();
        Self { _apps: apps, sidecars }
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.sidecars.iter().map(|sidecar| ready(sidecar.port())).collect()
    }

    /// A client in the zone of all of them.
    fn client(&self, policies: &DestinationPolicies) -> Client {
        let service = backend(Protocol::Http, vec![own_zone(self.endpoints())]);
        Client::start_with(&service, policies)
    }
}

/// The application that answers a request.
fn ask(client: &Client, path: &str, headers: &[(&str, &str)]) -> String {
    let response = get_with(client.address, path, headers).unwrap();
    assert_eq!(response.status, 200, "{}", response.body);
    response.body.lines().next().unwrap().to_owned()
}

/// Asks for each of many values, several times: each value has its application, and all together have `expected`.
fn assert_sticky(expected: usize, ask: impl Fn(&str) -> String) {
    let mut applications = BTreeSet::new();
    for value in 0..16 {
        let value = format!("value-{value}");
        let first = ask(&value);
        for _ in 0..4 {
            assert_eq!(ask(&value), first, "{value}");
        }
        applications.insert(first);
    }
    assert_eq!(applications.len(), expected, "{applications:?}");
}

#[test]
fn requests_with_equal_values_go_to_the_same_instance() {
    let backends = Backends::start(&["a", "b"]);
    let header = json!({ "type": "Header", "header": { "name": "X-User" } });
    let terminal = json!({ "type": "Header", "terminal": true, "header": { "name": "x-user" } });
    let parameter = json!({ "type": "QueryParameter", "queryParameter": { "name": "user" } });
    let cookie = json!({ "type": "Cookie", "cookie": { "name": "session" } });
    let source = json!({ "type": "Connection", "connection": { "sourceIP": true } });

    for policies in hashing(&json!([header])) {
        let client = backends.client(&policies);
        assert_sticky(2, |value| ask(&client, "/", &[("x-user", value)]));
    }
    for policies in hashing(&json!([terminal, parameter])) {
        let client = backends.client(&policies);
        assert_sticky(2, |value| ask(&client, "/", &[("x-user", value)]));
        assert_sticky(2, |value| ask(&client, &format!("/?user={value}"), &[]));
        // The header ends the list.
        assert_sticky(1, |value| {
            ask(&client, &format!("/?user={value}"), &[("x-user", "one")])
        });
    }
    let client = backends.client(&hashing(&json!([header, parameter]))[0]);
    assert_sticky(2, |value| {
        ask(&client, &format!("/?user={value}"), &[("x-user", "one")])
    });
    let client = backends.client(&hashing(&json!([cookie]))[0]);
    assert_sticky(2, |value| ask(&client, "/", &[("cookie", &format!("session={value}"))]));
    let client = backends.client(&hashing(&json!([source]))[0]);
    assert_sticky(1, |value| ask(&client, "/", &[("x-user", value)]));
}

#[test]
fn a_cookie_is_made_for_clients_without_one() {
    let backends = Backends::start(&["a", "b"]);
    let cookie = json!({ "name": "session", "ttl": "1h", "path": "/cart" });
    let policies = hashing(&json!([{ "type": "Cookie", "cookie": cookie }]));
    let client = backends.client(&policies[0]);
    for _ in 0..8 {
        let response = get_with(client.address, "/", &[]).unwrap();
        let set = response
            .head
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "))
            .unwrap();
        assert!(
            set.starts_with("session=") && set.contains("Max-Age=3600") && set.contains("Path=/cart"),
            "{set}"
        );
        let (value, _) = set.split_once(';').unwrap();
        let first = response.body.lines().next().unwrap();
        assert_eq!(
            ask(&client, "/", &[("cookie", &value.replace('"', ""))]),
            first,
            "{value}"
        );
    }
}

#[test]
fn connections_of_one_client_go_to_the_same_instance() {
    let apps = ["a", "b", "c"].map(App::line);
    let here = locality("east", apps.iter().map(|app| ready(app.port())).collect());
    let service = plain(Protocol::Tcp, vec![here]);
    for policies in hashing(&json!([{ "type": "Connection", "connection": { "sourceIP": true } }])) {
        let client = Client::start_with(&service, &policies);
        assert_eq!(answers(&client, 30).len(), 1);
    }
    assert_eq!(
        answers(&Client::start(&service), 30).len(),
        3,
        "without the policy they do not"
    );
}

#[test]
fn zones_share_equally_with_every_load_balancer_and_the_own_zone_comes_first() {
    let (east, west) = (App::line("east"), App::line("west"));
    let south = [(); 3].map(|()| App::line("south"));
    let with = |own: Endpoint| {
        let localities = vec![
            locality("east", vec![own]),
            locality("south", south.iter().map(|app| ready(app.port())).collect()),
            locality("west", vec![ready(west.port())]),
        ];
        plain(Protocol::Tcp, localities)
    };
    let (here, gone) = (with(ready(east.port())), with(unready(closed_port())));
    for balancer in [
        json!({ "type": "RoundRobin" }),
        json!({ "type": "LeastRequest", "leastRequest": { "choiceCount": 3, "activeRequestBias": "1.5" } }),
        json!({ "type": "Random" }),
        // Without a hash, these choose any entry, of which endpoints have as many as their zone's weight makes.
        json!({ "type": "RingHash", "ringHash": { "hashFunction": "MurmurHash2", "maxRingSize": 512 } }),
        json!({ "type": "Maglev" }),
    ] {
        let policies = strategy(json!({ "loadBalancer": balancer }));
        let client = Client::start_with(&here, &policies);
        eventually_about(&client, &[("east", 100)]);
        client.envoy.set_endpoints(&destination_endpoints(&gone, &policies));
        eventually_about(&client, &[("east", 0), ("south", 50), ("west", 50)]);
    }
}

#[test]
fn hashing_follows_the_preference_within_the_zone() {
    let backends = Backends::start(&["close", "far"]);
    let endpoints: Vec<_> = backends
        .endpoints()
        .into_iter()
        .zip(["n1", "n2"])
        .map(|(endpoint, node)| tagged(endpoint, &[("node", node)]))
        .collect();
    let service = backend(Protocol::Http, vec![own_zone(endpoints)]);
    for mut policies in hashing(&json!([{ "type": "Header", "header": { "name": "x-user" } }])) {
        let mut conf = policies
            .confs
            .json(PolicyKind::MeshLoadBalancingStrategy)
            .unwrap()
            .clone();
        conf["localityAwareness"] = json!({ "localZone": { "affinityTags": [{ "key": "node" }] } });
        policies.confs.insert(PolicyKind::MeshLoadBalancingStrategy, conf);
        policies.client.tags = [("node".to_owned(), "n1".to_owned())].into();
        let client = Client::start_with(&service, &policies);
        let close = (0..200).filter(|user| ask(&client, "/", &[("x-user", &user.to_string())]) == "close");
        let close = close.count();
        assert!((160..200).contains(&close), "{close} of 200, for weights of 9 and 1");
    }
}
