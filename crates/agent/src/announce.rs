//! One line for people when the proxy is ready, and, if that takes long, lines about what it waits for.

use crate::envoy::AdminAddress;
use crate::phase::Phase;
use crate::readiness::Readiness;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Who says it.
pub(crate) struct Announcement {
    pub(crate) name: String,
    /// `host:port`
    pub(crate) control_plane: String,
    pub(crate) readiness: Readiness,
    /// Of each inbound its name, else its port.
    pub(crate) inbounds: Vec<String>,
    /// Something was found in the document that keeps clients away.
    pub(crate) has_problems: bool,
}

/// Longer waits are explained.
const PATIENCE: Duration = Duration::from_secs(3);
/// How the control plane calls the listener of an inbound; its name or port follows.
const INBOUND: &str = "self_inbound_dp_";
/// Envoy tells nobody when it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOK_LATER: Duration = Duration::from_millis(500);

impl Announcement {
    /// Ends when the proxy is ready, or leaves.
    pub(crate) async fn run(self) {
        let started = Instant::now();
        let mut said = String::new();
        loop {
            let phase = self.readiness.phase.borrow().clone();
            if phase.is_leaving() {
                return;
            }
            let Err(mut reason) = self.check(&phase).await else {
                self.announce(&phase).await;
                return;
            };
            let is_late = started.elapsed() > PATIENCE;
            if is_late {
                if let Phase::Running(Some(admin)) = phase
                    && let Some(more) = self.envoy_waits_for(&admin).await
                {
                    reason = more;
                }
                if reason != said {
                    tracing::warn!("{} is not ready yet: {reason}", self.name);
                    said = reason;
                }
            }
            tokio::time::sleep(if is_late { LOOK_LATER } else { LOOK_EVERY }).await;
        }
    }

    async fn announce(&self, phase: &Phase) {
        // Without an answer there is nothing to add to what the readiness check found.
        let has_rejected = match phase {
            Phase::Running(Some(admin)) => admin.has_rejected().await.unwrap_or(false),
            _ => false,
        };
        if has_rejected {
            tracing::warn!(
                "{} is ready, but Envoy rejected a part of its configuration: its warnings above say why, `meshspan inspect dataplane` what it costs",
                self.name
            );
        } else if self.has_problems {
            tracing::warn!(
                "{} has its configuration, but clients do not reach it: see the errors above",
                self.name
            );
        } else {
            tracing::info!("{} {}", self.name, self.summary());
        }
    }

    /// Ready, and Envoy listens for each inbound: it may have rejected some, or the control plane left them out.
    async fn check(&self, phase: &Phase) -> Result<(), String> {
        self.readiness.check().await?;
        let Phase::Running(Some(admin)) = phase else {
            return Ok(());
        };
        if self.inbounds.is_empty() {
            return Ok(());
        }
        match missing(&self.inbounds, &admin.inbound_listeners().await?) {
            missing if missing.is_empty() => Ok(()),
            missing => Err(format!(
                "{}; `meshspan inspect dataplane {}` on the control plane says more",
                missing.join("; "),
                self.name
            )),
        }
    }

    fn summary(&self) -> &'static str {
        match self.inbounds.is_empty() {
            true => "is ready: Envoy has its configuration",
            false => "is ready: Envoy has its configuration and takes traffic",
        }
    }

    /// Why Envoy has no configuration, by its statistics. `None` if it has one, or cannot be asked.
    async fn envoy_waits_for(&self, admin: &AdminAddress) -> Option<String> {
        if admin.server_state().await.ok()? == "LIVE" {
            return None;
        }
        let statistics = admin.control_plane_statistics().await.ok()?;
        Some(explain(&statistics, &self.control_plane))
    }
}

/// Says of each inbound that has no listener why.
fn missing(inbounds: &[String], listeners: &BTreeMap<String, Result<(), String>>) -> Vec<String> {
    let missing = inbounds
        .iter()
        .filter_map(|inbound| match listeners.get(&format!("{INBOUND}{inbound}")) {
            Some(Ok(())) => None,
            Some(Err(reason)) => Some(format!("Envoy does not listen for inbound {inbound}: {reason}")),
            None => Some(format!("Envoy has no listener for inbound {inbound}")),
        });
    missing.collect()
}

/// `statistics` has lines of `name: value`.
fn explain(statistics: &str, control_plane: &str) -> String {
    let value = |name: &str| {
        let line = statistics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
        line.trim().parse::<u64>().ok()
    };
    if value("control_plane.connected_state") == Some(1) {
        return "Envoy is connected to the control plane and waits for its configuration".to_owned();
    }
    if value("cluster.ads_cluster.membership_total") == Some(0) {
        return format!(
            "Envoy has no address of the control plane {control_plane} yet: do the DNS resolvers of this host (/etc/resolv.conf) answer?"
        );
    }
    let failed = value("cluster.ads_cluster.upstream_cx_connect_fail").unwrap_or_default();
    if failed > 0 {
        format!("Envoy does not get a connection to the control plane {control_plane}")
    } else {
        format!("Envoy has no stream from the control plane {control_plane} yet")
    }
}

#[cfg(test)]
mod tests {
    use super::{explain, missing};
    use std::collections::BTreeMap;

    #[test]
    fn every_inbound_needs_its_listener() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let listeners = BTreeMap::from([
            ("self_inbound_dp_main".to_owned(), Ok(())),
            ("self_inbound_dp_80".to_owned(), Err("cannot bind".to_owned())),
        ]);
        assert!(missing(&names(&["main"]), &listeners).is_empty());
        assert_eq!(
            missing(&names(&["main", "80", "8"]), &listeners),
            [
                "Envoy does not listen for inbound 80: cannot bind",
                "Envoy has no listener for inbound 8"
            ]
        );
    }

    #[test]
    fn what_envoy_waits_for() {
        let explained = |statistics: &str| explain(statistics, "cp.example:5678");
        let unresolved = "cluster.ads_cluster.membership_total: 0\ncontrol_plane.connected_state: 0\n";
        assert!(explained(unresolved).contains("no address of the control plane cp.example:5678"));
        let refused = "cluster.ads_cluster.membership_total: 1\ncluster.ads_cluster.upstream_cx_connect_fail: 4\ncontrol_plane.connected_state: 0";
        assert!(explained(refused).contains("does not get a connection"));
        let connected = "cluster.ads_cluster.membership_total: 1\ncontrol_plane.connected_state: 1";
        assert!(explained(connected).contains("waits for its configuration"));
        assert!(explained("").contains("no stream"));
    }
}
