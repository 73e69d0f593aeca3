//! Distributions of durations.

use std::time::Duration;

use serde::Serialize;

/// A distribution, in milliseconds. Percentiles are durations that were measured (nearest rank), nothing is interpolated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How many durations.
    pub count: usize,
    /// Half were not longer.
    pub p50: f64,
    /// Nine out of ten were not longer.
    pub p90: f64,
    /// 99 of a hundred were not longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// Of these durations; all zero without any.
    pub fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let rank = |percent: usize| {
            let rank = (durations.len() * percent).div_ceil(100).max(1);
            durations
                .get(rank - 1)
                .map_or(0.0, |duration| duration.as_secs_f64() * 1000.0)
        };
        Self {
            count: durations.len(),
            p50: rank(50),
            p90: rank(90),
            p99: rank(99),
            max: rank(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let latency = Latency::of((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!(
            latency,
            Latency {
                count: 200,
                p50: 100.0,
                p90: 180.0,
                p99: 198.0,
                max: 200.0
            }
        );
        let latency = Latency::of(vec![Duration::from_millis(3)]);
        assert_eq!(
            latency,
            Latency {
                count: 1,
                p50: 3.0,
                p90: 3.0,
                p99: 3.0,
                max: 3.0
            }
        );
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }
}
