//! Where logs go: standard error, filtered by `RUST_LOG`, `info` by default.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging, once per process.
pub fn start() {
    start_at(LevelFilter::INFO);
}

/// Starts logging of a client command; `RUST_LOG` overrides the flag.
pub fn start_for_client(level: meshspan_cli::LogLevel) {
    start_at(match level {
        meshspan_cli::LogLevel::Off => LevelFilter::OFF,
        meshspan_cli::LogLevel::Info => LevelFilter::INFO,
        meshspan_cli::LogLevel::Debug => LevelFilter::DEBUG,
    });
}

fn start_at(level: LevelFilter) {
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    let ansi = std::io::stderr().is_terminal();
    // Fails only if somebody else started logging already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .try_init();
}
