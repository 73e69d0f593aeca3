//! Load balancing within and across zones.

use meshspan_model::policy::TargetKind;
use serde_json::{Value, json};

use super::Place;
use super::values::{distinct, flag, header_name, positive_duration, text, with};
use crate::random::Random;

pub fn strategy(random: &mut Random, place: &Place) -> Value {
    if place.is_about_a_route() {
        return json!({ "hashPolicies": hash_policies(random) });
    }
    let mut conf = random.maybe(&[
        ("loadBalancer", load_balancer),
        ("hashPolicies", hash_policies),
        ("localityAwareness", |random| {
            random.maybe(&[("disabled", flag), ("localZone", local_zone)])
        }),
    ]);
    // A MeshService lives in one zone, what is outside of the mesh in none.
    let spans_zones = match place.to {
        Some(TargetKind::MeshService) => !place.narrow,
        to => to != Some(TargetKind::MeshExternalService),
    };
    if spans_zones && random.chance(60) {
        let locality = conf
            .as_object_mut()
            .unwrap()
            .entry("localityAwareness")
            .or_insert(json!({}));
        locality["crossZone"] = cross_zone(random);
    }
    conf
}

fn load_balancer(random: &mut Random) -> Value {
    match random.below(5) {
        0 => json!({ "type": "RoundRobin" }),
        1 => json!({ "type": "Random" }),
        2 => {
            let conf = random.maybe(&[
                ("choiceCount", |random| random.one_of(&[2, 3, 100, u32::MAX])),
                ("activeRequestBias", |random| {
                    random.one_of(&["0", "1.3", "10", "0.0001", "1e300"])
                }),
            ]);
            json!({ "type": "LeastRequest", "leastRequest": conf })
        }
        3 => {
            let sizes = match random.below(4) {
                0 => json!({ "minRingSize": 1, "maxRingSize": 8_388_608 }),
                1 => json!({ "minRingSize": 4096 }),
                2 => json!({ "maxRingSize": 512 }),
                _ => json!({}),
            };
            let rest = random.maybe(&[
                ("hashFunction", |random| random.one_of(&["XXHash", "MurmurHash2"])),
                ("hashPolicies", hash_policies),
            ]);
            json!({ "type": "RingHash", "ringHash": with(rest, sizes) })
        }
        _ => {
            let conf = random.maybe(&[
                ("tableSize", |random| random.one_of(&[2, 3, 65537, 5_000_011])),
                ("hashPolicies", hash_policies),
            ]);
            json!({ "type": "Maglev", "maglev": conf })
        }
    }
}

fn hash_policies(random: &mut Random) -> Value {
    random.list(1, 3, |random| {
        let policy = match random.below(5) {
            0 => json!({ "type": "Header", "header": { "name": header_name(random) } }),
            1 => {
                let rest = random.maybe(&[
                    ("ttl", positive_duration),
                    ("path", |random| random.one_of(&["/", "/api", "/a b\"c"])),
                ]);
                json!({ "type": "Cookie", "cookie": with(rest, json!({ "name": random.one_of(&["session", "a-b_c"]) })) })
            }
            2 => json!({ "type": "Connection", "connection": { "sourceIP": random.chance(70) } }),
            3 => json!({ "type": "QueryParameter", "queryParameter": { "name": text(random) } }),
            _ => json!({ "type": "FilterState", "filterState": { "key": text(random) } }),
        };
        with(random.maybe(&[("terminal", flag)]), policy)
    })
}

fn local_zone(random: &mut Random) -> Value {
    let mut tags = distinct(
        random,
        |random| json!({ "key": random.one_of(&["version", "team", "kuma.io/zone", "kuma.io/service"]) }),
        |tag| tag["key"].clone(),
    );
    if random.chance(50) {
        for tag in tags.as_array_mut().unwrap() {
            tag["weight"] = random.one_of(&[1, 9, 90, 1_000_000, 1 << 30]);
        }
    }
    json!({ "affinityTags": tags })
}

fn cross_zone(random: &mut Random) -> Value {
    random.maybe(&[
        ("failover", |random| {
            random.list(1, 4, |random| {
                let to = match random.below(4) {
                    0 => json!({ "type": "Any" }),
                    1 => json!({ "type": "None" }),
                    2 => json!({ "type": "Only", "zones": zones(random) }),
                    _ => json!({ "type": "AnyExcept", "zones": zones(random) }),
                };
                let from = random.maybe(&[("from", |random| json!({ "zones": zones(random) }))]);
                with(from, json!({ "to": to }))
            })
        }),
        ("failoverThreshold", |random| {
            if random.chance(30) {
                return json!({ "percentage": random.one_of(&["33.3", "0.01", "99.9", "0.0000001"]) });
            }
            json!({ "percentage": random.between(1, 100) })
        }),
    ])
}

fn zones(random: &mut Random) -> Value {
    random.several(&["east", "west", "south", "gone"], 1).into()
}
