//! Health of inbounds: what agents are asked to probe, and what they found.

use std::sync::Arc;

use meshspan_model::Kind;
use meshspan_model::Spec as _;
use meshspan_model::kinds::dataplane::{Dataplane, InboundState, ServiceProbe};
use meshspan_model::kinds::presence::PresenceState;
use meshspan_store::{StoreError, Write};
use meshspan_xds::proto::agent::{HealthCheck, HealthCheckPlan, HealthReport};

use super::{DataPlane, registration};
use crate::proxy_key::ProxyKey;

const DEFAULT_INTERVAL_MS: u32 = 1000;
const DEFAULT_TIMEOUT_MS: u32 = 2000;
/// How often a report is tried again when the Dataplane changed at the same moment.
const ATTEMPTS: usize = 5;

/// What the agent of a Dataplane probes: each inbound with a `serviceProbe`.
pub(super) fn plan(dataplane: &Dataplane) -> HealthCheckPlan {
    let inbounds = dataplane
        .networking
        .inbound
        .iter()
        .filter_map(|inbound| Some((inbound, inbound.service_probe.as_ref()?)));
    let check = |(inbound, probe): (&meshspan_model::kinds::dataplane::Inbound, &ServiceProbe)| HealthCheck {
        inbound_port: inbound.port,
        address: match (inbound.service_address.as_str(), dataplane.inbound_address(inbound)) {
            // Behind transparent proxying the application listens on the inbound's address; else beside Envoy, on loopback.
            ("", address) if dataplane.networking.transparent_proxying.is_some() => address.to_owned(),
            ("", _) => "127.0.0.1".to_owned(),
            (address, _) => address.to_owned(),
        },
        port: inbound.workload_port(),
        interval_ms: millis(probe.interval, DEFAULT_INTERVAL_MS),
        timeout_ms: millis(probe.timeout, DEFAULT_TIMEOUT_MS),
        healthy_threshold: probe.healthy_threshold.unwrap_or(1),
        unhealthy_threshold: probe.unhealthy_threshold.unwrap_or(1),
    };
    HealthCheckPlan {
        checks: inbounds.map(check).collect(),
    }
}

fn millis(duration: Option<meshspan_model::duration::GoDuration>, default: u32) -> u32 {
    duration.map_or(default, |duration| {
        u32::try_from(duration.0.as_millis()).unwrap_or(u32::MAX).max(1)
    })
}

/// Stores what an agent found; false if that should be tried again.
pub(super) async fn store(plane: &Arc<DataPlane>, id: &ProxyKey, report: &HealthReport) -> bool {
    let key = id.resource();
    if report.draining {
        let reason = "the proxy is draining";
        plane.insights.conclude(&*plane.store, id, PresenceState::Left, reason);
        // That it will be missed is no surprise.
        plane.presence.goodbye(id);
    }
    if key.kind != Kind::Dataplane {
        return !report.draining || registration::withdraw(plane, id).await;
    }
    plane.insights.health(id, report);
    for _ in 0..ATTEMPTS {
        let Some(stored) = plane.store.get(&key) else {
            return true;
        };
        let Ok(mut dataplane) = stored.resource.parse::<Dataplane>() else {
            return true;
        };
        for inbound in &mut dataplane.networking.inbound {
            let Some(found) = report.inbounds.iter().find(|found| found.inbound_port == inbound.port) else {
                continue;
            };
            if inbound.service_probe.is_none() {
                // Its state is the user's, and nobody would undo a change.
                continue;
            }
            let state = if found.ready {
                InboundState::Ready
            } else {
                InboundState::NotReady
            };
            if inbound.state != state && inbound.state != InboundState::Ignored {
                tracing::info!(
                    mesh = id.mesh,
                    proxy = id.name,
                    port = inbound.port,
                    ready = found.ready,
                    detail = found.detail,
                    "inbound changed"
                );
                inbound.state = state;
            }
        }
        let mut resource = (*stored.resource).clone();
        resource.spec = dataplane.to_value();
        match plane
            .store
            .apply(vec![Write::Update {
                resource,
                expected: Some(stored.spec_version),
            }])
            .await
        {
            Err(StoreError::Conflict { .. }) => {}
            Ok(_) | Err(StoreError::NotFound { .. }) => return true,
            Err(error) => {
                tracing::error!(mesh = id.mesh, proxy = id.name, %error, "cannot store the health of a proxy; tried again");
                return false;
            }
        }
    }
    false
}
