//! Whatever is killed, nothing of a lab outlives it. Needs root or user namespaces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running `meshspan-lab hold`.
struct Held {
    supervisor: Child,
    lines: BufReader<ChildStdout>,
    /// Everything that it printed before `ready`.
    said: String,
}

impl Held {
    fn start(flags: &[&str]) -> Self {
        let mut supervisor = Command::new(env!("CARGO_BIN_EXE_meshspan-lab"))
            .arg("hold")
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut held = Self {
            lines: BufReader::new(supervisor.stdout.take().unwrap()),
            supervisor,
            said: String::new(),
        };
        held.said = held.read_until("ready");
        held
    }

    fn read_until(&mut self, wanted: &str) -> String {
        let mut said = String::new();
        loop {
            let start = said.len();
            let read = self.lines.read_line(&mut said).unwrap();
            assert_ne!(read, 0, "it ended before it said {wanted:?}: {said}");
            if said[start..].trim() == wanted {
                return said;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        send(self.supervisor.id(), signal);
    }

    /// All processes below the supervisor: unshare, the lab, three redis.
    fn processes(&self) -> Vec<u32> {
        let below = descendants(self.supervisor.id());
        assert_eq!(below.len(), 5, "{below:?}");
        below
    }
}

fn send(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process as i32).unwrap(), signal).unwrap();
}

/// Processes below `process`, parents first.
fn descendants(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        for child in all_processes() {
            let Ok(stat) = fs::read_to_string(format!("/proc/{child}/stat")) else {
                continue;
            };
            let after_name = stat.rsplit(')').next().unwrap();
            if after_name.split_whitespace().nth(1).unwrap().parse() == Ok(parent) {
                found.push(child);
            }
        }
    }
    found.split_off(1)
}

fn all_processes() -> BTreeSet<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .collect()
}

/// Network and mount namespaces that the process is in, as the kernel names them.
fn namespaces(process: u32) -> Vec<String> {
    ["net", "mnt"]
        .iter()
        .filter_map(|kind| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok())
        .map(|link| link.display().to_string())
        .collect()
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(10));
    }
}

/// What the machine shows of a lab: mounts and interfaces.
fn machine() -> (String, String) {
    let links = Command::new("ip").args(["-o", "link"]).output().unwrap().stdout;
    (
        fs::read_to_string("/proc/self/mounts").unwrap(),
        String::from_utf8(links).unwrap(),
    )
}

/// Starts a lab, does something to it, and checks that all of it goes.
fn nothing_is_left_after(flags: &[&str], end: impl FnOnce(&mut Held)) -> ExitStatus {
    let before = machine();
    let mut held = Held::start(flags);
    assert_eq!(machine(), before, "a lab shows on the machine");
    let processes = held.processes();
    let own: BTreeSet<String> = namespaces(std::process::id()).into_iter().collect();
    let of_lab: BTreeSet<String> = processes
        .iter()
        .skip(1)
        .flat_map(|process| namespaces(*process))
        .filter(|namespace| !own.contains(namespace))
        .collect();
    assert!(
        of_lab.len() >= 8,
        "four network and mount namespaces were expected: {of_lab:?}"
    );
    end(&mut held);
    let status = held.supervisor.wait().unwrap();
    eventually("the end of all processes", || {
        processes.iter().all(|process| !all_processes().contains(process))
    });
    let used: BTreeSet<String> = all_processes().into_iter().flat_map(namespaces).collect();
    assert!(used.is_disjoint(&of_lab), "a namespace is still in use");
    assert_eq!(machine(), before);
    status
}

#[test]
fn ctrl_c() {
    let status = nothing_is_left_after(&[], |held| held.signal(Signal::INT));
    assert_eq!(status.code(), Some(0), "the program could end as it likes");
}

#[test]
fn second_ctrl_c() {
    let status = nothing_is_left_after(&["--stubborn"], |held| {
        held.signal(Signal::INT);
        held.read_until("interrupted");
        held.signal(Signal::INT);
    });
    assert_eq!(status.code(), Some(137));
}

#[test]
fn hangup() {
    nothing_is_left_after(&[], |held| held.signal(Signal::HUP));
}

#[test]
fn kill_of_the_supervisor() {
    nothing_is_left_after(&[], |held| held.signal(Signal::KILL));
}

#[test]
fn kill_of_unshare() {
    nothing_is_left_after(&[], |held| send(held.processes()[0], Signal::KILL));
}

#[test]
fn kill_of_the_program() {
    let status = nothing_is_left_after(&[], |held| send(held.processes()[1], Signal::KILL));
    assert!(!status.success());
}

#[test]
fn the_machine_reaches_a_host_through_the_outside_listener() {
    let mut held = Held::start(&["--outside", "127.0.0.1:0"]);
    let address = held
        .said
        .lines()
        .find_map(|line| line.strip_prefix("outside: "))
        .unwrap()
        .to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all(b"GET zone\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "$4\r\neast\r\n+OK\r\n");
    held.signal(Signal::INT);
    assert!(held.supervisor.wait().unwrap().success());
    assert!(TcpStream::connect(&address).is_err(), "the listener is gone");
}

#[test]
fn without_programs_the_reason_is_given() {
    let output = Command::new(env!("CARGO_BIN_EXE_meshspan-lab"))
        .arg("hold")
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("util-linux"), "{said}");
}

#[test]
fn where_the_kernel_forbids_namespaces_the_reason_is_given() {
    // A user namespace in which no network namespace may be made.
    let script = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$0\" hold";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--", "sh", "-c", script])
        .arg(env!("CARGO_BIN_EXE_meshspan-lab"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("this machine gives us no network namespace"), "{said}");
}
