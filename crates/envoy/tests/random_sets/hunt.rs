//! Tries many sets, on all cores, and keeps one small example of each kind of failure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::set::{self, Rejection, Set};
use crate::shrink::shrink;

/// Of so many kinds of failures the smallest sets are looked for.
const SHRUNK: usize = 6;
/// Between lines about progress.
const PROGRESS: Duration = Duration::from_secs(10);

/// Sets that fail in the same way.
pub struct Failure {
    seed: u64,
    times: usize,
    /// The smallest set that was found, if it was looked for.
    smallest: Option<Set>,
    rejection: Rejection,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, times, .. } = self;
        writeln!(
            f,
            "\n=== seed {seed} and {} more; again: make fuzz FUZZ_SETS=1 FUZZ_SEED={seed}",
            times - 1
        )?;
        for document in self.smallest.iter().flatten() {
            writeln!(f, "---\n{document}")?;
        }
        write!(f, "=== {}: {}", self.rejection.proxy, self.rejection.message)
    }
}

/// Tries `count` sets, with the seeds from `first` on, and says how far it is.
pub fn hunt(first: u64, count: u64) -> Vec<Failure> {
    let hunt = Hunt::default();
    let next = AtomicU64::new(0);
    let started = Instant::now();
    let last_said = Mutex::new(started);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    hunt.try_set(first.wrapping_add(number));
                    let mut last_said = last_said.lock().unwrap();
                    if last_said.elapsed() > PROGRESS {
                        *last_said = Instant::now();
                        let kinds = hunt.failures.lock().unwrap().len();
                        println!(
                            "{} of {count} sets in {} s, {kinds} kind(s) of failures",
                            number + 1,
                            started.elapsed().as_secs()
                        );
                    }
                }
            });
        }
    });
    println!("{count} sets from seed {first} in {} s", started.elapsed().as_secs());
    hunt.failures.into_inner().unwrap().into_values().collect()
}

#[derive(Default)]
struct Hunt {
    /// By what they have in common.
    failures: Mutex<BTreeMap<String, Failure>>,
}

impl Hunt {
    fn try_set(&self, seed: u64) {
        let set = set::generate(seed);
        let Err(rejection) = set::verify(&set) else { return };
        let gist = gist(&rejection.message);
        if !self.is_worth_shrinking(seed, &gist, &rejection) {
            return;
        }
        let (smallest, rejection) = shrink(set, rejection);
        if let Some(failure) = self.failures.lock().unwrap().get_mut(&gist) {
            failure.smallest = Some(smallest);
            failure.rejection = rejection;
        }
    }

    /// Counts a failure. True for the first of a kind, unless there are enough.
    fn is_worth_shrinking(&self, seed: u64, gist: &str, rejection: &Rejection) -> bool {
        let mut failures = self.failures.lock().unwrap();
        let enough = failures.len() >= SHRUNK;
        let failure = failures.entry(gist.to_owned()).or_insert_with(|| Failure {
            seed,
            times: 0,
            smallest: None,
            rejection: rejection.clone(),
        });
        failure.times += 1;
        failure.times == 1 && !enough
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
