#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::fake_control_plane::FAKE_ENVOY;
use std::io::{BufRead, BufReader};

const HOLD: &str = "MESHSPAN_TEST_HOLD_ENVOY";
const RUN_ON: &str = "echo up; while :; do sleep 0.02; done";

fn command(dir: &Path, behaviour: &str) -> EnvoyCommand {
    let config_path = dir.join("bootstrap.yaml");
    std::fs::write(&config_path, format!("# do: {behaviour}\n")).unwrap();
    EnvoyCommand {
        binary: FAKE_ENVOY.into(),
        config_path,
        drain_time: Duration::from_secs(7),
        log_level: Some("warn".to_owned()),
        component_log_level: None,
        concurrency: Some(2),
    }
}

/// Starts a behaviour that prints `up` once it is set up.
async fn start(behaviour: &str) -> EnvoyProcess {
    let dir = tempfile::tempdir().unwrap();
    let process = EnvoyProcess::start(&command(dir.path(), behaviour)).await.unwrap();
    // The script has read its configuration, and set its traps, when it says so.
    while process.tail.last_lines(1) != "up" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    process
}

/// A process that has ended but that its parent has not fetched yet counts as gone.
fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

async fn until_gone(pid: i32) {
    while is_alive(pid) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_crash_shows_status_and_last_output() {
    let dir = tempfile::tempdir().unwrap();
    let behaviour = "echo first; echo 'error initializing configuration: bad field' >&2; exit 3";
    let mut process = EnvoyProcess::start(&command(dir.path(), behaviour)).await.unwrap();
    let exited = process.exited().await;
    assert_eq!(exited.exit_code(), 3);
    let text = exited.to_string();
    assert!(
        text.contains("exit status: 3") && text.contains("bad field") && text.contains(FAKE_ENVOY),
        "{text}"
    );
}

#[tokio::test]
async fn a_signal_counts_as_shells_count_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = EnvoyProcess::start(&command(dir.path(), "kill -ABRT $$"))
        .await
        .unwrap();
    assert_eq!(process.exited().await.exit_code(), 134);
}

#[tokio::test]
async fn the_arguments_are_those_of_kuma_dp() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = EnvoyProcess::start(&command(dir.path(), "echo \"$@\"; exit 1"))
        .await
        .unwrap();
    let shown = process.exited().await.last_log_lines;
    let config = dir.path().join("bootstrap.yaml");
    assert_eq!(
        shown,
        format!(
            "--config-path {} --drain-time-s 7 --drain-strategy immediate --disable-hot-restart --log-level warn --concurrency 2",
            config.display()
        )
    );
}

#[tokio::test]
async fn a_missing_binary_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let command = EnvoyCommand {
        binary: "/nonexistent/envoy".into(),
        ..command(dir.path(), "")
    };
    assert_eq!(
        EnvoyProcess::start(&command).await.unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
}

#[tokio::test]
async fn stop_is_gentle_first() {
    let process = start(&format!("trap 'exit 0' TERM; {RUN_ON}")).await;
    assert_eq!(process.stop(Duration::from_secs(60)).await.exit_code(), 0);
    let deaf = start(&format!("trap '' TERM; {RUN_ON}")).await;
    assert_eq!(deaf.stop(Duration::from_millis(50)).await.exit_code(), 137);
}

#[tokio::test]
async fn dropping_kills() {
    let process = start(RUN_ON).await;
    let pid = process.pid();
    assert!(is_alive(pid));
    drop(process);
    until_gone(pid).await;
}

/// Not a test by itself: the body of the process that `envoy_ends_with_a_killed_agent` kills.
#[tokio::test]
async fn agent_that_holds_an_envoy() {
    let Ok(pid_file) = std::env::var(HOLD) else { return };
    let process = start(RUN_ON).await;
    println!("\n{pid_file} {}", process.pid());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn envoy_ends_with_a_killed_agent() {
    let marker = "holding";
    let mut agent = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "envoy::process::tests::agent_that_holds_an_envoy",
            "--nocapture",
        ])
        .env(HOLD, marker)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(agent.stdout.take().unwrap());
    let line = output
        .lines()
        .map(Result::unwrap)
        .find(|line| line.starts_with(marker))
        .unwrap();
    let envoy: i32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(is_alive(envoy));
    agent.kill().unwrap();
    agent.wait().unwrap();
    until_gone(envoy).await;
}
