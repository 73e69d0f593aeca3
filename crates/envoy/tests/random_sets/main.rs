//! No valid set of resources may yield a configuration that Envoy rejects.
//!
//! Random valid sets (meshes, proxies, services of several zones, policies of all kinds that have an effect) go through the world
//! and projection, and a real Envoy is asked what it says of the result. A few sets of a fixed seed run with all tests; `make fuzz` tries many:
//!
//! | variable | meaning |
//! |---|---|
//! | `FUZZ_SETS` | how many sets |
//! | `FUZZ_SEED` | the seed of the first; each further set has the next number as its seed |
//!
//! A set that fails is made smaller and printed with its seed. To try further values of a conf, go to its function in `confs/`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod confs;
mod control_plane;
mod hunt;
mod names;
mod policies;
mod random;
mod resources;
mod set;
mod shrink;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use meshspan_model::document;

#[test]
fn envoy_takes_what_follows_from_random_valid_sets() {
    let failures = hunt::hunt(variable("FUZZ_SEED").unwrap_or(1), variable("FUZZ_SETS").unwrap_or(12));
    for failure in &failures {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} kind(s) of failures, see above", failures.len());
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, must be a number")),
    )
}

/// A generator that the model mostly refuses would find nothing.
#[test]
fn nearly_all_random_documents_are_valid() {
    const POLICIES: usize = 300;
    const MESHES: usize = 100;
    let random = &mut random::Random::new(7);
    let mut documents = Vec::new();
    for number in 0..POLICIES {
        documents.extend(
            confs::KINDS
                .iter()
                .map(|(kind, conf)| policies::document(random, *kind, *conf, number)),
        );
    }
    for _ in 0..MESHES {
        documents.extend(resources::documents(random));
    }
    let mut by_kind: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
    for document in &documents {
        let (all, refused) = by_kind.entry(document["type"].to_string()).or_default();
        *all += 1;
        if let Err(violations) = document::read(document) {
            refused.push(violations.to_string());
        }
    }
    let mut too_many = String::new();
    // Rare values are near the edge, some beyond it.
    for (kind, (all, refused)) in by_kind.iter().filter(|(_, (all, refused))| refused.len() * 10 > *all) {
        let some: Vec<_> = refused.iter().take(20).map(String::as_str).collect();
        too_many += &format!(
            "{kind}: {} of {all} are not valid:\n{}\n\n",
            refused.len(),
            some.join("\n")
        );
    }
    assert!(too_many.is_empty(), "{too_many}");
}

/// Sets in which policies select nobody, or nothing that is there, would prove nothing.
#[test]
fn policies_of_each_kind_change_what_proxies_get() {
    let mut without_effect: BTreeSet<_> = confs::KINDS.iter().map(|(kind, _)| kind.name()).collect();
    for seed in 1..=30 {
        if without_effect.is_empty() {
            break;
        }
        let set = set::generate(seed);
        let all = set::versions(&set);
        without_effect.retain(|kind| {
            let others = set
                .iter()
                .filter(|document| document["type"] != *kind)
                .cloned()
                .collect();
            all == set::versions(&others)
        });
    }
    assert!(without_effect.is_empty(), "{without_effect:?}");
}
