//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;

/// Measures how fast a change travels between zones, and what each process costs
#[derive(Debug, Parser)]
#[command(name = "meshspan-bench", version)]
pub struct Args {
    /// The meshspan binary to measure [default: meshspan beside this program]
    #[arg(long, env = "MESHSPAN_BENCH_PROGRAM", value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// How often the instance gets ready (and unready before) in each series
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub changes: u32,
    /// Pause between two changes in milliseconds, so that each finds the control planes at rest
    #[arg(long, default_value_t = 50, value_name = "MS")]
    pub pause: u64,
    /// Fake proxies in each zone, each with a service of its own
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=200))]
    pub proxies: u8,
    /// Seconds to wait before the processes count as idle; counters of the last changes pass three stages of up to 10 seconds each
    #[arg(long, default_value_t = 35, value_name = "SECONDS")]
    pub settle: u64,
    /// Seconds during which idle processes are looked at
    #[arg(long, default_value_t = 20, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub idle: u64,
    /// Measures something else: what it costs when all streams of a zone drop at once
    #[arg(long)]
    pub reconnect: bool,
    /// With --reconnect: fake proxies of the zone
    #[arg(long, default_value_t = 1000, value_name = "PROXIES", value_parser = clap::value_parser!(u16).range(1..=60_000))]
    pub fleet: u16,
    /// With --reconnect: services, of which each proxy is an instance of one and a client of all
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub services: u16,
    /// Writes the report as JSON, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Args {
    /// Path of the binary to measure.
    ///
    /// # Errors
    /// There is none.
    pub fn program(&self) -> Result<PathBuf> {
        let path = match &self.program {
            Some(path) => path.clone(),
            None => std::env::current_exe()
                .context("finding the running program")?
                .with_file_name("meshspan"),
        };
        ensure!(
            path.is_file(),
            "{} is missing: build it with `cargo build --release -p meshspan`, or give another one with --program",
            path.display()
        );
        Ok(path)
    }
}
