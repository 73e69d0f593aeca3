//! What the kernel says of a process (`proc(5)`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

/// Ticks in a second: `USER_HZ`, which is part of the kernel's interface and 100 on every architecture that Envoy runs on.
const TICKS: u64 = 100;

/// What a process is for; goals differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Of a zone, or the global one.
    ControlPlane,
    /// Beside an Envoy.
    Agent,
    /// The proxy itself.
    Envoy,
}

/// One process of the mesh.
#[derive(Debug, Clone, Serialize)]
pub struct Watched {
    /// For people.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its id.
    pub pid: u32,
}

/// What a process has used since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all its threads, to 10 ms.
    pub cpu: Duration,
    /// How often its living threads went to sleep of their own accord, and so woke up.
    pub sleeps: u64,
    /// Bytes that it caused to be written to disk.
    pub written: u64,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident bytes, shared pages included.
    pub resident: u64,
    /// Resident bytes, each shared page divided by the number of its users.
    pub proportional: u64,
    /// Resident bytes that are not backed by a file: heap and stacks.
    pub anonymous: u64,
    /// The most resident bytes that it ever had.
    pub peak: u64,
    /// Threads.
    pub threads: u64,
}

impl Watched {
    /// What it has used.
    ///
    /// # Errors
    /// It does not exist any more.
    pub fn usage(&self) -> Result<Usage> {
        let stat = self.read("stat")?;
        let ticks = stat_field(&stat, 14)
            .zip(stat_field(&stat, 15))
            .context("/proc/<pid>/stat has no CPU times")?;
        let mut sleeps = 0;
        for thread in fs::read_dir(self.path("task")).with_context(|| self.gone())?.flatten() {
            // A thread may end at any moment.
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            sleeps += value(&status, "voluntary_ctxt_switches").unwrap_or(0);
        }
        let io = self.read("io")?;
        let written = value(&io, "write_bytes")
            .unwrap_or(0)
            .saturating_sub(value(&io, "cancelled_write_bytes").unwrap_or(0));
        Ok(Usage {
            cpu: Duration::from_millis((ticks.0 + ticks.1) * (1000 / TICKS)),
            sleeps,
            written,
        })
    }

    /// What it holds.
    ///
    /// # Errors
    /// It does not exist any more.
    pub fn memory(&self) -> Result<Memory> {
        let (rollup, status) = (self.read("smaps_rollup")?, self.read("status")?);
        let bytes = |text: &str, name| value(text, name).unwrap_or(0) * 1024;
        Ok(Memory {
            resident: bytes(&rollup, "Rss"),
            proportional: bytes(&rollup, "Pss"),
            anonymous: bytes(&rollup, "Anonymous"),
            peak: bytes(&status, "VmHWM"),
            threads: value(&status, "Threads").unwrap_or(0),
        })
    }

    fn path(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join(file)
    }

    fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.path(file)).with_context(|| self.gone())
    }

    fn gone(&self) -> String {
        format!("{} (process {}) cannot be looked at", self.name, self.pid)
    }
}

impl Usage {
    /// What was used since an earlier look at the same process.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            sleeps: self.sleeps.saturating_sub(earlier.sleeps),
            written: self.written.saturating_sub(earlier.written),
        }
    }
}

/// The processes that this process has started and that have not ended.
///
/// # Errors
/// There is no `/proc`.
pub fn children(of: u32) -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("reading /proc")?;
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat_field(&stat, 4) == Some(of.into()) && !is_zombie(&stat)
    };
    Ok(pids.filter(is_child).collect())
}

/// How many threads wanted to run in the last 1, 5 and 15 minutes, on average. Beyond the number of CPUs, times say more of the
/// machine than of the mesh.
///
/// # Errors
/// There is no `/proc`.
pub fn load_average() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg").context("reading /proc/loadavg")?;
    Ok(text.split_ascii_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// A field of `/proc/<pid>/stat`, numbered from 1 as in `proc(5)`. The second one, a name in brackets, may hold anything.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn is_zombie(stat: &str) -> bool {
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// The number behind `name:` in a file of such lines.
fn value(text: &str, name: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use super::*;

    const STAT: &str = "42 (a) b) S 7 42 42 0 -1 4194304 155 0 0 0 250 50 0 0 20 0 1 0 0 0";

    #[test]
    fn names_with_brackets_do_not_shift_fields() {
        assert_eq!(stat_field(STAT, 4), Some(7));
        assert_eq!(stat_field(STAT, 14), Some(250));
        assert_eq!(stat_field(STAT, 15), Some(50));
        assert_eq!(stat_field(STAT, 99), None);
        assert_eq!(stat_field("", 4), None);
        assert!(!is_zombie(STAT) && is_zombie("42 (a) Z 7"));
    }

    #[test]
    fn values_are_found_by_their_whole_name() {
        let status = "VmRSS:\t  10 kB\nnonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t4\n";
        assert_eq!(value(status, "voluntary_ctxt_switches"), Some(4));
        assert_eq!(value(status, "VmRSS"), Some(10));
        assert_eq!(value(status, "Vm"), None);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let watched = Watched {
            name: "test".to_owned(),
            role: Role::Agent,
            pid: std::process::id(),
        };
        let (before, memory) = (watched.usage().unwrap(), watched.memory().unwrap());
        assert!(
            memory.resident > 0 && memory.proportional > 0 && memory.peak >= memory.anonymous && memory.threads > 0
        );
        let started = std::time::Instant::now();
        while watched.usage().unwrap().since(before).cpu < Duration::from_millis(20) {
            assert!(started.elapsed() < Duration::from_secs(60));
        }
    }

    #[test]
    fn children_are_those_that_live() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(children(std::process::id()).unwrap().contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children(std::process::id()).unwrap().contains(&child.id()));
    }
}
