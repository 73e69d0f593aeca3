//! What is known of each proxy's connections, kept in its insight (`spec/resources.md` §2.5, §7).
//!
//! Connects, disconnects, certificates and rejections are stored at once; pure counters are gathered for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use meshspan_model::kinds::dataplane_insight::{
    DiscoverySubscription, InboundInsight, MtlsInsight, ProxyVersion, Rejection, ServiceStats, is_online,
};
use meshspan_model::kinds::presence::{Listeners, Presence, PresenceState};
use meshspan_store::Store;
use meshspan_xds::proto::agent::{DenialReport, HealthReport};
use meshspan_xds::{ResourceType, StreamEvent};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod listeners;
mod stored;

use super::inbound_insights;
use crate::engine::CertificateNews;
use crate::proxy_key::ProxyKey;
use listeners::note_listeners;
pub(super) use listeners::unopened_logs;
use meshspan_model::ProxyKind;
pub(super) use stored::expected;
use stored::{save, stored};

/// Insights that are written at the same time.
const SAVED_AT_ONCE: usize = 64;
/// Subscriptions that are kept.
const KEPT: usize = 2;
/// Most rejected resources of one type that are shown.
const MAX_REJECTIONS: usize = 100;
/// Most problems of a proxy that are kept.
const MAX_PROBLEMS: usize = 20;
/// Longest of them that is kept, in characters.
const MAX_PROBLEM: usize = 1000;
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
    proxies: BTreeMap<ProxyKey, Known>,
    urgent: BTreeSet<ProxyKey>,
    counted: BTreeSet<ProxyKey>,
}

#[derive(Clone, Default)]
struct Known {
    subscriptions: Vec<DiscoverySubscription>,
    mtls: Option<MtlsInsight>,
    inbounds: Vec<InboundInsight>,
    presence: Presence,
    problems: Vec<String>,
    stream: u64,
}

/// A connection that begins.
pub(super) struct Connection {
    pub(super) stream: u64,
    pub(super) version: ProxyVersion,
    /// The proxy brought its resource.
    pub(super) registered: bool,
    /// When the token expires with which it was let in, if it does.
    pub(super) token_expires: Option<OffsetDateTime>,
    /// Its Envoy has been connected before.
    pub(super) resumes: bool,
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
    pub(super) fn connected(&self, store: &dyn Store, id: &ProxyKey, connection: Connection) {
        let now = OffsetDateTime::now_utc();
        let mut state = self.lock();
        let known = state.proxies.entry(id.clone()).or_insert_with(|| stored(store, id));
        close(&mut known.subscriptions, now);
        known.stream = connection.stream;
        known.presence.registered = connection.registered;
        known.presence.state = PresenceState::Expected;
        known.presence.reason.clear();
        known.presence.token_expires = connection.token_expires;
        known.presence.unopened_logs.clear();
        if !connection.resumes && id.kind != ProxyKind::ZoneIngress {
            known.presence.listeners = Some(Listeners::default());
        }
        known.subscriptions.push(DiscoverySubscription {
            id: uuid::Uuid::new_v4().to_string(),
            control_plane_instance_id: self.instance_id.clone(),
            connect_time: Some(now),
            version: Some(connection.version),
            ..DiscoverySubscription::default()
        });
        let surplus = known.subscriptions.len().saturating_sub(KEPT);
        known.subscriptions.drain(..surplus);
        state.urgent.insert(id.clone());
        drop(state);
        self.changed.notify_one();
    }

    /// Notes what became of a proxy, with the reason for people; false if that is known, or nothing is known of the proxy.
    pub(super) fn conclude(&self, store: &dyn Store, id: &ProxyKey, to: PresenceState, reason: &str) -> bool {
        let now = OffsetDateTime::now_utc();
        let mut state = self.lock();
        let mut known = match state.proxies.get(id) {
            Some(known) => known.clone(),
            None => stored(store, id),
        };
        let before = known.presence.state;
        // A goodbye is the better reason.
        let same = before == to || before == PresenceState::Left;
        if known.subscriptions.is_empty() || same {
            return false;
        }
        known.presence.state = to;
        reason.clone_into(&mut known.presence.reason);
        if matches!(to, PresenceState::Gone | PresenceState::Held) {
            close(&mut known.subscriptions, now);
        }
        state.proxies.insert(id.clone(), known);
        state.urgent.insert(id.clone());
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Notes for people what is the matter with a proxy, until it connects again or more is concluded. Of one of which nothing is
    /// known nothing is noted.
    pub(super) fn remark(&self, store: &dyn Store, id: &ProxyKey, reason: &str) {
        let mut state = self.lock();
        let mut known = match state.proxies.get(id) {
            Some(known) => known.clone(),
            None => stored(store, id),
        };
        if known.subscriptions.is_empty() || known.presence.reason == reason {
            return;
        }
        reason.clone_into(&mut known.presence.reason);
        state.proxies.insert(id.clone(), known);
        state.urgent.insert(id.clone());
        drop(state);
        self.changed.notify_one();
    }

    /// What is noted for people of a proxy.
    pub(super) fn reason(&self, store: &dyn Store, id: &ProxyKey) -> String {
        let state = self.lock();
        let noted = state.proxies.get(id).map(|known| known.presence.reason.clone());
        noted.unwrap_or_else(|| stored(store, id).presence.reason)
    }

    /// Something happened on a stream.
    pub(super) fn event(&self, id: &ProxyKey, stream: u64, event: &StreamEvent) {
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
                known.presence.unopened_logs.extend(unopened_logs(*ty, rejected));
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
            StreamEvent::Listeners(holdings) if id.kind != ProxyKind::ZoneIngress => {
                urgent = note_listeners(id, &mut known.presence, holdings);
            }
            StreamEvent::Listeners(_) | StreamEvent::CaughtUp => {}
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

    /// What keeps clients from a proxy was found, or is gone. Of those that are not connected nothing is kept.
    pub fn problems(&self, id: &ProxyKey, found: &[String]) {
        let kept = found.iter().take(MAX_PROBLEMS);
        let kept: Vec<String> = kept
            .map(|problem| problem.chars().take(MAX_PROBLEM).collect())
            .collect();
        let mut state = self.lock();
        let Some(known) = state.proxies.get_mut(id) else { return };
        if known.problems != kept {
            known.problems = kept;
            state.urgent.insert(id.clone());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// An agent reported why inbounds are not ready.
    pub(super) fn health(&self, id: &ProxyKey, report: &HealthReport) {
        let mut state = self.lock();
        let Some(known) = state.proxies.get_mut(id) else { return };
        if inbound_insights::health(&mut known.inbounds, report) {
            state.urgent.insert(id.clone());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// An agent reported whom its proxy refused. Stored with the counters, so that it costs no more than these.
    pub(super) fn denied(&self, store: &dyn Store, id: &ProxyKey, report: &DenialReport) {
        let Some(dataplane) = store
            .get(&id.resource())
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

    async fn save(&self, store: &dyn Store, id: ProxyKey, known: Known) {
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
                tracing::error!(mesh = id.mesh, proxy = id.name, %error, "cannot store what is known of a connection; tried again");
                state.counted.insert(id);
            }
        }
    }
}

/// Closes what is open.
fn close(subscriptions: &mut [DiscoverySubscription], now: OffsetDateTime) {
    for open in subscriptions
        .iter_mut()
        .filter(|subscription| subscription.disconnect_time.is_none())
    {
        open.disconnect_time = Some(now);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use meshspan_model::kinds::dataplane_insight::DataplaneInsight;
    use meshspan_model::{Kind, Resource, ResourceKey};
    use meshspan_store::{MemoryStore, Write};

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
        let id = ProxyKey::sidecar("default", "redis-1");
        let dataplane = Resource::new(Kind::Dataplane, "default", "redis-1", serde_json::json!({}));
        store.apply(vec![Write::create(dataplane)]).await.unwrap();
        let insights = Arc::new(Insights::new("cp-1".into(), Duration::from_secs(10)));
        for stream in [1, 2] {
            let connection = Connection {
                stream,
                version: ProxyVersion::default(),
                registered: true,
                token_expires: None,
                resumes: false,
            };
            insights.connected(&*store, &id, connection);
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
