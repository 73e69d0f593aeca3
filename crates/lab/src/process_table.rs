//! Which processes exist, from `/proc` of the process namespace of the lab.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

/// Process 1 is the program that made the lab.
const LAB: u32 = 1;

/// `process` and everything below it, parents first. A process whose parent has ended is not below it any more.
pub fn with_descendants(process: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = processes()
        .into_iter()
        .filter_map(|process| Some((process, parent(process)?)))
        .collect();
    let mut found = vec![process];
    let mut next = 0;
    while let Some(current) = found.get(next).copied() {
        next += 1;
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == current)
                .map(|(process, _)| *process),
        );
    }
    found
}

/// Processes in the network namespace that the kernel calls `network`.
pub fn in_network(network: &PathBuf) -> Vec<u32> {
    processes()
        .into_iter()
        .filter(|process| fs::read_link(format!("/proc/{process}/ns/net")).is_ok_and(|link| link == *network))
        .collect()
}

/// Kills all of them at once, except the lab itself.
pub fn kill(processes: &[u32]) {
    for process in processes.iter().filter(|process| **process != LAB) {
        if let Some(process) = Pid::from_raw(process.cast_signed()) {
            // It fails only if the process has just ended.
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may contain anything; after it come the state and the parent.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}
