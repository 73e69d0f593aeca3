//! One line for people when the proxy is ready, and, if that takes long, lines about what it waits for.

use crate::envoy::AdminAddress;
use crate::phase::Phase;
use crate::readiness::Readiness;
use std::time::{Duration, Instant};

/// Who says it.
pub(crate) struct Announcement {
    pub(crate) name: String,
    /// `host:port`
    pub(crate) control_plane: String,
    pub(crate) readiness: Readiness,
}

/// Longer waits are explained.
const PATIENCE: Duration = Duration::from_secs(3);
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
            let Err(mut reason) = self.readiness.check().await else {
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
        } else {
            tracing::info!("{} is ready: Envoy has its configuration and takes traffic", self.name);
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
    use super::explain;

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
