//! Whom Envoy refused because no MeshTrafficPermission lets them in: nobody else counts that. Envoy's statistics are read now
//! and then, and what they say goes to the control plane when it changed, ever more rarely while it keeps changing.

use crate::envoy::AdminAddress;
use meshspan_xds::proto::agent::{DenialReport, InboundDenials};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What the control plane calls the listeners of inbounds, as part of the names of statistics.
const LISTENER: &str = "self_inbound_dp_";
/// Shortest pause between two looks.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause while denials go on.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Envoy searches all of its statistics, of which a large mesh makes many; it is not kept busy with that for more than a hundredth
/// of the time.
const SHARE: u32 = 100;

/// Looks until nobody wants to know any more; then waits, as none of the agent's tasks ends before the agent.
pub(crate) async fn watch(admin: AdminAddress, reports: watch::Sender<Option<DenialReport>>) {
    let mut pause = SHORTEST_PAUSE;
    let mut known = BTreeMap::new();
    while !reports.is_closed() {
        let begun = Instant::now();
        match admin.denials().await {
            Ok(text) => {
                let found = parse(&text);
                if found == known {
                    pause = SHORTEST_PAUSE;
                } else {
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    reports.send_replace(Some(report(&found)));
                    known = found;
                }
            }
            // Envoy may be gone; whoever watches it says so.
            Err(error) => tracing::debug!("denied requests are not known: {error}"),
        }
        tokio::time::sleep(pause.max(begun.elapsed() * SHARE)).await;
    }
    std::future::pending::<()>().await;
}

fn report(found: &BTreeMap<String, u64>) -> DenialReport {
    let inbounds = found.iter().map(|(inbound, denied)| InboundDenials {
        inbound: inbound.clone(),
        denied: *denied,
    });
    DenialReport {
        inbounds: inbounds.collect(),
    }
}

/// Counters of RBAC filters, `self_inbound_dp_6379.rbac.denied: 3` for connections and `http.self_inbound_dp_80.rbac.denied: 3` for
/// requests, by what stands after the prefix of the listener's name. An inbound may have several filters.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let name = name.strip_prefix("http.").unwrap_or(name);
        let inbound = name
            .strip_suffix(".rbac.denied")
            .and_then(|name| name.strip_prefix(LISTENER))
            .and_then(|name| name.split('.').next());
        if let (Some(inbound), Ok(value @ 1..)) = (inbound, value.trim().parse::<u64>()) {
            let sum: &mut u64 = found.entry(inbound.to_owned()).or_default();
            *sum = sum.saturating_add(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_inbound() {
        let text = "self_inbound_dp_6379.rbac.denied: 3\nself_inbound_dp_6379.deny.rbac.denied: 4\n\
                    http.self_inbound_dp_web.rbac.denied: 2\nhttp.self_inbound_dp_80.rbac.denied: 0\n\
                    http.self_inbound_dp_web.rbac.shadow_denied: 9\nhttp.other.rbac.denied: 1\ngarbage\n";
        let expected = [("6379".to_owned(), 7), ("web".to_owned(), 2)];
        assert_eq!(parse(text), BTreeMap::from(expected));
    }
}
