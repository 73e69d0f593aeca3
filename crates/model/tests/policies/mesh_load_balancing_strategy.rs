use meshspan_model::Kind;
use meshspan_model::policy::PolicyKind;
use serde_json::{Value, json};

use crate::fixtures;

const KIND: Kind = PolicyKind::MeshLoadBalancingStrategy.kind();
const ROOT: &str = "spec.to[0].default";

fn to(target: Value, conf: Value) -> Value {
    json!({ "to": [{ "targetRef": target, "default": conf }] })
}

/// What is wrong with a conf for a MeshMultiZoneService, paths from the conf.
fn violations(conf: Value) -> Vec<String> {
    let target = json!({ "kind": "MeshMultiZoneService", "name": "backend" });
    let found = fixtures::violations(KIND, to(target, conf));
    found
        .into_iter()
        .map(|text| text.strip_prefix(&format!("{ROOT}.")).unwrap_or(&text).to_owned())
        .collect()
}

fn awareness(field: &str, conf: Value) -> Value {
    json!({ "localityAwareness": { field: conf } })
}

fn failover(rule: Value) -> Value {
    awareness("crossZone", json!({ "failover": [rule] }))
}

fn threshold(percentage: Value) -> Value {
    awareness(
        "crossZone",
        json!({ "failoverThreshold": { "percentage": percentage } }),
    )
}

fn tags(tags: Value) -> Value {
    awareness("localZone", json!({ "affinityTags": tags }))
}

fn balancer(balancer: Value) -> Value {
    json!({ "loadBalancer": balancer })
}

fn hash(policy: Value) -> Value {
    json!({ "hashPolicies": [policy] })
}

#[test]
fn everything_that_there_is_may_be_said() {
    let hash_policies = json!([
        { "type": "Header", "terminal": true, "header": { "name": "X-User" } },
        { "type": "Header", "header": { "name": ":authority" } },
        { "type": "Cookie", "cookie": { "name": "session", "ttl": "1h", "path": "/" } },
        { "type": "Connection", "connection": { "sourceIP": true } },
        { "type": "QueryParameter", "queryParameter": { "name": "user" } },
        { "type": "FilterState", "filterState": { "key": "a.b" } },
    ]);
    let locality = json!({
        "disabled": false,
        "localZone": { "affinityTags": [{ "key": "node", "weight": 9000 }, { "key": "rack", "weight": 9 }] },
        "crossZone": {
            "failover": [
                { "from": { "zones": ["east"] }, "to": { "type": "Only", "zones": ["west"] } },
                { "from": { "zones": ["west", "north"] }, "to": { "type": "AnyExcept", "zones": ["east"] } },
                { "from": { "zones": ["south"] }, "to": { "type": "None" } },
                { "to": { "type": "Any" } },
            ],
            "failoverThreshold": { "percentage": "33.3" },
        },
    });
    for (field, settings) in [
        ("roundRobin", json!({})),
        ("leastRequest", json!({ "choiceCount": 3, "activeRequestBias": "1.5" })),
        (
            "ringHash",
            json!({ "hashFunction": "MurmurHash2", "minRingSize": 1, "maxRingSize": 8_000_000, "hashPolicies": hash_policies }),
        ),
        ("random", json!({})),
        (
            "maglev",
            json!({ "tableSize": 5_000_011, "hashPolicies": hash_policies }),
        ),
    ] {
        let kind = format!("{}{}", field[..1].to_uppercase(), &field[1..]);
        let conf = json!({
            "localityAwareness": locality,
            "loadBalancer": { "type": kind, field: settings },
            "hashPolicies": hash_policies,
        });
        let spec = to(json!({ "kind": "MeshMultiZoneService", "name": "backend" }), conf);
        assert_eq!(fixtures::violations(KIND, spec.clone()), [""; 0], "{field}");
        assert_eq!(fixtures::warnings(KIND, spec), [""; 0], "every field is known");
    }
    assert_eq!(violations(json!({})), [""; 0], "nothing need be said");
}

#[test]
fn affinity_tags_have_keys_and_weights_that_make_sense() {
    assert_eq!(
        violations(tags(json!([{ "key": "" }]))),
        ["localityAwareness.localZone.affinityTags[0].key: must not be empty; name a tag"]
    );
    assert_eq!(
        violations(tags(json!([{ "key": "node", "weight": 0 }]))),
        ["localityAwareness.localZone.affinityTags[0].weight: is 0, must be greater than 0"]
    );
    assert_eq!(
        violations(tags(json!([{ "key": "node", "weight": 5 }, { "key": "rack" }]))),
        ["localityAwareness.localZone.affinityTags: 1 of 2 have a weight, all or none of the affinity tags must"]
    );
    let unweighted = |count: usize| tags(json!(vec![json!({ "key": "node" }); count]));
    assert_eq!(violations(unweighted(9)), [""; 0]);
    assert_eq!(
        violations(unweighted(10)),
        [
            "localityAwareness.localZone.affinityTags: has 10 items without weights, must have no more than 9; give \
             each a weight"
        ]
    );
    assert_eq!(
        violations(tags(json!([{ "key": "node", "weight": u32::MAX - 1 }]))),
        [""; 0]
    );
    assert_eq!(
        violations(tags(
            json!([{ "key": "node", "weight": u32::MAX - 1 }, { "key": "rack", "weight": 1 }])
        )),
        [
            "localityAwareness.localZone.affinityTags: weights add up to 4294967295, must add up to no more than \
             4294967294; use smaller ones"
        ]
    );
}

#[test]
fn failover_rules_name_zones_where_their_type_asks_for_them() {
    const RULE: &str = "localityAwareness.crossZone.failover[0]";
    for kind in ["Any", "None"] {
        assert_eq!(violations(failover(json!({ "to": { "type": kind } }))), [""; 0]);
        assert_eq!(
            violations(failover(json!({ "to": { "type": kind, "zones": [] } }))),
            [""; 0]
        );
        assert_eq!(
            violations(failover(json!({ "to": { "type": kind, "zones": ["west"] } }))),
            [format!(
                "{RULE}.to.zones: must be empty when type is {kind}; use Only or AnyExcept with zones"
            )]
        );
    }
    for kind in ["Only", "AnyExcept"] {
        for to in [json!({ "type": kind }), json!({ "type": kind, "zones": [] })] {
            assert_eq!(
                violations(failover(json!({ "to": to }))),
                [format!(
                    "{RULE}.to.zones: must not be empty when type is {kind}; name zones"
                )]
            );
        }
        assert_eq!(
            violations(failover(json!({ "to": { "type": kind, "zones": ["west", ""] } }))),
            [format!("{RULE}.to.zones[1]: must not be empty; name a zone")]
        );
    }
    for rule in [json!({}), json!({ "to": {} })] {
        assert_eq!(
            violations(failover(rule)),
            [format!("{RULE}.to.type: must be defined: Any, None, Only or AnyExcept")]
        );
    }
    assert_eq!(
        violations(failover(json!({ "from": { "zones": [] }, "to": { "type": "Any" } }))),
        [format!(
            "{RULE}.from.zones: must not be empty; name zones, or leave from out for all zones"
        )]
    );
    assert_eq!(
        violations(failover(json!({ "from": { "zones": [""] }, "to": { "type": "Any" } }))),
        [format!("{RULE}.from.zones[0]: must not be empty; name a zone")]
    );
    assert_eq!(
        violations(failover(json!({ "to": { "type": "Some" } }))),
        [format!(
            "{RULE}.to.type: is \"Some\", must be one of Any, None, Only, AnyExcept"
        )]
    );
}

#[test]
fn a_threshold_is_a_percentage_above_0() {
    const PATH: &str = "localityAwareness.crossZone.failoverThreshold.percentage";
    for right in [json!(1), json!("0.5"), json!(50), json!("99.9"), json!(100)] {
        assert_eq!(violations(threshold(right.clone())), [""; 0], "{right}");
    }
    for (wrong, value) in [
        (json!(0), "0"),
        (json!(-1), "-1"),
        (json!("100.1"), "100.1"),
        (json!(101), "101"),
    ] {
        assert_eq!(
            violations(threshold(wrong)),
            [format!("{PATH}: is {value}, must be greater than 0 and at most 100")]
        );
    }
    assert_eq!(
        violations(threshold(json!("half"))),
        [format!(
            "{PATH}: is \"half\", must be a number, or a string with a number such as \"33.3\""
        )]
    );
    assert_eq!(
        violations(awareness("crossZone", json!({ "failoverThreshold": {} }))),
        [format!("{PATH}: must be defined")]
    );
}

#[test]
fn cross_zone_is_for_what_spans_zones() {
    let cross_zone = || awareness("crossZone", json!({ "failover": [{ "to": { "type": "Any" } }] }));
    for kind in ["Mesh", "MeshMultiZoneService", "MeshService"] {
        let target = match kind {
            "Mesh" => json!({ "kind": kind }),
            _ => json!({ "kind": kind, "name": "backend" }),
        };
        assert_eq!(fixtures::violations(KIND, to(target, cross_zone())), [""; 0], "{kind}");
    }
    for target in [
        json!({ "kind": "MeshService", "name": "backend", "sectionName": "http" }),
        json!({ "kind": "MeshService", "labels": { "kuma.io/display-name": "backend" } }),
    ] {
        assert_eq!(
            fixtures::violations(KIND, to(target.clone(), cross_zone())),
            [format!(
                "{ROOT}.localityAwareness.crossZone: must not be set for a MeshService with sectionName or labels: its \
                 traffic never leaves its zone; refer to a MeshMultiZoneService"
            )],
        );
        assert_eq!(fixtures::violations(KIND, to(target, tags(json!([])))), [""; 0]);
    }
    assert_eq!(
        fixtures::violations(
            KIND,
            to(
                json!({ "kind": "MeshExternalService", "name": "backend" }),
                cross_zone()
            )
        ),
        [format!(
            "{ROOT}.localityAwareness.crossZone: must not be set for a MeshExternalService: it is in no zone; refer to a \
             MeshMultiZoneService"
        )],
    );
}

#[test]
fn a_route_has_hash_policies_only() {
    let route = || json!({ "kind": "MeshHTTPRoute", "name": "route" });
    let conf = json!({
        "localityAwareness": { "disabled": true },
        "loadBalancer": { "type": "Random" },
        "hashPolicies": [{ "type": "Header", "header": { "name": "x-user" } }],
    });
    let why =
        "must not be set for a MeshHTTPRoute: routes share the endpoints of their destinations; only hashPolicies may";
    assert_eq!(
        fixtures::violations(KIND, to(route(), conf)),
        [
            format!("{ROOT}.localityAwareness: {why}"),
            format!("{ROOT}.loadBalancer: {why}")
        ]
    );
    let conf = hash(json!({ "type": "Connection", "connection": { "sourceIP": true } }));
    assert_eq!(fixtures::violations(KIND, to(route(), conf)), [""; 0]);
}

#[test]
fn a_load_balancer_has_a_type_and_settings_that_envoy_takes() {
    const PATH: &str = "loadBalancer";
    for (conf, expected) in [
        (
            json!({}),
            "type: must be defined: RoundRobin, LeastRequest, RingHash, Random or Maglev",
        ),
        (
            json!({ "type": "Best" }),
            "type: is \"Best\", must be one of RoundRobin, LeastRequest, RingHash, Random, Maglev",
        ),
        (
            json!({ "type": "LeastRequest", "leastRequest": { "choiceCount": 1 } }),
            "leastRequest.choiceCount: is 1, must be at least 2",
        ),
        (
            json!({ "type": "LeastRequest", "leastRequest": { "activeRequestBias": "-0.5" } }),
            "leastRequest.activeRequestBias: is -0.5, must be at least 0",
        ),
        (
            json!({ "type": "RingHash", "ringHash": { "minRingSize": 0 } }),
            "ringHash.minRingSize: is 0, must be at least 1",
        ),
        (
            json!({ "type": "RingHash", "ringHash": { "maxRingSize": 8_000_001 } }),
            "ringHash.maxRingSize: is 8000001, must be at most 8000000",
        ),
        (
            json!({ "type": "RingHash", "ringHash": { "minRingSize": 20, "maxRingSize": 10 } }),
            "ringHash.minRingSize: is 20, must be at most maxRingSize, which is 10",
        ),
        (
            json!({ "type": "RingHash", "ringHash": { "hashFunction": "MD5" } }),
            "ringHash.hashFunction: is \"MD5\", must be XXHash or MurmurHash2",
        ),
        (
            json!({ "type": "RingHash", "ringHash": { "hashPolicies": [{}] } }),
            "ringHash.hashPolicies[0].type: must be defined: Header, Cookie, Connection, QueryParameter or FilterState",
        ),
        (
            json!({ "type": "Maglev", "maglev": { "hashPolicies": [{ "type": "Header" }] } }),
            "maglev.hashPolicies[0].header: must be defined for that type",
        ),
        (
            json!({ "type": "Random", "maglev": { "tableSize": 4 } }),
            "maglev.tableSize: is 4, must be a prime number of at most 5000011, such as 65537",
        ),
    ] {
        assert_eq!(violations(balancer(conf)), [format!("{PATH}.{expected}")]);
    }
}

#[test]
fn a_table_size_is_a_prime() {
    let table = |size: u32| violations(balancer(json!({ "type": "Maglev", "maglev": { "tableSize": size } })));
    for prime in [2, 3, 5, 13, 251, 65_537, 4_999_999, 5_000_011] {
        assert_eq!(table(prime), [""; 0], "{prime}");
    }
    // 49 and 4_999_696 are squares; 5_000_077 is a prime, but too large.
    for wrong in [0, 1, 4, 49, 65_535, 4_999_696, 5_000_009, 5_000_077, u32::MAX] {
        assert_eq!(
            table(wrong),
            [format!(
                "loadBalancer.maglev.tableSize: is {wrong}, must be a prime number of at most 5000011, such as 65537"
            )]
        );
    }
}

#[test]
fn a_hash_policy_has_what_its_type_needs() {
    for (kind, block) in [
        ("Header", "header"),
        ("Cookie", "cookie"),
        ("Connection", "connection"),
        ("QueryParameter", "queryParameter"),
        ("FilterState", "filterState"),
    ] {
        assert_eq!(
            violations(hash(json!({ "type": kind }))),
            [format!("hashPolicies[0].{block}: must be defined for that type")]
        );
    }
    let named = |kind: &str, block: &str, settings: Value| violations(hash(json!({ "type": kind, block: settings })));
    for wrong in ["", "a b", "x-ü", ":"] {
        assert_eq!(
            named("Header", "header", json!({ "name": wrong })),
            [format!(
                "hashPolicies[0].header.name: is \"{}\", must be the name of a header in lower case, of 1 to 256 characters",
                wrong.trim_start_matches(':')
            )]
        );
    }
    for (wrong, shown) in [("", ""), ("a=b", "a=b"), ("a\r\nb", "a\\r\\nb")] {
        assert_eq!(
            named("Cookie", "cookie", json!({ "name": wrong })),
            [format!(
                "hashPolicies[0].cookie.name: is \"{shown}\", must be the name of a cookie"
            )]
        );
    }
    for wrong in ["cart", "/a;b"] {
        assert_eq!(
            named("Cookie", "cookie", json!({ "name": "session", "path": wrong })),
            [format!(
                "hashPolicies[0].cookie.path: is \"{wrong}\", must be an absolute path such as /cart"
            )]
        );
    }
    assert_eq!(
        named("Cookie", "cookie", json!({ "name": "session", "ttl": "5" })),
        ["hashPolicies[0].cookie.ttl: invalid duration \"5\": use for example 250ms, 5s or 1h30m"]
    );
    assert_eq!(
        named("QueryParameter", "queryParameter", json!({ "name": "" })),
        ["hashPolicies[0].queryParameter.name: must not be empty"]
    );
    assert_eq!(
        named("FilterState", "filterState", json!({})),
        ["hashPolicies[0].filterState.key: must not be empty"]
    );
}

#[test]
fn unknown_fields_are_named() {
    let conf = json!({ "loadBalancer": { "type": "Random", "colour": "red" } });
    assert_eq!(
        fixtures::warnings(KIND, to(json!({ "kind": "Mesh" }), conf)),
        [format!("unknown field \"{ROOT}.loadBalancer.colour\" is ignored")]
    );
}
