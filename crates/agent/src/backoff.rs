//! Growing, jittered pauses between attempts.

use std::time::Duration;

/// Doubles from `first` to `max`. Each pause is drawn from the upper half of the current step, so that many agents
/// that lost the same control plane do not return in one wave.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    step: Duration,
}

impl Backoff {
    /// The first pause is about `first`.
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        let first = first.min(max);
        Self {
            first,
            max,
            step: first,
        }
    }

    /// Like [`Backoff::new`], but the first pause is zero: the first retry comes at once.
    pub(crate) fn immediate(first: Duration, max: Duration) -> Self {
        Self {
            step: Duration::ZERO,
            ..Self::new(first, max)
        }
    }

    /// The next pause. `random` is in `0.0..1.0`.
    pub(crate) fn next_pause(&mut self, random: f64) -> Duration {
        let pause = self.step.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        self.step = if self.step.is_zero() {
            self.first
        } else {
            (self.step * 2).min(self.max)
        };
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn doubles_up_to_the_limit() {
        let mut backoff = Backoff::immediate(Duration::from_millis(100), Duration::from_millis(350));
        let pauses: Vec<u128> = (0..5).map(|_| backoff.next_pause(1.0).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 350, 350]);
    }

    #[test]
    fn jitter_takes_at_most_half() {
        let mut low = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        assert_eq!(low.next_pause(0.0), Duration::from_millis(50));
    }
}
