//! When a row of equal results changes the state.

/// As Envoy counts: the first result decides alone, later a change takes as many results in a row as configured.
#[derive(Debug)]
pub(super) struct Threshold {
    healthy: u32,
    unhealthy: u32,
    ready: Option<bool>,
    against: u32,
}

impl Threshold {
    /// `ready` is the state known before; 0 as a threshold means 1.
    pub(super) fn new(healthy: u32, unhealthy: u32, ready: Option<bool>) -> Self {
        Self {
            healthy: healthy.max(1),
            unhealthy: unhealthy.max(1),
            ready,
            against: 0,
        }
    }

    /// Takes one result; returns the new state if it changed.
    pub(super) fn observe(&mut self, success: bool) -> Option<bool> {
        if self.ready == Some(success) {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = match (self.ready, success) {
            (None, _) => 1,
            (Some(_), true) => self.healthy,
            (Some(_), false) => self.unhealthy,
        };
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.ready = Some(success);
        self.ready
    }
}

#[cfg(test)]
mod tests {
    use super::Threshold;

    #[test]
    fn changes_need_a_row_of_results() {
        let mut threshold = Threshold::new(2, 3, None);
        let seen = [
            true, true, false, false, true, false, false, false, false, true, false, true, true,
        ];
        let changes: Vec<Option<bool>> = seen.iter().map(|success| threshold.observe(*success)).collect();
        let mut expected = vec![None; seen.len()];
        for (position, state) in [(0, true), (7, false), (12, true)] {
            if let Some(slot) = expected.get_mut(position) {
                *slot = Some(state);
            }
        }
        assert_eq!(changes, expected);
    }

    #[test]
    fn a_known_state_is_not_announced_again() {
        assert_eq!(Threshold::new(0, 0, Some(true)).observe(true), None);
        assert_eq!(Threshold::new(0, 0, Some(true)).observe(false), Some(false));
    }
}
