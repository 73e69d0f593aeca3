//! An application that asks a service again and again, and what it sees.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::Request;
use meshspan_lab::{HttpConnection, HttpVersion, RedisConnection};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::machine::Machine;

/// Time between two requests.
pub const PACE: Duration = Duration::from_millis(20);
/// A request without an answer for so long has failed.
const PATIENCE: Duration = Duration::from_secs(1);

/// How the application asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `GET zone` to a Redis, on a connection of its own.
    Redis,
    /// An HTTP GET, on a connection of its own.
    Http,
}

/// What the application has seen since the last [`Traffic::mark`].
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Answers by zone.
    pub answers: BTreeMap<String, usize>,
    /// Requests without an answer.
    pub failed: usize,
    /// Why the last of them failed.
    pub last_error: String,
    /// Zone of the latest answer.
    pub zone: String,
    /// Answers of that zone in a row, without a failure in between.
    pub streak: usize,
    /// Longest time between two answers.
    pub gap: Duration,
    latest: Option<Instant>,
}

impl Seen {
    /// Requests that have ended.
    pub fn total(&self) -> usize {
        self.failed + self.answers.values().sum::<usize>()
    }

    fn note(&mut self, outcome: Result<String>, now: Instant) {
        match outcome {
            Ok(zone) => {
                *self.answers.entry(zone.clone()).or_default() += 1;
                self.streak = if self.zone == zone { self.streak + 1 } else { 1 };
                self.zone = zone;
                if let Some(latest) = self.latest.replace(now) {
                    self.gap = self.gap.max(now - latest);
                }
            }
            Err(error) => {
                self.failed += 1;
                self.streak = 0;
                self.last_error = format!("{error:#}");
            }
        }
    }

    fn mark(&mut self) {
        *self = Self {
            zone: std::mem::take(&mut self.zone),
            latest: self.latest,
            ..Self::default()
        };
    }
}

/// A running application. It ends when it is dropped.
#[derive(Debug)]
pub struct Traffic {
    seen: watch::Sender<Seen>,
    task: JoinHandle<()>,
}

impl Traffic {
    /// Starts asking `to` from `machine`, one request after the other. `name` is what HTTP requests call the service.
    pub fn start(machine: Machine, question: Question, name: String, to: SocketAddr) -> Self {
        let (seen, _) = watch::channel(Seen::default());
        let writer = seen.clone();
        let task = tokio::spawn(async move {
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                pace.tick().await;
                let outcome = timeout(PATIENCE, ask(&machine, question, &name, to)).await;
                let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {PATIENCE:?}")));
                writer.send_modify(|seen| seen.note(outcome, Instant::now()));
            }
        });
        Self { seen, task }
    }

    /// Forgets everything but the zone and the time of the latest answer.
    pub fn mark(&self) {
        self.seen.send_modify(Seen::mark);
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    /// It does not within `limit`; the error says what was seen instead.
    pub async fn wait(&self, what: &str, limit: Duration, condition: impl FnMut(&Seen) -> bool) -> Result<Seen> {
        let mut receiver = self.seen.subscribe();
        if let Ok(seen) = timeout(limit, receiver.wait_for(condition)).await {
            return seen.map(|seen| seen.clone()).context("the application ended");
        }
        let Seen {
            answers,
            failed,
            last_error,
            ..
        } = self.seen();
        bail!(
            "not seen within {limit:?}: {what}. Answers by zone: {answers:?}, failed: {failed}, last failure: {last_error:?}"
        )
    }

    /// The next `count` requests are all answered by `zone`.
    ///
    /// # Errors
    /// One is not; the error says what was seen instead.
    pub async fn all_from(&self, zone: &str, count: usize, limit: Duration) -> Result<()> {
        self.mark();
        let seen = self
            .wait(&format!("{count} requests"), limit, |seen| seen.total() >= count)
            .await?;
        ensure!(
            seen.failed == 0 && seen.answers.keys().all(|other| other == zone),
            "not all of {} were answered by {zone}: {:?}, failed: {}, last failure: {:?}",
            seen.total(),
            seen.answers,
            seen.failed,
            seen.last_error
        );
        Ok(())
    }

    /// Waits until another zone answers, or answers stop or return: the zone, or why there is no answer.
    pub async fn change(&self) -> Result<String, String> {
        let mut receiver = self.seen.subscribe();
        let answering = |seen: &Seen| (seen.streak > 0).then(|| seen.zone.clone());
        let before = answering(&receiver.borrow());
        let changed = receiver.wait_for(|seen| answering(seen) != before).await;
        changed
            .map_err(|_| "the application ended".to_owned())
            .and_then(|seen| answering(&seen).ok_or(seen.last_error.clone()))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(machine: &Machine, question: Question, name: &str, to: SocketAddr) -> Result<String> {
    let stream = machine.connect(to).await?;
    match question {
        Question::Redis => RedisConnection::over(stream).zone().await,
        Question::Http => {
            let mut connection = HttpConnection::over(stream, name, HttpVersion::Http1).await?;
            let response = connection.send(Request::get("/").body(Bytes::new())?).await?;
            ensure!(response.status().is_success(), "status {}", response.status());
            let zone = response.headers().get("x-zone").context("an answer without a zone")?;
            Ok(zone.to_str()?.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn gap_streak_and_failures_are_counted_since_the_mark() {
        let mut seen = Seen::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        seen.note(Ok("east".into()), at(0));
        seen.note(Ok("east".into()), at(20));
        assert_eq!((seen.streak, seen.gap.as_millis()), (2, 20));
        seen.mark();
        assert_eq!((seen.zone.as_str(), seen.streak, seen.total()), ("east", 0, 0));
        seen.note(Err(anyhow::anyhow!("reset")), at(40));
        seen.note(Ok("west".into()), at(320));
        seen.note(Ok("west".into()), at(340));
        assert_eq!(
            (seen.failed, seen.streak, seen.gap.as_millis(), seen.total()),
            (1, 2, 300, 3)
        );
        assert_eq!(seen.last_error, "reset");
    }
}
