//! What agents report of inbounds, as it is kept in their proxy's insight.

use std::collections::BTreeMap;

use meshspan_envoy::names;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::dataplane_insight::InboundInsight;
use meshspan_xds::proto::agent::{DenialReport, HealthReport};
use time::OffsetDateTime;

/// Longest reason that is kept, in characters: agents are not trusted with more.
const MAX_REASON: usize = 300;
/// Most inbounds of which something is kept.
const MAX_INBOUNDS: usize = 1000;

type ByPort = BTreeMap<u32, InboundInsight>;

/// Takes why inbounds are not ready. True if that is news.
pub(super) fn health(known: &mut Vec<InboundInsight>, report: &HealthReport) -> bool {
    edit(known, |inbounds| {
        for inbound in inbounds.values_mut() {
            inbound.not_ready.clear();
        }
        for found in report.inbounds.iter().filter(|found| !found.ready).take(MAX_INBOUNDS) {
            let reason = match found.detail.as_str() {
                "" => "the agent gives no reason",
                detail => detail,
            };
            entry(inbounds, found.inbound_port).not_ready = reason.chars().take(MAX_REASON).collect();
        }
    })
}

/// Takes whom inbounds refused. True if that is news.
pub(super) fn denied(
    known: &mut Vec<InboundInsight>,
    dataplane: &Dataplane,
    report: &DenialReport,
    now: OffsetDateTime,
) -> bool {
    edit(known, |inbounds| {
        for inbound in dataplane.networking.inbound.iter().take(MAX_INBOUNDS) {
            let listener = names::stat_prefix(&names::inbound(&inbound.section()));
            let mut reported = report.inbounds.iter();
            let found = reported.find(|found| names::inbound(&found.inbound) == listener);
            let denied = found.map_or(0, |found| found.denied);
            let entry = entry(inbounds, inbound.port);
            if entry.denied != denied {
                // Fewer than before: Envoy started anew.
                entry.last_denied = (denied > 0).then_some(now);
                entry.denied = denied;
            }
        }
    })
}

fn entry(inbounds: &mut ByPort, port: u32) -> &mut InboundInsight {
    inbounds.entry(port).or_insert_with(|| InboundInsight {
        port,
        ..InboundInsight::default()
    })
}

/// Inbounds of which there is nothing to say are left out.
fn edit(known: &mut Vec<InboundInsight>, change: impl FnOnce(&mut ByPort)) -> bool {
    let mut inbounds: ByPort = known.iter().map(|inbound| (inbound.port, inbound.clone())).collect();
    change(&mut inbounds);
    inbounds.retain(|_, inbound| !inbound.not_ready.is_empty() || inbound.denied > 0);
    let after: Vec<_> = inbounds.into_values().collect();
    let is_news = *known != after;
    *known = after;
    is_news
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshspan_xds::proto::agent::{InboundDenials, InboundHealth};

    fn state(inbound_port: u32, ready: bool, detail: &str) -> HealthReport {
        HealthReport {
            inbounds: vec![InboundHealth {
                inbound_port,
                ready,
                detail: detail.to_owned(),
            }],
            draining: false,
        }
    }

    fn denials(inbound: &str, denied: u64) -> DenialReport {
        DenialReport {
            inbounds: vec![InboundDenials {
                inbound: inbound.to_owned(),
                denied,
            }],
        }
    }

    #[test]
    fn reasons_come_and_go_and_are_news_once() {
        let mut known = Vec::new();
        assert!(!health(&mut known, &state(80, true, "")));
        assert!(health(&mut known, &state(80, false, "connection refused")));
        assert!(!health(&mut known, &state(80, false, "connection refused")));
        assert_eq!(
            known.first().map(|inbound| inbound.not_ready.as_str()),
            Some("connection refused")
        );
        assert!(health(&mut known, &state(80, false, &"x".repeat(10_000))));
        assert_eq!(known.first().map(|inbound| inbound.not_ready.len()), Some(MAX_REASON));
        assert!(health(&mut known, &state(80, true, "")));
        assert_eq!(known, []);
    }

    #[test]
    fn denials_are_kept_by_port_and_start_again_with_envoy() {
        let dataplane = serde_json::json!({ "networking": { "inbound": [
            { "port": 6379 }, { "port": 80, "name": "web.main" } ] } });
        let dataplane: Dataplane = serde_json::from_value(dataplane).unwrap_or_default();
        let (first, later) = (
            OffsetDateTime::UNIX_EPOCH,
            OffsetDateTime::UNIX_EPOCH + time::Duration::HOUR,
        );
        let mut known = Vec::new();
        assert!(denied(&mut known, &dataplane, &denials("6379", 3), first));
        assert!(
            !denied(&mut known, &dataplane, &denials("6379", 3), later),
            "nobody was refused since"
        );
        assert_eq!(
            known
                .first()
                .map(|inbound| (inbound.port, inbound.denied, inbound.last_denied)),
            Some((6379, 3, Some(first)))
        );
        assert!(denied(&mut known, &dataplane, &denials("web_main", 1), later));
        assert_eq!(known.len(), 1, "6379 refused nobody since Envoy started");
        assert_eq!(
            known.first().map(|inbound| (inbound.port, inbound.denied)),
            Some((80, 1))
        );
        assert!(!denied(&mut known, &dataplane, &denials("web_main", 1), later));
        assert!(denied(&mut known, &dataplane, &denials("unknown", 7), later));
        assert_eq!(known, []);
    }
}
