//! `make bench`: how fast a change travels from one zone's agent to another zone's Envoys, and what the processes cost at rest.
//!
//! It starts the real binary as a global and two zone control planes, an ingress in each zone and a client with a real Envoy in east
//! ([`stage`]). The instances in west are fakes that speak the public protocols ([`fake_envoy`], [`fake_agent`]), so that only the way of
//! the change is measured and no probe interval. Results are printed, with the goals beside them, and judged by nobody: times on shared
//! machines mean little. The counts of work (responses, bytes, CPU time for each change) are what runs can be compared by.
//!
//! It is not a test, and it does not generate load: changes come one after the other. Start at [`bench`].
//!
//! With `--reconnect` it measures something else: a control plane that loses all streams of a large zone at once ([`reconnect`]).

mod args;
mod data_plane_server;
mod envoy_admin;
mod fake_agent;
mod fake_envoy;
mod fleet;
mod idle;
mod latency;
mod observation;
mod process;
mod reconnect;
mod report;
mod series;
mod stage;
mod table;

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use meshspan_demo::{Network, Program, log_ends};
use meshspan_lab::eventually;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;
use crate::report::Report;
use crate::stage::Stage;

/// How many lines of each log an error shows.
const SHOWN_LINES: usize = 5;
/// How long the processes may take to end.
const END: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = tokio::runtime::Runtime::new()
        .context("starting the runtime")
        .and_then(|runtime| runtime.block_on(run(&args)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    let network = Network::loopback()?;
    let mut terminate = signal(SignalKind::terminate()).context("listening to SIGTERM")?;
    let outcome = tokio::select! {
        outcome = measure(args, &network) => {
            outcome.map_err(|error| anyhow!("{error:#}\nends of the logs:\n{}", log_ends(network.directory(), SHOWN_LINES)))
        }
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow!("terminated")),
    };
    // They were killed with their handles. Their files can be removed once they cannot make new ones.
    eventually("the end of all processes", END, || async {
        match process::children(std::process::id())?.len() {
            0 => Ok(()),
            left => bail!("{left} are left"),
        }
    })
    .await?;
    drop(network);
    let (text, json) = outcome?;
    print!("{text}");
    if let Some(path) = &args.json {
        std::fs::write(path, json + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// The report, for people and as JSON.
async fn measure(args: &Args, network: &Network) -> Result<(String, String)> {
    if args.reconnect {
        written(&reconnect::measure(args, &args.program()?, network).await?)
    } else {
        written(&bench(args, network).await?)
    }
}

fn written(report: &(impl Display + Serialize)) -> Result<(String, String)> {
    let json = serde_json::to_string_pretty(report).context("writing the report as JSON")?;
    Ok((report.to_string(), json))
}

/// Everything that is measured, in the order of the report.
async fn bench(args: &Args, network: &Network) -> Result<Report> {
    let program = args.program()?;
    eprintln!(
        "starting {} as global, east and west, with {} fake proxies in each zone",
        program.display(),
        args.proxies
    );
    let stage = Stage::start(network.clone(), Program::new(&program), args.proxies).await?;
    let pause = Duration::from_millis(args.pause);

    eprintln!("{} changes, seen by ADS streams", args.changes);
    let mut observers = stage.ads_observers()?;
    let by_ads = series::measure("ADS streams", &stage, &mut observers, args.changes, pause).await?;

    eprintln!("{} changes, seen by the client's Envoy", args.changes);
    let watch = stage.watch_envoy()?;
    observers.push(watch.observer());
    let by_envoy = series::measure("real Envoy", &stage, &mut observers, args.changes, pause).await?;
    drop(watch);

    eprintln!(
        "settling for {} s, then looking at idle processes for {} s",
        args.settle, args.idle
    );
    tokio::time::sleep(Duration::from_secs(args.settle)).await;
    let idle = idle::measure(stage.processes(), Duration::from_secs(args.idle)).await?;
    let insight = stage.client_insight().await?;
    Ok(Report::new(
        &program,
        args,
        process::load_average()?,
        vec![by_ads, by_envoy],
        idle,
        insight,
    ))
}
