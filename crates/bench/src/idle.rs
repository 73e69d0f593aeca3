//! What processes cost when nothing changes.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::process::{Memory, Usage, Watched};

/// One process at rest.
#[derive(Debug, Serialize)]
pub struct Idle {
    /// Which.
    #[serde(flatten)]
    pub process: Watched,
    /// CPU in percent of one core.
    pub cpu_percent: f64,
    /// How often its threads woke up in a second.
    pub wakeups_per_second: f64,
    /// Bytes written to disk in a second.
    pub written_per_second: f64,
    /// Memory at the end.
    pub memory: Memory,
}

/// Looks at processes for some time. The looking itself costs them nothing.
///
/// # Errors
/// One of them has ended.
pub async fn measure(processes: &[Watched], time: Duration) -> Result<Vec<Idle>> {
    let start = Instant::now();
    let before: Vec<Usage> = processes.iter().map(Watched::usage).collect::<Result<_>>()?;
    tokio::time::sleep(time).await;
    let seconds = start.elapsed().as_secs_f64();
    let idle = processes.iter().zip(before).map(|(process, before)| {
        let used = process.usage()?.since(before);
        Ok(Idle {
            process: process.clone(),
            cpu_percent: used.cpu.as_secs_f64() / seconds * 100.0,
            wakeups_per_second: used.sleeps as f64 / seconds,
            written_per_second: used.written as f64 / seconds,
            memory: process.memory()?,
        })
    });
    idle.collect()
}
