//! How long to wait before the next attempt.

use std::time::Duration;

/// A connection that held for this long counts as good.
const GOOD: Duration = Duration::from_secs(60);

/// Growing pauses with jitter; none but the jitter after a good connection was lost.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// The pause after an attempt that ran for `ran`.
    pub(super) fn next(&mut self, ran: Duration) -> Duration {
        self.next_with(ran, f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX))
    }

    fn next_with(&mut self, ran: Duration, random: f64) -> Duration {
        if ran >= GOOD {
            self.failures = 0;
        }
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        if failures == 0 {
            return self.first.min(self.longest).mul_f64(random);
        }
        let pause = self
            .first
            .saturating_mul(2_u32.saturating_pow(failures - 1))
            .min(self.longest);
        pause.mul_f64(0.75 + random / 2.0).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_start_over_after_a_good_connection() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(60));
        let mut next = |ran| backoff.next_with(Duration::from_secs(ran), 0.5);
        let pauses: Vec<u128> = (0..5).map(|_| next(0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600]);
        assert_eq!((0..20).map(|_| next(0)).last(), Some(Duration::from_secs(60)));
        assert_eq!(next(61).as_millis(), 100);
    }
}
