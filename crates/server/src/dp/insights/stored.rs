//! Insights as they are stored.

use meshspan_model::Resource;
use meshspan_model::kinds::dataplane_insight::{DataplaneInsight, ZoneEgressInsight, ZoneIngressInsight, is_online};
use meshspan_model::kinds::presence::{Presence, PresenceState};
use meshspan_store::{Store, StoreError, Write};

use super::Known;
use crate::proxy_key::ProxyKey;
use meshspan_model::ProxyKind;

/// The proxies whose control plane was there last: connected, or brought by themselves and so gone if they do not return.
pub(in crate::dp) fn expected(store: &dyn Store) -> Vec<(ProxyKey, Presence)> {
    let snapshot = store.snapshot();
    let of_kind = |kind: ProxyKind| {
        snapshot.list(kind.insight(), None).filter_map(move |stored| {
            let id = ProxyKey::new(kind, stored.resource.mesh.as_str(), stored.resource.name.as_str());
            let known = known(kind, &stored.resource);
            let expected = known.presence.registered
                || is_online(&known.subscriptions)
                || known.presence.state == PresenceState::Held;
            expected.then_some((id, known.presence))
        })
    };
    ProxyKind::ALL.iter().copied().flat_map(of_kind).collect()
}

pub(super) fn stored(store: &dyn Store, id: &ProxyKey) -> Known {
    let stored = store.get(&id.insight());
    stored
        .map(|stored| known(id.kind, &stored.resource))
        .unwrap_or_default()
}

fn known(kind: ProxyKind, insight: &Resource) -> Known {
    match kind {
        ProxyKind::Sidecar => {
            let insight: DataplaneInsight = insight.parse().unwrap_or_default();
            Known {
                subscriptions: insight.subscriptions,
                mtls: insight.mtls,
                inbounds: insight.inbounds,
                presence: insight.presence,
                problems: insight.problems,
                stream: 0,
            }
        }
        ProxyKind::ZoneIngress => {
            let insight: ZoneIngressInsight = insight.parse().unwrap_or_default();
            Known {
                subscriptions: insight.subscriptions,
                presence: insight.presence,
                problems: insight.problems,
                ..Known::default()
            }
        }
        ProxyKind::ZoneEgress => {
            let insight: ZoneEgressInsight = insight.parse().unwrap_or_default();
            Known {
                subscriptions: insight.subscriptions,
                presence: insight.presence,
                problems: insight.problems,
                ..Known::default()
            }
        }
    }
}

pub(super) async fn save(store: &dyn Store, id: &ProxyKey, known: Known) -> Result<(), StoreError> {
    let (mesh, name) = (id.mesh.as_str(), id.name.as_str());
    let resource = match id.kind {
        ProxyKind::Sidecar => {
            let insight = DataplaneInsight {
                subscriptions: known.subscriptions,
                mtls: known.mtls,
                inbounds: known.inbounds,
                presence: known.presence,
                problems: known.problems,
            };
            Resource::of(mesh, name, &insight)
        }
        ProxyKind::ZoneIngress => {
            let insight = ZoneIngressInsight {
                subscriptions: known.subscriptions,
                presence: known.presence,
                problems: known.problems,
            };
            Resource::of(mesh, name, &insight)
        }
        ProxyKind::ZoneEgress => {
            let insight = ZoneEgressInsight {
                subscriptions: known.subscriptions,
                presence: known.presence,
                problems: known.problems,
            };
            Resource::of(mesh, name, &insight)
        }
    };
    let owner = Some(id.resource());
    match store.apply(vec![Write::Upsert { resource, owner }]).await {
        // The proxy's resource is gone, and its insight with it.
        Ok(_) | Err(StoreError::MissingOwner { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
