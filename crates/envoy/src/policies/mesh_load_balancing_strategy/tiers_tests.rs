#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use meshspan_model::kinds::mesh_load_balancing_strategy::{CrossZone, FromZones, LocalZone, ToZones};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ZONES: [&str; 5] = ["east", "west", "north", "south", "far"];

/// The tiers of [`ZONES`] from east, in that order; `-` for excluded.
fn shown(awareness: Value) -> String {
    let awareness: LocalityAwareness = serde_json::from_value(awareness).unwrap();
    let tiers = tiers("east", ZONES, Some(&awareness));
    let show = |zone: &&str| match tiers[*zone] {
        Tier::Number(number) => number.to_string(),
        Tier::Excluded => "-".to_owned(),
    };
    ZONES.iter().map(show).collect::<Vec<_>>().join(" ")
}

fn rules(failover: Value) -> String {
    shown(json!({ "crossZone": { "failover": failover } }))
}

#[test]
fn without_rules_the_own_zone_comes_first_and_all_others_are_equal() {
    assert!(
        tiers("east", ZONES, None)
            .into_iter()
            .all(|(zone, tier)| tier == Tier::Number(u32::from(zone != "east")))
    );
    for awareness in [
        json!({}),
        json!({ "disabled": false }),
        json!({ "localZone": { "affinityTags": [{ "key": "node" }] } }),
        json!({ "crossZone": {} }),
        json!({ "crossZone": { "failover": [] } }),
        json!({ "crossZone": { "failoverThreshold": { "percentage": 70 } } }),
        // What is said in detail goes before the switch.
        json!({ "disabled": true, "localZone": {} }),
        json!({ "disabled": true, "crossZone": {} }),
    ] {
        assert_eq!(shown(awareness.clone()), "0 1 1 1 1", "{awareness}");
    }
}

#[test]
fn disabled_makes_all_zones_equal() {
    assert_eq!(shown(json!({ "disabled": true })), "0 0 0 0 0");
}

#[test]
fn each_type_accepts_what_it_says() {
    assert_eq!(rules(json!([{ "to": { "type": "Any" } }])), "0 1 1 1 1");
    assert_eq!(rules(json!([{ "to": { "type": "None" } }])), "0 - - - -");
    assert_eq!(
        rules(json!([{ "to": { "type": "Only", "zones": ["north", "far"] } }])),
        "0 - 1 - 1"
    );
    assert_eq!(
        rules(json!([{ "to": { "type": "AnyExcept", "zones": ["north", "far"] } }])),
        "0 1 - 1 -"
    );
    assert_eq!(
        rules(json!([{ "to": { "type": "Only", "zones": ["east", "mars"] } }])),
        "0 - - - -",
        "the own zone is no failover, and a zone without endpoints is none"
    );
}

#[test]
fn the_first_rule_that_accepts_a_zone_decides() {
    let only_west = json!({ "to": { "type": "Only", "zones": ["west"] } });
    let not_far = json!({ "to": { "type": "AnyExcept", "zones": ["far"] } });
    let any = json!({ "to": { "type": "Any" } });
    assert_eq!(rules(json!([only_west, not_far, any])), "0 1 2 2 3");
    assert_eq!(rules(json!([any, only_west, not_far])), "0 1 1 1 1");
    assert_eq!(
        rules(json!([only_west, not_far])),
        "0 1 2 2 -",
        "what no rule accepts is excluded"
    );
}

#[test]
fn none_accepts_nothing_and_ends_nothing() {
    let only_west = json!({ "to": { "type": "Only", "zones": ["west"] } });
    let any = json!({ "to": { "type": "Any" } });
    let none = json!({ "to": { "type": "None" } });
    assert_eq!(rules(json!([only_west, none])), "0 1 - - -");
    assert_eq!(rules(json!([only_west, none, any])), "0 1 2 2 2");
}

#[test]
fn rules_for_other_zones_leave_no_gap() {
    let for_west = json!({ "from": { "zones": ["west", "north"] }, "to": { "type": "Any" } });
    let for_us = json!({ "from": { "zones": ["south", "east"] }, "to": { "type": "Only", "zones": ["far"] } });
    let absent = json!({ "to": { "type": "Only", "zones": ["mars"] } });
    let any = json!({ "to": { "type": "Any" } });
    assert_eq!(rules(json!([for_west, for_us, absent, any])), "0 2 2 2 1");
    assert_eq!(
        rules(json!([for_west])),
        "0 - - - -",
        "rules that leave out our zone keep it to itself"
    );
}

#[test]
fn there_are_no_more_tiers_than_envoy_knows() {
    let zones: Vec<String> = (0..200).map(|index| format!("zone-{index}")).collect();
    let failover = zones
        .iter()
        .map(|zone| json!({ "to": { "type": "Only", "zones": [zone] } }));
    let awareness = json!({ "crossZone": { "failover": failover.collect::<Vec<_>>() } });
    let awareness: LocalityAwareness = serde_json::from_value(awareness).unwrap();
    let tiers = tiers("east", zones.iter().map(String::as_str), Some(&awareness));
    assert_eq!(tiers["zone-126"], Tier::Number(127));
    assert_eq!(tiers["zone-127"], Tier::Number(128));
    assert_eq!(tiers["zone-199"], Tier::Number(128));
}

fn some_zones() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(&ZONES[..]).prop_map(str::to_owned), 0..4)
}

fn rule() -> impl Strategy<Value = Failover> {
    let how = prop::sample::select(vec![
        ToZonesType::Any,
        ToZonesType::None,
        ToZonesType::Only,
        ToZonesType::AnyExcept,
    ]);
    (prop::option::of(some_zones()), how, some_zones()).prop_map(|(from, how, zones)| Failover {
        from: from.map(|zones| FromZones { zones }),
        to: ToZones {
            how: Some(how),
            zones: Some(zones),
        },
    })
}

fn awareness() -> impl Strategy<Value = LocalityAwareness> {
    let failover = prop::option::of(prop::collection::vec(rule(), 0..5));
    let cross_zone = failover.prop_map(|failover| CrossZone {
        failover,
        failover_threshold: None,
    });
    let local_zone = Just(LocalZone::default());
    (
        prop::option::of(any::<bool>()),
        prop::option::of(local_zone),
        prop::option::of(cross_zone),
    )
        .prop_map(|(disabled, local_zone, cross_zone)| LocalityAwareness {
            disabled,
            local_zone,
            cross_zone,
        })
}

proptest! {
    #[test]
    fn the_own_zone_is_0_and_there_are_no_gaps(
        own in prop::sample::select(&ZONES[..]),
        zones in prop::collection::btree_set(prop::sample::select(&ZONES[..]), 0..5),
        awareness in prop::option::of(awareness()),
    ) {
        let found = tiers(own, zones.iter().copied(), awareness.as_ref());
        prop_assert!(found.keys().eq(zones.iter()), "each zone once");
        if let Some(tier) = found.get(own) {
            prop_assert_eq!(*tier, Tier::Number(0));
        }
        let numbers: BTreeSet<u32> = found
            .values()
            .filter_map(|tier| match tier {
                Tier::Number(number) => Some(*number),
                Tier::Excluded => None,
            })
            .chain([0])
            .collect();
        prop_assert!(numbers.iter().copied().eq(0..numbers.len() as u32), "{:?}", numbers);
    }

    #[test]
    fn earlier_rules_come_first_and_later_ones_change_nothing_that_is_decided(
        failover in prop::collection::vec(rule(), 1..5),
        more in rule(),
    ) {
        let with = |failover: Vec<Failover>| LocalityAwareness {
            cross_zone: Some(CrossZone { failover: Some(failover), failover_threshold: None }),
            ..Default::default()
        };
        let longer = with([failover.clone(), vec![more.clone()]].concat());
        let shorter = with(failover);
        let before = tiers("east", ZONES, Some(&shorter));
        let after = tiers("east", ZONES, Some(&longer));
        let highest = before.values().filter(|tier| **tier != Tier::Excluded).max().copied().unwrap();
        for zone in ZONES {
            if before[zone] == Tier::Excluded {
                prop_assert!(after[zone] > highest, "{} in {:?}", zone, after);
            } else {
                prop_assert_eq!(before[zone], after[zone]);
            }
        }
    }

    #[test]
    fn the_order_in_which_zones_are_named_does_not_matter(awareness in awareness(), zones in Just(ZONES).prop_shuffle()) {
        prop_assert_eq!(tiers("east", zones, Some(&awareness)), tiers("east", ZONES, Some(&awareness)));
    }
}
