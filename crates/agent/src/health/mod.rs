//! Health of the local application: TCP connects as the control plane plans them, reported to it at each change.
//!
//! `threshold` decides (pure), `probe` connects, `Prober` runs one task per check and publishes complete reports.

mod probe;
mod threshold;

use crate::phase::{self, Phase};
use crate::socket::SocketMark;
use meshspan_xds::proto::agent::{HealthCheck, HealthReport, InboundHealth};
use probe::Probe;
use std::collections::{BTreeMap, BTreeSet};
use threshold::Threshold;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// A Dataplane has a handful of inbounds; this only bounds what a faulty plan could start.
const MAX_CHECKS: usize = 1024;
const RESULT_QUEUE: usize = 64;

/// Runs the checks of the newest plan.
pub(crate) struct Prober {
    mark: SocketMark,
    /// Of the proxy's own document, whether they are checked or not.
    inbound_ports: Vec<u32>,
    draining: bool,
    reports: watch::Sender<Option<HealthReport>>,
    results_in: mpsc::Sender<CheckResult>,
    results: mpsc::Receiver<CheckResult>,
    tasks: JoinSet<()>,
    /// By inbound port.
    checks: BTreeMap<u32, RunningCheck>,
    next_id: u64,
}

struct RunningCheck {
    /// Tells results of this task from late ones of the task that it replaced.
    id: u64,
    check: HealthCheck,
    task: AbortHandle,
    /// `None` until the first probe has ended.
    state: Option<State>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    ready: bool,
    detail: String,
}

struct CheckResult {
    inbound_port: u32,
    id: u64,
    state: State,
}

impl Prober {
    /// Reports go to `reports`: whole, and only when every check of the plan has a result, so that a new plan does not
    /// look like an outage.
    pub(crate) fn new(mark: SocketMark, inbound_ports: Vec<u32>, reports: watch::Sender<Option<HealthReport>>) -> Self {
        let (results_in, results) = mpsc::channel(RESULT_QUEUE);
        Self {
            mark,
            inbound_ports,
            draining: false,
            reports,
            results_in,
            results,
            tasks: JoinSet::new(),
            checks: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// Works until the sender of plans is gone. A plan replaces the one before; checks that are equal in both go on
    /// undisturbed, and a check whose timing alone has changed keeps its state. Once the agent drains, no inbound is
    /// ready, whatever the application says: peers go elsewhere while their open requests finish.
    pub(crate) async fn run(
        mut self,
        mut plans: watch::Receiver<Option<Vec<HealthCheck>>>,
        mut phase: watch::Receiver<Phase>,
    ) {
        loop {
            tokio::select! {
                changed = plans.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let plan = plans.borrow_and_update().clone();
                    if let Some(plan) = plan {
                        self.replace_plan(plan);
                        self.publish();
                    }
                }
                Some(result) = self.results.recv() => {
                    if self.record(result) && !self.draining {
                        self.publish();
                    }
                }
                Some(_ended) = self.tasks.join_next() => {}
                () = phase::until(&mut phase, Phase::is_leaving), if !self.draining => {
                    self.draining = true;
                    self.publish();
                }
            }
        }
    }

    fn replace_plan(&mut self, plan: Vec<HealthCheck>) {
        if plan.len() > MAX_CHECKS {
            tracing::warn!(
                checks = plan.len(),
                "health check plan is too long; only the first {MAX_CHECKS} are run"
            );
        }
        let mut previous = std::mem::take(&mut self.checks);
        for check in plan.into_iter().take(MAX_CHECKS) {
            let running = match previous.remove(&check.inbound_port) {
                Some(same) if same.check == check => same,
                Some(other) => {
                    other.task.abort();
                    let same_target = other.check.address == check.address && other.check.port == check.port;
                    self.start(check, other.state.filter(|_| same_target))
                }
                None => self.start(check, None),
            };
            if let Some(duplicate) = self.checks.insert(running.check.inbound_port, running) {
                duplicate.task.abort();
            }
        }
        for dropped in previous.into_values() {
            dropped.task.abort();
        }
    }

    fn start(&mut self, check: HealthCheck, state: Option<State>) -> RunningCheck {
        self.next_id += 1;
        let id = self.next_id;
        let threshold = Threshold::new(
            check.healthy_threshold,
            check.unhealthy_threshold,
            state.as_ref().map(|s| s.ready),
        );
        let probe = Probe::new(&check, self.mark);
        let task = self.tasks.spawn(watch_target(
            check.inbound_port,
            id,
            probe,
            threshold,
            self.results_in.clone(),
        ));
        RunningCheck { id, check, task, state }
    }

    /// True if the result changes what is reported.
    fn record(&mut self, result: CheckResult) -> bool {
        let Some(running) = self
            .checks
            .get_mut(&result.inbound_port)
            .filter(|running| running.id == result.id)
        else {
            return false;
        };
        let State { ready, detail } = &result.state;
        if *ready {
            tracing::info!("the application of inbound {} answers", result.inbound_port);
        } else {
            tracing::warn!(
                "the application of inbound {} does not answer: {detail}",
                result.inbound_port
            );
        }
        running.state = Some(result.state);
        true
    }

    fn publish(&self) {
        let inbounds = if self.draining {
            Some(self.all_draining())
        } else {
            self.all_states()
        };
        if let Some(inbounds) = inbounds {
            let draining = self.draining;
            self.reports.send_replace(Some(HealthReport { inbounds, draining }));
        }
    }

    /// `None` while a check has no result yet.
    fn all_states(&self) -> Option<Vec<InboundHealth>> {
        let states = self.checks.iter().map(|(inbound_port, running)| {
            let state = running.state.as_ref()?;
            Some(InboundHealth {
                inbound_port: *inbound_port,
                ready: state.ready,
                detail: state.detail.clone(),
            })
        });
        states.collect()
    }

    fn all_draining(&self) -> Vec<InboundHealth> {
        let ports: BTreeSet<u32> = self.checks.keys().chain(&self.inbound_ports).copied().collect();
        let draining = |inbound_port| InboundHealth {
            inbound_port,
            ready: false,
            detail: "the proxy is draining".to_owned(),
        };
        ports.into_iter().map(draining).collect()
    }
}

/// Probes at the check's interval and tells each change of state.
async fn watch_target(
    inbound_port: u32,
    id: u64,
    probe: Result<Probe, String>,
    mut threshold: Threshold,
    results: mpsc::Sender<CheckResult>,
) {
    let probe = match probe {
        Ok(probe) => probe,
        Err(detail) => {
            // Fails only when the agent ends.
            let _ = results
                .send(CheckResult {
                    inbound_port,
                    id,
                    state: State { ready: false, detail },
                })
                .await;
            return;
        }
    };
    let mut ticks = tokio::time::interval(probe.interval());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let outcome = probe.run().await;
        if let Some(ready) = threshold.observe(outcome.is_ok()) {
            let state = State {
                ready,
                detail: outcome.err().unwrap_or_default(),
            };
            if results
                .send(CheckResult {
                    inbound_port,
                    id,
                    state,
                })
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
