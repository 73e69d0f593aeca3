//! An application that asks a service again and again, and what it sees.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::Request;
use meshspan_lab::{HttpConnection, HttpVersion, RedisConnection};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use crate::machine::Machine;

/// Time between two requests.
pub const PACE: Duration = Duration::from_millis(20);
/// A request without an answer for so long is late: the application asks again meanwhile, and it counts as neither answered nor failed.
///
/// It says nothing about the mesh: on a busy machine the dozen processes that one request wakes may each wait for a processor.
const PATIENCE: Duration = Duration::from_secs(1);
/// A request without an answer for so long has failed.
const LIMIT: Duration = Duration::from_secs(10);

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
    /// Requests that failed or got no answer in ten seconds.
    pub failed: usize,
    /// Requests that took longer than a second, whatever became of them.
    pub late: usize,
    /// Those of them that have not ended yet.
    pub open: usize,
    /// How long the slowest of those that have ended took.
    pub slowest: Duration,
    /// Why the last of them failed.
    pub last_error: String,
    /// Zone of the latest answer.
    pub zone: String,
    /// Answers of that zone in a row, without a failure or a late request in between.
    pub streak: usize,
    /// Longest time between two answers.
    pub gap: Duration,
    latest: Option<Instant>,
    /// How often [`Traffic::mark`] was called.
    marks: u64,
}

impl Seen {
    /// Requests that have ended.
    pub fn total(&self) -> usize {
        self.failed + self.answers.values().sum::<usize>()
    }

    fn note(&mut self, outcome: Result<String>, now: Instant) {
        match outcome {
            Ok(zone) => {
                self.streak = if self.zone == zone { self.streak + 1 } else { 1 };
                self.zone.clone_from(&zone);
                self.answered(zone, now);
            }
            Err(error) => self.failed(&error),
        }
    }

    fn note_late(&mut self) {
        self.late += 1;
        self.open += 1;
        self.streak = 0;
        self.last_error = format!("no answer within {PATIENCE:?}");
    }

    /// A late request ends. The zone of the latest answer is that of a request which was sent after it.
    fn note_end_of_late(&mut self, outcome: Result<String>, began: Instant, now: Instant) {
        self.open -= 1;
        self.slowest = self.slowest.max(now - began);
        match outcome {
            Ok(zone) => self.answered(zone, now),
            Err(error) => self.failed(&error),
        }
    }

    fn answered(&mut self, zone: String, now: Instant) {
        *self.answers.entry(zone).or_default() += 1;
        if let Some(latest) = self.latest.replace(now) {
            self.gap = self.gap.max(now - latest);
        }
    }

    fn failed(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        self.streak = 0;
        self.last_error = format!("{error:#}");
    }

    fn mark(&mut self) {
        *self = Self {
            zone: std::mem::take(&mut self.zone),
            latest: self.latest,
            marks: self.marks + 1,
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
        let task = tokio::spawn(ask_for_ever(machine, question, name, to, seen.clone()));
        Self { seen, task }
    }

    /// Forgets everything but the zone and the time of the latest answer; requests that are under way do not count any more.
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
    pub async fn all_from(&self, zone: &str, count: usize, limit: Duration) -> Result<Seen> {
        self.mark();
        let seen = self.all_answered(count, limit).await?;
        ensure!(
            seen.answers.keys().all(|other| other == zone),
            "not all of {} were answered by {zone}: {:?}",
            seen.total(),
            seen.answers
        );
        Ok(seen)
    }

    /// All requests since the last [`Traffic::mark`] are answered. Waits until there are `count` of them, and for late answers.
    ///
    /// # Errors
    /// One is not; the error says what was seen instead.
    pub async fn all_answered(&self, count: usize, limit: Duration) -> Result<Seen> {
        let done = |seen: &Seen| seen.failed > 0 || (seen.total() >= count && seen.open == 0);
        let seen = self.wait(&format!("{count} requests"), limit, done).await?;
        ensure!(
            seen.failed == 0,
            "{} of {} requests failed, the last one: {}. Answers by zone: {:?}, late: {}",
            seen.failed,
            seen.total(),
            seen.last_error,
            seen.answers,
            seen.late
        );
        Ok(seen)
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

async fn ask_for_ever(machine: Machine, question: Question, name: String, to: SocketAddr, seen: watch::Sender<Seen>) {
    let mut late = JoinSet::new();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let (marks, began) = (seen.borrow().marks, Instant::now());
        let mut request = Box::pin(ask(machine.clone(), question, name.clone(), to));
        if let Ok(outcome) = timeout(PATIENCE, &mut request).await {
            note(&seen, marks, |seen| seen.note(outcome, Instant::now()));
            continue;
        }
        note(&seen, marks, Seen::note_late);
        let seen = seen.clone();
        late.spawn(async move {
            let outcome = request.await;
            note(&seen, marks, |seen| {
                seen.note_end_of_late(outcome, began, Instant::now())
            });
        });
        while late.try_join_next().is_some() {}
    }
}

/// Notes something about a request that began after so many marks, unless there was another one meanwhile.
fn note(seen: &watch::Sender<Seen>, marks: u64, change: impl FnOnce(&mut Seen)) {
    seen.send_if_modified(|seen| {
        let counts = seen.marks == marks;
        if counts {
            change(seen);
        }
        counts
    });
}

/// The error names the port of the connection, by which a recording of packets is searched.
async fn ask(machine: Machine, question: Question, name: String, to: SocketAddr) -> Result<String> {
    let began = Instant::now();
    let stream = timeout(LIMIT, machine.connect(to)).await;
    let stream = stream.with_context(|| format!("no connection to {to} within {LIMIT:?}"))??;
    let (from, opened) = (stream.local_addr()?, began.elapsed());
    let answer = timeout_at(began + LIMIT, exchange(stream, question, &name)).await;
    answer
        .with_context(|| format!("no answer within {LIMIT:?}"))
        .flatten()
        .with_context(|| format!("on the connection from {from}, which was open after {opened:?}"))
}

async fn exchange(stream: TcpStream, question: Question, name: &str) -> Result<String> {
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

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

    #[test]
    fn a_late_answer_is_an_answer_and_one_from_before_the_mark_is_not() {
        let (seen, _) = watch::channel(Seen::default());
        let now = Instant::now();
        note(&seen, 0, |seen| seen.note(Ok("east".into()), now));
        note(&seen, 0, Seen::note_late);
        note(&seen, 0, |seen| seen.note(Ok("west".into()), now));
        let before = seen.borrow().clone();
        assert_eq!((before.late, before.open, before.streak, before.total()), (1, 1, 1, 2));
        note(&seen, 0, |seen| {
            seen.note_end_of_late(Ok("east".into()), now - 2 * PATIENCE, now)
        });
        let after = seen.borrow().clone();
        assert_eq!((after.late, after.open, after.failed, after.total()), (1, 0, 0, 3));
        assert_eq!((after.zone.as_str(), after.answers["east"]), ("west", 2));
        assert_eq!(after.slowest, 2 * PATIENCE);

        note(&seen, 0, Seen::note_late);
        seen.send_modify(Seen::mark);
        note(&seen, 0, |seen| {
            seen.note_end_of_late(Err(anyhow::anyhow!("reset")), now, now)
        });
        assert_eq!((seen.borrow().failed, seen.borrow().open), (0, 0));
    }

    /// Answers like a Redis of zone east, except the first connection, which gets its answer after `held` others.
    async fn slow_redis(listener: TcpListener, held: usize) {
        async fn answer(mut stream: TcpStream) {
            let mut command = [0; 64];
            if stream.read(&mut command).await.unwrap() > 0 {
                stream.write_all(b"$4\r\neast\r\n").await.unwrap();
            }
        }
        let (first, _) = listener.accept().await.unwrap();
        for _ in 0..held {
            answer(listener.accept().await.unwrap().0).await;
        }
        answer(first).await;
        loop {
            answer(listener.accept().await.unwrap().0).await;
        }
    }

    #[tokio::test]
    async fn a_request_that_waits_long_holds_nothing_up_and_is_not_lost() {
        let network = crate::Network::loopback().unwrap();
        let machine = network.machine("client", 1, 1).await.unwrap();
        let listener = TcpListener::bind((machine.address(), 0)).await.unwrap();
        let to = listener.local_addr().unwrap();
        let server = tokio::spawn(slow_redis(listener, 5));
        let traffic = Traffic::start(machine, Question::Redis, "redis".into(), to);
        let seen = traffic.all_answered(6, Duration::from_secs(60)).await.unwrap();
        assert!(seen.late >= 1 && seen.open == 0 && seen.failed == 0, "{seen:?}");
        server.abort();
    }
}
