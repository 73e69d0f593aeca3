//! A small lab to try things in by hand, and the program that the tests of this crate kill.
//!
//! `meshspan-lab hold` makes three hosts with a Redis stand-in each, says where they are, and stays until Ctrl-C.

use std::net::SocketAddr;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use meshspan_lab::workload::WorkloadCommand;
use meshspan_lab::{Isolation, Lab, isolate, outside_listener, relay};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(about)]
enum Cli {
    /// Three hosts with a Redis each, until Ctrl-C
    Hold {
        /// Address of the machine from which to reach the Redis of the first host; port 0 takes a free one
        #[arg(long)]
        outside: Option<SocketAddr>,
        /// Do not end on SIGINT
        #[arg(long, hide = true)]
        stubborn: bool,
    },
    #[command(flatten)]
    Workload(WorkloadCommand),
}

fn main() -> Result<ExitCode> {
    match Cli::parse() {
        Cli::Hold { outside, stubborn } => {
            if let Isolation::Unavailable(reason) = isolate(outside)? {
                eprintln!("{reason}");
                return Ok(ExitCode::from(2));
            }
            runtime()?.block_on(hold(stubborn))?;
        }
        Cli::Workload(workload) => runtime()?.block_on(workload.run())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

async fn hold(stubborn: bool) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let lab = Lab::new().await?;
    let mut processes = Vec::new();
    for (number, zone) in (1..).zip(["east", "west", "south"]) {
        let host = lab.host(zone, [10, number, 0, 1].into()).await?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["lab-redis", "--port", "6379", "--zone", zone]);
        processes.push(host.spawn("redis", command).await?);
        println!("{zone}: redis on {}:6379", host.address());
    }
    if let Some(listener) = outside_listener()? {
        println!("outside: {}", listener.local_addr()?);
        let first = lab.hosts().into_iter().next().context("the lab has hosts")?;
        tokio::spawn(relay(listener, first, ([10, 1, 0, 1], 6379).into()));
    }
    println!("ready");
    loop {
        interrupt.recv().await;
        println!("interrupted");
        if !stubborn {
            return Ok(());
        }
    }
}
