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
mod names;
mod policies;
mod random;
mod resources;
mod set;
mod shrink;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meshspan_model::document;

/// Of so many failures the smallest sets are looked for.
const SHOWN: usize = 6;
/// Between lines about progress.
const PROGRESS: Duration = Duration::from_secs(10);

#[test]
fn envoy_takes_what_follows_from_random_valid_sets() {
    let sets = variable("FUZZ_SETS").unwrap_or(12);
    let first = variable("FUZZ_SEED").unwrap_or(1);
    let next = AtomicU64::new(0);
    let failures: Mutex<BTreeMap<String, Failure>> = Mutex::default();
    let started = Instant::now();
    let last_said = Mutex::new(started);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= sets {
                        break;
                    }
                    try_set(first.wrapping_add(number), &failures);
                    let mut last_said = last_said.lock().unwrap();
                    if last_said.elapsed() > PROGRESS {
                        *last_said = Instant::now();
                        let found = failures.lock().unwrap().len();
                        println!(
                            "{number} of {sets} sets in {} s, {found} failure(s)",
                            started.elapsed().as_secs()
                        );
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    println!("{sets} sets from seed {first} in {} s", started.elapsed().as_secs());
    for failure in failures.values() {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} kind(s) of failures, see above", failures.len());
}

struct Failure {
    seed: u64,
    times: usize,
    set: Option<set::Set>,
    proxy: String,
    message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, times, .. } = self;
        writeln!(
            f,
            "\n=== seed {seed} and {} more; again: make fuzz FUZZ_SETS=1 FUZZ_SEED={seed}",
            times - 1
        )?;
        for document in self.set.iter().flatten() {
            writeln!(f, "---\n{document}")?;
        }
        writeln!(f, "=== {}: {}", self.proxy, self.message)
    }
}

fn try_set(seed: u64, failures: &Mutex<BTreeMap<String, Failure>>) {
    let (set, _) = set::generate(seed);
    let Err(rejection) = set::verify(&set) else { return };
    let gist = gist(&rejection.message);
    let is_new = {
        let mut failures = failures.lock().unwrap();
        let shown = failures.len() < SHOWN;
        let failure = failures.entry(gist.clone()).or_insert_with(|| Failure {
            seed,
            times: 0,
            set: None,
            proxy: rejection.proxy.clone(),
            message: rejection.message.clone(),
        });
        failure.times += 1;
        failure.times == 1 && shown
    };
    if is_new {
        let (set, rejection) = shrink::shrink(set, rejection);
        if let Some(failure) = failures.lock().unwrap().get_mut(&gist) {
            failure.set = Some(set);
            failure.proxy = rejection.proxy;
            failure.message = rejection.message;
        }
    }
}

/// The start of a message, without numbers: what is equal is the same failure.
fn gist(message: &str) -> String {
    let of_envoy = message.split_once("initializing configuration '");
    let text = of_envoy
        .and_then(|(_, rest)| rest.split_once("': "))
        .map_or(message, |(_, text)| text);
    text.chars().filter(|c| !c.is_ascii_digit()).take(80).collect()
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
