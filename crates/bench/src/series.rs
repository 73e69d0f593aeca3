//! One series of changes, one after the other, and what each process did for them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::fake_envoy::Received;
use crate::latency::Latency;
use crate::observation::Observer;
use crate::process::{Usage, Watched};
use crate::stage::Stage;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Series {
    /// Who looked, for people.
    pub title: &'static str,
    /// How often the instance changed: twice for each time that it got ready.
    pub changes: u32,
    /// Times at the points of the way.
    pub points: Vec<Point>,
    /// What one ADS stream in east received for all changes.
    pub received: Received,
    /// What each process did for all changes.
    pub work: Vec<Work>,
}

/// From the report of the agent in west to the sight of it at one point of the way, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Point {
    /// Where.
    pub name: &'static str,
    /// Times until the instance was seen as ready.
    pub ready: Latency,
    /// Times until it was seen as unready.
    pub unready: Latency,
}

/// What a process did in a series.
#[derive(Debug, Serialize)]
pub struct Work {
    /// Its name.
    pub process: String,
    /// CPU time for one change, in milliseconds.
    pub cpu_ms: f64,
    /// How often its threads woke up for one change.
    pub wakeups: f64,
    /// Bytes written to disk for one change.
    pub written: f64,
}

/// Lets the instance in west get unready and ready again, `rounds` times, and waits each time until every observer has seen it.
///
/// # Errors
/// A change is not seen, or a process ended.
pub async fn measure(
    title: &'static str,
    stage: &Stage,
    observers: &mut [Observer],
    rounds: u32,
    pause: Duration,
) -> Result<Series> {
    // The first sight counts for nothing: it tells that everything is connected.
    report_and_wait(stage, observers, true).await?;
    let mut times: Vec<[Vec<Duration>; 2]> = observers.iter().map(|_| <[Vec<Duration>; 2]>::default()).collect();
    let before = usage(stage.processes())?;
    let received = stage.received_in_east();
    for round in 0..rounds {
        for ready in [false, true] {
            tokio::time::sleep(pause).await;
            let seen = report_and_wait(stage, observers, ready)
                .await
                .with_context(|| format!("in round {round}"))?;
            for (times, took) in times.iter_mut().zip(seen) {
                let [unready_times, ready_times] = times;
                if ready {
                    ready_times.push(took)
                } else {
                    unready_times.push(took)
                }
            }
        }
    }
    let changes = rounds * 2;
    let after = usage(stage.processes())?;
    let points = observers.iter().zip(times).map(|(observer, [unready, ready])| Point {
        name: observer.point,
        ready: Latency::of(ready),
        unready: Latency::of(unready),
    });
    let work = stage
        .processes()
        .iter()
        .zip(before.iter().zip(after))
        .map(|(process, (before, after))| {
            let used = after.since(*before);
            Work {
                process: process.name.clone(),
                cpu_ms: used.cpu.as_secs_f64() * 1000.0 / f64::from(changes),
                wakeups: used.sleeps as f64 / f64::from(changes),
                written: used.written as f64 / f64::from(changes),
            }
        });
    Ok(Series {
        title,
        changes,
        points: points.collect(),
        received: stage.received_in_east().since(received),
        work: work.collect(),
    })
}

async fn report_and_wait(stage: &Stage, observers: &mut [Observer], ready: bool) -> Result<Vec<Duration>> {
    let start = Instant::now();
    stage.report(ready).await?;
    let mut seen = Vec::with_capacity(observers.len());
    for observer in observers {
        seen.push(observer.since(ready).await?.saturating_duration_since(start));
    }
    Ok(seen)
}

fn usage(processes: &[Watched]) -> Result<Vec<Usage>> {
    processes.iter().map(Watched::usage).collect()
}
