//! The agent's life: start everything, watch Envoy, drain and stop.

use crate::args::{RunArgs, variables};
use crate::envoy::{AdminAddress, EnvoyProcess};
use crate::phase::Phase;
use crate::startup::{self, Started};
use anyhow::{Context, anyhow};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

/// How long Envoy may take to end after SIGTERM; it has nothing left to finish then.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long the control plane may take to close its side of the agent stream.
const GOODBYE: Duration = Duration::from_secs(1);

/// Runs the agent until SIGTERM or SIGINT, or until Envoy ends.
///
/// The first signal starts draining: readiness fails, the control plane hears that no inbound is ready, Envoy fails health checks and drains its listeners, and after the
/// drain time all stops. A second signal ends the wait. If Envoy ends by itself with an error, the returned error holds
/// an [`EnvoyExited`](crate::EnvoyExited) (`downcast_ref`) with the exit code to end with.
///
/// Logs go to `tracing`; the caller installs a subscriber.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    for warning in variables().check(names_of_environment())? {
        tracing::warn!("{warning}");
    }
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    let (stop, stops) = mpsc::channel(2);
    let mut forwarding = JoinSet::new();
    forwarding.spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM"),
                _ = interrupt.recv() => tracing::info!("SIGINT"),
            }
            // A full queue means that the agent has two signals to act on already.
            let _ = stop.try_send(());
        }
    });
    run_until(args, stops).await
}

/// [`run`] with the stop signals as messages.
pub(crate) async fn run_until(args: RunArgs, mut stops: mpsc::Receiver<()>) -> anyhow::Result<()> {
    let (phase, phase_seen) = watch::channel(Phase::Starting);
    // Dropped, and with it every task, when this function returns.
    let mut background = JoinSet::new();
    let started = tokio::select! {
        started = startup::start(&args, phase_seen, &mut background) => started?,
        _ = stops.recv() => {
            tracing::info!("stopped before Envoy was started");
            return Ok(());
        }
    };
    let Started {
        mut envoy,
        mut stream,
        admin,
        config_folder,
    } = started;
    phase.send_replace(Phase::Running(admin.clone()));
    tokio::select! {
        exited = envoy.exited() => {
            // Without Envoy nothing is served here: peers hear of it now and not when this proxy is missed.
            phase.send_replace(Phase::Stopped);
            let _ = tokio::time::timeout(GOODBYE, stream.join_next()).await;
            return if exited.status.success() { Ok(()) } else { Err(exited.into()) };
        }
        ended = background.join_next() => return Err(defect(envoy, ended).await),
        ended = stream.join_next() => return Err(defect(envoy, ended).await),
        _ = stops.recv() => {}
    }
    phase.send_replace(Phase::Draining);
    drain(&mut envoy, admin.as_ref(), args.drain_time, &mut stops).await;
    envoy.stop(STOP_GRACE).await;
    phase.send_replace(Phase::Stopped);
    // Closed on purpose, the control plane need not wait whether this proxy comes back.
    let _ = tokio::time::timeout(GOODBYE, stream.join_next()).await;
    drop(config_folder);
    tracing::info!("stopped");
    Ok(())
}

fn names_of_environment() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

/// None of the agent's tasks ends before the agent does.
async fn defect(envoy: EnvoyProcess, ended: Option<Result<(), JoinError>>) -> anyhow::Error {
    envoy.stop(STOP_GRACE).await;
    let how = match ended {
        Some(Err(error)) => error.to_string(),
        Some(Ok(())) | None => "it returned".to_owned(),
    };
    anyhow!("a part of the agent ended ({how}); this is a defect of Meshspan")
}

/// Lets connections finish: until the drain time is over, Envoy has ended, or another stop signal comes.
async fn drain(
    envoy: &mut EnvoyProcess,
    admin: Option<&AdminAddress>,
    drain_time: Duration,
    stops: &mut mpsc::Receiver<()>,
) {
    tracing::info!(
        seconds = drain_time.as_secs_f64(),
        "draining; a second signal stops at once"
    );
    let wait = async {
        if let Some(admin) = admin {
            for outcome in [admin.fail_health_checks().await, admin.drain_inbound_listeners().await] {
                if let Err(error) = outcome {
                    tracing::warn!("draining: {error}");
                }
            }
        }
        tokio::time::sleep(drain_time).await;
    };
    tokio::select! {
        () = wait => {}
        _ = envoy.exited() => {}
        _ = stops.recv() => tracing::info!("second signal: stopping now"),
    }
}

#[cfg(test)]
mod tests;
