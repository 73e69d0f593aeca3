//! What is known of each proxy's connections, kept in its insight (`spec/resources.md` §2.5, §7).
//!
//! Connects, disconnects, certificates and rejections are stored at once; pure counters are gathered for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use meshspan_model::kinds::dataplane_insight::{
    DataplaneInsight, DiscoverySubscription, InboundInsight, MtlsInsight, ProxyVersion, Rejection, ServiceStats,
    ZoneIngressInsight, is_online,
};
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::{Store, StoreError, Write};
use meshspan_xds::proto::agent::{DenialReport, HealthReport};
use meshspan_xds::{ResourceType, StreamEvent};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{inbound_insights, registration};
use crate::engine::{CertificateNews, ProxyId};

/// Insights that are written at the same time.
const SAVED_AT_ONCE: usize = 64;
/// Subscriptions that are kept.
const KEPT: usize = 2;
/// Most rejected resources of one type that are shown.
const MAX_REJECTIONS: usize = 100;
/// Longest message of Envoy that is shown, in characters.
const MAX_MESSAGE: usize = 2000;

/// Insights of the proxies that are connected to this process, and of those that left until that is stored.
pub struct Insights {
    state: Mutex<State>,
    changed: Notify,
    instance_id: String,
    flush_interval: Duration,
}

#[derive(Default)]
struct State {
    proxies: BTreeMap<ProxyId, Known>,
    urgent: BTreeSet<ProxyId>,
    counted: BTreeSet<ProxyId>,
}

#[derive(Clone, Default)]
struct Known {
    subscriptions: Vec<DiscoverySubscription>,
    mtls: Option<MtlsInsight>,
    inbounds: Vec<InboundInsight>,
    stream: u64,
}

impl Insights {
    /// Knows nothing yet.
    pub fn new(instance_id: String, flush_interval: Duration) -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            instance_id,
            flush_interval,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A proxy connected. What another process, or this one before it was killed, left open is closed.
    pub(super) fn connected(&self, store: &dyn Store, id: &ProxyId, stream: u64, version: ProxyVersion) {
        let now = OffsetDateTime::now_utc();
        let mut state = self.lock();
        let known = state.proxies.entry(id.clone()).or_insert_with(|| stored(store, id));
        for open in known
            .subscriptions
            .iter_mut()
            .filter(|subscription| subscription.disconnect_time.is_none())
        {
            open.disconnect_time = Some(now);
        }
        known.stream = stream;
        known.subscriptions.push(DiscoverySubscription {
            id: uuid::Uuid::new_v4().to_string(),
            control_plane_instance_id: self.instance_id.clone(),
            connect_time: Some(now),
            version: Some(version),
            ..DiscoverySubscription::default()
        });
        let surplus = known.subscriptions.len().saturating_sub(KEPT);
        known.subscriptions.drain(..surplus);
        state.urgent.insert(id.clone());
        drop(state);
        self.changed.notify_one();
    }

    /// Something happened on a stream.
    pub(super) fn event(&self, id: &ProxyId, stream: u64, event: &StreamEvent) {
        let now = OffsetDateTime::now_utc();
        let mut state = self.lock();
        let Some(known) = state.proxies.get_mut(id).filter(|known| known.stream == stream) else {
            return;
        };
        let Some(subscription) = known.subscriptions.last_mut() else {
            return;
        };
        let status = &mut subscription.status;
        status.last_update_time = Some(now);
        let mut urgent = false;
        match event {
            StreamEvent::Sent { ty, .. } => count(status, *ty, |stats| stats.responses_sent += 1),
            StreamEvent::Acked { ty, .. } => count(status, Some(*ty), |stats| stats.responses_acknowledged += 1),
            StreamEvent::Nacked { ty, .. } => count(status, Some(*ty), |stats| stats.responses_rejected += 1),
            StreamEvent::Rejections { ty, rejected } => {
                let name = type_name(*ty);
                status.rejections.retain(|rejection| rejection.resource_type != name);
                let shown = rejected
                    .iter()
                    .take(MAX_REJECTIONS)
                    .map(|(resource, rejection)| Rejection {
                        resource_type: name.to_owned(),
                        names: vec![resource.to_string()],
                        message: rejection.message.chars().take(MAX_MESSAGE).collect(),
                    });
                status.rejections.extend(shown);
                urgent = true;
            }
            StreamEvent::Closed { .. } => {
                subscription.disconnect_time = Some(now);
                urgent = true;
            }
        }
        if urgent {
            state.urgent.insert(id.clone());
        } else {
            state.counted.insert(id.clone());
        }
        drop(state);
        self.changed.notify_one();
    }

    /// A certificate was issued, or is no longer in use.
    pub fn certificate(&self, news: CertificateNews) {
        let mut state = self.lock();
        let Some(known) = state.proxies.get_mut(&news.proxy) else {
            return;
        };
        let before = known.mtls.take();
        known.mtls = news.issued.map(|issued| MtlsInsight {
            certificate_expiration_time: Some(issued.expires_at),
            last_certificate_regeneration: Some(issued.issued_at),
            certificate_regenerations: before.map_or(0, |before| before.certificate_regenerations) + 1,
            supported_backends: vec![issued.backend.clone()],
            issued_backend: issued.backend,
        });
        state.urgent.insert(news.proxy);
        drop(state);
        self.changed.notify_one();
    }

    /// An agent reported why inbounds are not ready.
    pub(super) fn health(&self, id: &ProxyId, report: &HealthReport) {
        let mut state = self.lock();
        let Some(known) = state.proxies.get_mut(id) else { return };
        if inbound_insights::health(&mut known.inbounds, report) {
            state.urgent.insert(id.clone());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// An agent reported whom its proxy refused. Stored with the counters, so that it costs no more than these.
    pub(super) fn denied(&self, store: &dyn Store, id: &ProxyId, report: &DenialReport) {
        let Some(dataplane) = store
            .get(&registration::key(id))
            .and_then(|stored| stored.resource.parse().ok())
        else {
            return;
        };
        let mut state = self.lock();
        let Some(known) = state.proxies.get_mut(id) else { return };
        if inbound_insights::denied(&mut known.inbounds, &dataplane, report, OffsetDateTime::now_utc()) {
            state.counted.insert(id.clone());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Stores what changed until `stop`.
    pub async fn run(self: Arc<Self>, store: Arc<dyn Store>, stop: CancellationToken) {
        // A point in time, because a pause that starts again with each event never ends on a busy control plane.
        let mut flush_at: Option<Instant> = None;
        loop {
            if flush_at.is_none() && !self.lock().counted.is_empty() {
                flush_at = Some(Instant::now() + self.flush_interval);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(flush_at.unwrap_or_else(Instant::now)), if flush_at.is_some() => {
                    flush_at = None;
                    let mut state = self.lock();
                    let counted = std::mem::take(&mut state.counted);
                    state.urgent.extend(counted);
                }
            }
            let due: Vec<_> = {
                let mut state = self.lock();
                let due = std::mem::take(&mut state.urgent);
                due.into_iter()
                    .filter_map(|id| Some((id.clone(), state.proxies.get(&id)?.clone())))
                    .collect()
            };
            // At the same time, so that they share what a commit costs.
            futures::stream::iter(due)
                .for_each_concurrent(SAVED_AT_ONCE, |(id, known)| self.save(&*store, id, known))
                .await;
        }
    }

    async fn save(&self, store: &dyn Store, id: ProxyId, known: Known) {
        self.lock().counted.remove(&id);
        let (stream, ended) = (known.stream, !is_online(&known.subscriptions));
        let result = save(store, &id, known).await;
        let mut state = self.lock();
        match result {
            // What is stored of a proxy that has gone need not be in memory as well.
            Ok(()) => {
                let same = state.proxies.get(&id).is_some_and(|known| known.stream == stream);
                if ended && same && !state.urgent.contains(&id) {
                    state.proxies.remove(&id);
                    state.counted.remove(&id);
                }
            }
            Err(error) => {
                tracing::error!(mesh = id.0, proxy = id.1, %error, "cannot store what is known of a connection; tried again");
                state.counted.insert(id);
            }
        }
    }
}

fn count(
    status: &mut meshspan_model::kinds::dataplane_insight::DiscoverySubscriptionStatus,
    ty: Option<ResourceType>,
    add: impl Fn(&mut ServiceStats),
) {
    add(&mut status.total);
    match ty {
        Some(ResourceType::Cluster) => add(&mut status.cds),
        Some(ResourceType::Endpoint) => add(&mut status.eds),
        Some(ResourceType::Listener) => add(&mut status.lds),
        Some(ResourceType::Route) => add(&mut status.rds),
        Some(ResourceType::Secret) | None => {}
    }
}

fn type_name(ty: ResourceType) -> &'static str {
    match ty {
        ResourceType::Cluster => "cluster",
        ResourceType::Endpoint => "endpoint",
        ResourceType::Secret => "secret",
        ResourceType::Listener => "listener",
        ResourceType::Route => "route",
    }
}

fn insight_key(id: &ProxyId) -> ResourceKey {
    let kind = if id.0.is_empty() {
        Kind::ZoneIngressInsight
    } else {
        Kind::DataplaneInsight
    };
    ResourceKey::new(kind, id.0.as_str(), id.1.as_str())
}

fn stored(store: &dyn Store, id: &ProxyId) -> Known {
    let Some(stored) = store.get(&insight_key(id)) else {
        return Known::default();
    };
    if id.0.is_empty() {
        let insight: ZoneIngressInsight = stored.resource.parse().unwrap_or_default();
        return Known {
            subscriptions: insight.subscriptions,
            ..Known::default()
        };
    }
    let insight: DataplaneInsight = stored.resource.parse().unwrap_or_default();
    Known {
        subscriptions: insight.subscriptions,
        mtls: insight.mtls,
        inbounds: insight.inbounds,
        stream: 0,
    }
}

async fn save(store: &dyn Store, id: &ProxyId, known: Known) -> Result<(), StoreError> {
    let key = insight_key(id);
    let resource = if id.0.is_empty() {
        Resource::of(
            "",
            key.name.as_str(),
            &ZoneIngressInsight {
                subscriptions: known.subscriptions,
            },
        )
    } else {
        let insight = DataplaneInsight {
            subscriptions: known.subscriptions,
            mtls: known.mtls,
            inbounds: known.inbounds,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use meshspan_store::MemoryStore;

    async fn next_change(insights: &Arc<Insights>, store: &Arc<dyn Store>, holds: impl Fn(&DataplaneInsight) -> bool) {
        let mut changes = store.subscribe();
        let stop = CancellationToken::new();
        let running = tokio::spawn(insights.clone().run(store.clone(), stop.clone()));
        let key = ResourceKey::new(Kind::DataplaneInsight, "default", "redis-1");
        while !changes
            .snapshot()
            .get(&key)
            .is_some_and(|stored| holds(&stored.resource.parse().unwrap()))
        {
            changes.next().await.unwrap();
        }
        stop.cancel();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_stored_of_a_proxy_that_left_is_kept_nowhere_else() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let id: ProxyId = ("default".into(), "redis-1".into());
        let dataplane = Resource::new(Kind::Dataplane, "default", "redis-1", serde_json::json!({}));
        store.apply(vec![Write::create(dataplane)]).await.unwrap();
        let insights = Arc::new(Insights::new("cp-1".into(), Duration::from_secs(10)));
        for stream in [1, 2] {
            insights.connected(&*store, &id, stream, ProxyVersion::default());
            next_change(&insights, &store, |insight| is_online(&insight.subscriptions)).await;
            assert_eq!(insights.lock().proxies.len(), 1);
            insights.event(&id, stream, &StreamEvent::Closed { graceful: true });
            next_change(&insights, &store, |insight| {
                insight.subscriptions.len() == usize::try_from(stream).unwrap() && !is_online(&insight.subscriptions)
            })
            .await;
            let state = insights.lock();
            assert!(state.proxies.is_empty() && state.urgent.is_empty() && state.counted.is_empty());
        }
    }
}
