//! Insights as they are stored.

use meshspan_model::kinds::dataplane_insight::{DataplaneInsight, ZoneIngressInsight, is_online};
use meshspan_model::kinds::presence::{Presence, PresenceState};
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::{Store, StoreError, Write};

use super::Known;
use crate::dp::registration;
use crate::engine::ProxyId;

/// The proxies whose control plane was there last: connected, or brought by themselves and so gone if they do not return.
pub(in crate::dp) fn expected(store: &dyn Store) -> Vec<(ProxyId, Presence)> {
    let snapshot = store.snapshot();
    let of_kind = |kind| {
        snapshot.list(kind, None).filter_map(|stored| {
            let id = (stored.resource.mesh.clone(), stored.resource.name.clone());
            let known = known(&stored.resource);
            let expected = known.presence.registered
                || is_online(&known.subscriptions)
                || known.presence.state == PresenceState::Held;
            expected.then_some((id, known.presence))
        })
    };
    of_kind(Kind::DataplaneInsight)
        .chain(of_kind(Kind::ZoneIngressInsight))
        .collect()
}

fn insight_key(id: &ProxyId) -> ResourceKey {
    let kind = if id.0.is_empty() {
        Kind::ZoneIngressInsight
    } else {
        Kind::DataplaneInsight
    };
    ResourceKey::new(kind, id.0.as_str(), id.1.as_str())
}

pub(super) fn stored(store: &dyn Store, id: &ProxyId) -> Known {
    let stored = store.get(&insight_key(id));
    stored.map(|stored| known(&stored.resource)).unwrap_or_default()
}

fn known(insight: &Resource) -> Known {
    if insight.kind == Kind::ZoneIngressInsight {
        let insight: ZoneIngressInsight = insight.parse().unwrap_or_default();
        return Known {
            subscriptions: insight.subscriptions,
            presence: insight.presence,
            ..Known::default()
        };
    }
    let insight: DataplaneInsight = insight.parse().unwrap_or_default();
    Known {
        subscriptions: insight.subscriptions,
        mtls: insight.mtls,
        inbounds: insight.inbounds,
        presence: insight.presence,
        stream: 0,
    }
}

pub(super) async fn save(store: &dyn Store, id: &ProxyId, known: Known) -> Result<(), StoreError> {
    let key = insight_key(id);
    let resource = if id.0.is_empty() {
        Resource::of(
            "",
            key.name.as_str(),
            &ZoneIngressInsight {
                subscriptions: known.subscriptions,
                presence: known.presence,
            },
        )
    } else {
        let insight = DataplaneInsight {
            subscriptions: known.subscriptions,
            mtls: known.mtls,
            inbounds: known.inbounds,
            presence: known.presence,
        };
        Resource::of(key.mesh.as_str(), key.name.as_str(), &insight)
    };
    let owner = Some(registration::key(id));
    match store.apply(vec![Write::Upsert { resource, owner }]).await {
        // The proxy's resource is gone, and its insight with it.
        Ok(_) | Err(StoreError::MissingOwner { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
