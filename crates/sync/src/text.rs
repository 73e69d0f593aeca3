//! Texts of peers in our messages: bounded, and not too many of them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest text of a peer in a line of the log, in bytes.
pub(crate) const MAX_LOGGED: usize = 2048;

/// The text, cut after `max` bytes.
pub(crate) fn bounded(text: &str, max: usize) -> String {
    match text.split_at_checked(text.floor_char_boundary(max)) {
        Some((start, rest)) if !rest.is_empty() => format!("{start} …"),
        _ => text.to_owned(),
    }
}

/// Lets one message pass in a while, so that a peer cannot fill the log.
#[derive(Debug)]
pub(crate) struct Throttle {
    pause: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Throttle {
    /// With this long between two messages.
    pub(crate) fn new(pause: Duration) -> Self {
        Self {
            pause,
            state: Mutex::default(),
        }
    }

    /// How many messages were held back since the last one, if one may pass now.
    pub(crate) fn pass(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, held_back) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < self.pause) {
            *held_back += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(bounded("abc", 3), "abc");
        assert_eq!(bounded("äöü", 3), "ä …");
    }

    #[test]
    fn messages_are_counted_while_they_are_held_back() {
        let throttle = Throttle::new(Duration::from_secs(3600));
        assert_eq!(
            (throttle.pass(), throttle.pass(), throttle.pass()),
            (Some(0), None, None)
        );
        let never = Throttle::new(Duration::ZERO);
        assert_eq!((never.pass(), never.pass()), (Some(0), Some(0)));
    }
}
