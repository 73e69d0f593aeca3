//! How the engine's rounds go, as metrics: how long they take, what they take in, and what waits meanwhile.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The shortest round that is told from shorter ones, in seconds; each bucket is twice the one before.
const SHORTEST: f64 = 0.000_25;
const BUCKETS: u16 = 16;

/// Metrics of one engine; clones count together.
#[derive(Clone, Debug)]
pub struct Rounds {
    duration: Histogram,
    changes: Counter,
    commands: Counter,
    waiting: Gauge,
    streams: Gauge,
}

impl Default for Rounds {
    fn default() -> Self {
        Self {
            duration: Histogram::new(exponential_buckets(SHORTEST, 2.0, BUCKETS)),
            changes: Counter::default(),
            commands: Counter::default(),
            waiting: Gauge::default(),
            streams: Gauge::default(),
        }
    }
}

impl Rounds {
    /// Shows them among the metrics of the process.
    pub fn register(&self, registry: &mut Registry) {
        let engine = registry.sub_registry_with_prefix("engine");
        engine.register_with_unit(
            "round",
            "Time from the first change or command of a round until everything that follows was published",
            Unit::Seconds,
            self.duration.clone(),
        );
        engine.register(
            "changes",
            "Changes of resources that were taken in",
            self.changes.clone(),
        );
        engine.register("commands", "Commands that were taken in", self.commands.clone());
        engine.register(
            "waiting_commands",
            "Commands that waited when the last round began",
            self.waiting.clone(),
        );
        engine.register("streams", "Proxies that are connected", self.streams.clone());
    }

    pub(super) fn changes(&self, number: usize) {
        self.changes.inc_by(super::work::count(number));
    }

    pub(super) fn command(&self) {
        self.commands.inc();
    }

    pub(super) fn waiting(&self, number: usize) {
        self.waiting.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    pub(super) fn ended(&self, duration: Duration, streams: usize) {
        self.duration.observe(duration.as_secs_f64());
        self.streams.set(i64::try_from(streams).unwrap_or(i64::MAX));
    }
}
