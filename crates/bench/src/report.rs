//! The report: tables for people, JSON for comparing runs, and the goals.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::args::Args;
use crate::idle::Idle;
use crate::latency::Latency;
use crate::process::Role;
use crate::series::Series;
use crate::table::Table;

/// Milliseconds from an instance's report in one zone to a client's Envoy in another, p99.
const GOAL_LATENCY_MS: f64 = 50.0;
/// Resident memory of a control plane, in bytes.
const GOAL_MEMORY: u64 = 40 << 20;
/// CPU of a control plane when nothing changes, in percent of one core.
const GOAL_CPU_PERCENT: f64 = 0.5;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    program: PathBuf,
    proxies_per_zone: u8,
    pause_ms: u64,
    idle_seconds: u64,
    cpus: usize,
    load_average: String,
    goals: Vec<Goal>,
    series: Vec<Series>,
    idle: Vec<Idle>,
    /// What the control plane in east says of the client's Envoy: its counters of endpoint responses.
    client_endpoint_responses: Value,
}

/// A goal and whether it is met here.
#[derive(Debug, Serialize)]
struct Goal {
    what: String,
    wanted: String,
    measured: String,
    met: bool,
}

impl Report {
    /// Collects it.
    pub fn new(
        program: &Path,
        args: &Args,
        load_average: String,
        series: Vec<Series>,
        idle: Vec<Idle>,
        client_endpoint_responses: Value,
    ) -> Self {
        Self {
            program: program.to_owned(),
            proxies_per_zone: args.proxies,
            pause_ms: args.pause,
            idle_seconds: args.idle,
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            load_average,
            goals: goals(&series, &idle),
            series,
            idle,
            client_endpoint_responses,
        }
    }
}

fn goals(series: &[Series], idle: &[Idle]) -> Vec<Goal> {
    let mut goals = Vec::new();
    // The last point of the last series is the client's Envoy.
    if let Some(point) = series.last().and_then(|series| series.points.last()) {
        goals.push(Goal {
            what: format!("ready in west -> {}, p99", point.name),
            wanted: format!("< {GOAL_LATENCY_MS:.0} ms"),
            measured: format!("{:.1} ms", point.ready.p99),
            met: point.ready.p99 < GOAL_LATENCY_MS,
        });
    }
    for idle in idle.iter().filter(|idle| idle.process.role == Role::ControlPlane) {
        goals.push(Goal {
            what: format!("{}: memory", idle.process.name),
            wanted: format!("< {} MB", GOAL_MEMORY >> 20),
            measured: format!("{} MB", mega(idle.memory.resident)),
            met: idle.memory.resident < GOAL_MEMORY,
        });
        goals.push(Goal {
            what: format!("{}: idle CPU", idle.process.name),
            wanted: format!("< {GOAL_CPU_PERCENT} %"),
            measured: format!("{:.2} %", idle.cpu_percent),
            met: idle.cpu_percent < GOAL_CPU_PERCENT,
        });
    }
    goals
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, {} fake proxies in each zone",
            self.program.display(),
            self.proxies_per_zone
        )?;
        writeln!(
            f,
            "load average of this machine with {} CPUs: {}",
            self.cpus, self.load_average
        )?;
        for series in &self.series {
            write_series(f, series)?;
        }
        writeln!(f, "\nAt rest, over {} s; memory in MB (2^20 bytes)", self.idle_seconds)?;
        write!(f, "{}", idle_table(&self.idle))?;
        writeln!(
            f,
            "\nEndpoint responses to the client's Envoy, as its control plane counts: {}",
            self.client_endpoint_responses
        )?;
        writeln!(f, "\nGoals")?;
        let mut table = Table::new(&["", "goal", "measured", ""]);
        for goal in &self.goals {
            let verdict = if goal.met { "met" } else { "NOT MET" };
            table.add(vec![
                goal.what.clone(),
                goal.wanted.clone(),
                goal.measured.clone(),
                verdict.to_owned(),
            ]);
        }
        write!(f, "{table}")
    }
}

fn write_series(f: &mut fmt::Formatter<'_>, series: &Series) -> fmt::Result {
    writeln!(
        f,
        "\n{} changes of the instance in west, seen by {}; ms since its agent's report",
        series.changes, series.title
    )?;
    let mut table = Table::new(&["", "count", "p50", "p90", "p99", "max"]);
    for point in &series.points {
        for (what, latency) in [("ready", point.ready), ("unready", point.unready)] {
            table.add(latency_row(format!("{what} -> {}", point.name), latency));
        }
    }
    write!(f, "{table}")?;
    let each = |count: u64| format!("{:.2}", count as f64 / f64::from(series.changes));
    let (responses, bytes) = (each(series.received.responses), each(series.received.bytes));
    writeln!(
        f,
        "  for each change: {responses} endpoint responses of {bytes} bytes to one ADS stream in east, and"
    )?;
    let mut table = Table::new(&["", "CPU ms", "wakeups", "KB to disk"]);
    for work in &series.work {
        let numbers = [work.cpu_ms, work.wakeups, work.written / 1024.0];
        table.add(
            std::iter::once(work.process.clone())
                .chain(numbers.map(|number| format!("{number:.2}")))
                .collect(),
        );
    }
    write!(f, "{table}")
}

fn latency_row(name: String, latency: Latency) -> Vec<String> {
    let times = [latency.p50, latency.p90, latency.p99, latency.max].map(|time| format!("{time:.2}"));
    [name, latency.count.to_string()].into_iter().chain(times).collect()
}

fn idle_table(idle: &[Idle]) -> Table {
    let mut table = Table::new(&[
        "",
        "CPU %",
        "wakeups/s",
        "KB/s to disk",
        "RSS",
        "PSS",
        "anonymous",
        "peak RSS",
        "threads",
    ]);
    for idle in idle {
        let memory = &idle.memory;
        table.add(vec![
            idle.process.name.clone(),
            format!("{:.2}", idle.cpu_percent),
            format!("{:.1}", idle.wakeups_per_second),
            format!("{:.1}", idle.written_per_second / 1024.0),
            mega(memory.resident),
            mega(memory.proportional),
            mega(memory.anonymous),
            mega(memory.peak),
            memory.threads.to_string(),
        ]);
    }
    table
}

fn mega(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fake_envoy::Received;
    use crate::process::{Memory, Watched};
    use crate::series::Point;

    fn series(p99: f64) -> Series {
        let ready = Latency {
            p99,
            ..Latency::default()
        };
        let points = vec![Point {
            name: "Envoy",
            ready,
            unready: Latency::default(),
        }];
        Series {
            title: "test",
            changes: 2,
            points,
            received: Received::default(),
            work: Vec::new(),
        }
    }

    fn idle(role: Role, resident: u64, cpu_percent: f64) -> Idle {
        let memory = Memory {
            resident,
            ..Memory::default()
        };
        let process = Watched {
            name: "global".to_owned(),
            role,
            pid: 1,
        };
        Idle {
            process,
            cpu_percent,
            wakeups_per_second: 0.0,
            written_per_second: 0.0,
            memory,
        }
    }

    fn met(series: &[Series], idle: &[Idle]) -> Vec<bool> {
        goals(series, idle).iter().map(|goal| goal.met).collect()
    }

    #[test]
    fn goals_are_judged_by_the_envoy_and_the_control_planes() {
        assert_eq!(
            met(
                &[series(90.0), series(49.9)],
                &[idle(Role::ControlPlane, 40 << 20, 0.49)]
            ),
            [true, false, true]
        );
        assert_eq!(met(&[series(50.0)], &[idle(Role::Envoy, u64::MAX, 100.0)]), [false]);
    }
}
