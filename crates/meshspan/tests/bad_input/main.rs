//! What the binary says and how it ends when something is wrong on its host or in its settings. Needs no privileges.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod agent;
mod control_plane;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time until a program that cannot work has ended.
const LIMIT: Duration = Duration::from_secs(30);

/// The binary with these arguments.
fn meshspan(arguments: &[&str]) -> Command {
    meshspan_demo::Program::new(env!("CARGO_BIN_EXE_meshspan")).command(arguments)
}

/// Runs a command that must fail by itself, and returns its exit code and everything that it said.
fn fails(mut command: Command) -> (i32, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Nothing happens to one that has ended.
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let code = output
        .status
        .code()
        .unwrap_or_else(|| panic!("it went on until it was killed:\n{said}"));
    assert_ne!(code, 0, "{said}");
    assert!(!said.contains("panicked"), "{said}");
    (code, said)
}

/// All of `texts` are in what was said.
fn says(said: &str, texts: &[&str]) {
    for text in texts {
        assert!(said.contains(text), "{text:?} is not in:\n{said}");
    }
}
