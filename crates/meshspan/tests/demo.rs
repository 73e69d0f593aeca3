//! `meshspan demo --once` as its users run it: it succeeds and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Runs the demo with a temporary folder of its own, and returns what it said.
fn demo(flags: &[&str], temporary: &Path) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_meshspan"))
        .args(["demo", "--once"])
        .args(flags)
        .env("TMPDIR", temporary)
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output, said)
}

/// Processes whose environment names this folder: children of a demo that ran with it.
fn left_behind(temporary: &Path) -> Vec<String> {
    let marker = format!("TMPDIR={}\0", temporary.display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes
        .filter(|process| {
            let environment = std::fs::read(process.join("environ")).unwrap_or_default();
            environment
                .windows(marker.len())
                .any(|window| window == marker.as_bytes())
        })
        .map(|process| std::fs::read_to_string(process.join("cmdline")).unwrap_or_default())
        .collect()
}

fn tells_the_story(flags: &[&str]) -> String {
    let temporary = tempfile::tempdir().unwrap();
    let (output, said) = demo(flags, temporary.path());
    assert!(output.status.success(), "{}: {said}", output.status);
    for line in [
        "redis: 50 of 50 requests answered by east",
        "echo: 50 of 50 requests answered by west",
        "without an answer for",
        "Everything above was observed.",
    ] {
        assert!(said.contains(line), "{line:?} is not in:\n{said}");
    }
    assert_eq!(left_behind(temporary.path()), Vec::<String>::new(), "{said}");
    let files: Vec<_> = std::fs::read_dir(temporary.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert!(files.is_empty(), "{files:?}\n{said}");
    said
}

#[test]
fn in_namespaces() {
    let said = tells_the_story(&[]);
    assert!(
        said.contains("looks redis.mzsvc.mesh.local up and finds 243."),
        "{said}"
    );
}

#[test]
fn on_loopback_addresses() {
    let said = tells_the_story(&["--no-interception", "--no-redis-server"]);
    assert!(said.contains("no interception and no names"), "{said}");
}

/// A demo that stays up.
struct Staying {
    demo: Child,
    lines: BufReader<ChildStdout>,
}

impl Staying {
    /// Starts it and waits until it says that it stays; returns everything that it said.
    fn start(flags: &[&str], temporary: &Path) -> (Self, String) {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_meshspan"))
            .arg("demo")
            .args(flags)
            .env("TMPDIR", temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut staying = Self {
            lines: BufReader::new(demo.stdout.take().unwrap()),
            demo,
        };
        let said = staying.read_until("The requests go on");
        (staying, said)
    }

    fn read_until(&mut self, wanted: &str) -> String {
        let mut said = String::new();
        loop {
            let start = said.len();
            assert_ne!(
                self.lines.read_line(&mut said).unwrap(),
                0,
                "it ended before it said {wanted:?}:\n{said}"
            );
            if said[start..].contains(wanted) {
                return said;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.demo.id().cast_signed()).unwrap(), signal).unwrap();
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        // Nothing happens to one that has ended.
        let _ = self.demo.kill();
        let _ = self.demo.wait();
    }
}

/// The commands that the demo proposes, as arguments of the binary.
fn proposals(said: &str) -> Vec<Vec<String>> {
    let lines = said.lines().filter_map(|line| line.strip_prefix("    "));
    let commands = lines.filter(|line| {
        line.split_whitespace()
            .next()
            .is_some_and(|program| program.ends_with("meshspan"))
    });
    commands
        .map(|command| command.split_whitespace().skip(1).map(str::to_owned).collect())
        .collect()
}

#[test]
fn it_stays_up_shows_what_the_user_does_and_ends_on_ctrl_c() {
    let temporary = tempfile::tempdir().unwrap();
    let (mut demo, said) = Staying::start(&["--api-port", "0"], temporary.path());
    let proposals = proposals(&said);
    assert_eq!(proposals.len(), 3, "{said}");
    for proposal in &proposals {
        let output = Command::new(env!("CARGO_BIN_EXE_meshspan"))
            .args(proposal)
            .output()
            .unwrap();
        let answer = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            output.status.success() && answer.contains("redis"),
            "{proposal:?}: {answer}"
        );
    }
    // The last one deletes the service, which its clients notice.
    demo.read_until("redis:");
    demo.signal(Signal::INT);
    let status = demo.demo.wait().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(left_behind(temporary.path()), Vec::<String>::new());
}

#[test]
fn a_killed_demo_leaves_no_process() {
    for flags in [&[][..], &["--no-interception"]] {
        let temporary = tempfile::tempdir().unwrap();
        let (mut demo, _) = Staying::start(&[flags, &["--api-port", "0"]].concat(), temporary.path());
        demo.signal(Signal::KILL);
        demo.demo.wait().unwrap();
        // The kernel ends the processes one after the other.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !left_behind(temporary.path()).is_empty() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(left_behind(temporary.path()), Vec::<String>::new(), "{flags:?}");
    }
}
