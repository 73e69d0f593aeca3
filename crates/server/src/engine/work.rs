//! How much work projection does. Cost follows the change: these counters grow with what changes, not with what there is.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::rounds::Rounds;

/// Counters of one engine; clones count together.
#[derive(Clone, Default)]
pub struct Work {
    /// Envoy resources that were encoded.
    pub(super) encodings: Counter,
    /// Resources of which versions were compared, to find out what is to be published.
    pub(super) comparisons: Counter,
    /// Own halves of proxies that were projected.
    pub(super) own_halves: Counter,
    /// Names of changed resources that were handed to streams.
    pub(super) published: Counter,
    /// Streams that were handed everything, to compare it with what their proxy has.
    pub(super) published_whole: Counter,
    /// Of the engine as a whole.
    pub(super) rounds: Rounds,
}

impl Work {
    /// Shows the counters among the metrics of the process.
    pub fn register(&self, registry: &mut Registry) {
        self.rounds.register(registry);
        let projection = registry.sub_registry_with_prefix("projection");
        projection.register("encodings", "Envoy resources that were encoded", self.encodings.clone());
        projection.register(
            "comparisons",
            "Resources of which versions were compared before they were published",
            self.comparisons.clone(),
        );
        projection.register(
            "own_halves",
            "Configurations of single proxies that were projected",
            self.own_halves.clone(),
        );
        projection.register(
            "published",
            "Names of changed resources that were handed to streams",
            self.published.clone(),
        );
        projection.register(
            "published_whole",
            "Streams that were handed everything to compare it with what their proxy has",
            self.published_whole.clone(),
        );
    }

    pub(super) fn encoded(&self, resources: usize) {
        self.encodings.inc_by(count(resources));
    }

    pub(super) fn compared(&self, resources: usize) {
        self.comparisons.inc_by(count(resources));
    }
}

pub(super) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
