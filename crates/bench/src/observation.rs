//! What somebody sees of the instance that changes, and since when.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a change may take to be seen. Far above anything worth measuring.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
struct Observation {
    ready: bool,
    since: Instant,
}

/// Where an observation is noted.
#[derive(Debug)]
pub struct Notes(watch::Sender<Option<Observation>>);

impl Notes {
    /// Without any observation.
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Notes what is seen now; what was seen already keeps its time.
    pub fn note(&self, ready: bool) {
        let since = Instant::now();
        self.0.send_if_modified(|seen| {
            let news = seen.is_none_or(|seen| seen.ready != ready);
            if news {
                *seen = Some(Observation { ready, since });
            }
            news
        });
    }

    /// Somebody who waits for what is noted.
    pub fn observer(&self, point: &'static str) -> Observer {
        Observer {
            point,
            seen: self.0.subscribe(),
        }
    }
}

/// Waits for what is noted at one point of the way.
#[derive(Debug)]
pub struct Observer {
    /// Where on the way of a change this is, for people.
    pub point: &'static str,
    seen: watch::Receiver<Option<Observation>>,
}

impl Observer {
    /// Since when the instance is seen as `ready` or not; waits until it is.
    ///
    /// # Errors
    /// Not within 30 seconds, or nobody looks any more.
    pub async fn since(&mut self, ready: bool) -> Result<Instant> {
        let point = self.point;
        let wanted = self.seen.wait_for(|seen| seen.is_some_and(|seen| seen.ready == ready));
        let seen = timeout(LIMIT, wanted)
            .await
            .with_context(|| format!("{point}: ready={ready} is not seen"))?;
        let seen = *seen.with_context(|| format!("{point}: nobody looks any more"))?;
        seen.map(|seen| seen.since).context("waited for an observation")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_time_is_that_of_the_first_sight() {
        let notes = Notes::new();
        let mut observer = notes.observer("here");
        notes.note(true);
        let first = observer.since(true).await.unwrap();
        notes.note(true);
        assert_eq!(observer.since(true).await.unwrap(), first);
        notes.note(false);
        notes.note(true);
        assert!(observer.since(true).await.unwrap() > first);
    }

    #[tokio::test]
    async fn the_end_of_looking_is_an_error() {
        let notes = Notes::new();
        let mut observer = notes.observer("here");
        drop(notes);
        assert!(
            observer
                .since(true)
                .await
                .unwrap_err()
                .to_string()
                .contains("nobody looks")
        );
    }
}
