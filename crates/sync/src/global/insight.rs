//! ZoneInsight: what the global writes down about the connections of a zone.

use meshspan_model::kinds::dataplane_insight::ServiceStats;
use meshspan_model::kinds::zone::Zone;
use meshspan_model::kinds::zone_insight::{
    HealthCheck, KdsSubscription, KdsSubscriptionStatus, ZoneInsight, ZoneRejection,
};
use meshspan_model::{Kind, Resource, ResourceKey, Spec};
use meshspan_store::{Store, StoreError, Write};
use std::collections::BTreeMap;
use time::OffsetDateTime;

use super::connection::Connection;
use crate::node::{self, About};
use crate::receiver::Rejected;
use crate::text::bounded;

/// How many connections are kept.
const KEPT: usize = 10;
/// Longest reason for an end that is kept, in bytes.
const MAX_REASON: usize = 600;
/// How often a change is repeated if others write at the same time.
const ATTEMPTS: usize = 10;

/// Creates the Zone if it does not exist.
pub(super) async fn ensure_zone(store: &dyn Store, zone: &str) -> Result<(), StoreError> {
    let key = ResourceKey::new(Kind::Zone, "", zone);
    if store.get(&key).is_some() {
        return Ok(());
    }
    match store
        .apply(vec![Write::create(Resource::of(
            "",
            zone,
            &Zone { enabled: Some(true) },
        ))])
        .await
    {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Closes what a former process left open.
pub(super) async fn close_all(store: &dyn Store) -> Result<(), StoreError> {
    for stored in store.list(Kind::ZoneInsight, None) {
        update(store, &stored.resource.name, |insight| {
            close_open(
                insight,
                OffsetDateTime::now_utc(),
                "the global control plane was stopped",
            )
        })
        .await?;
    }
    Ok(())
}

/// Adds a connection and closes older ones.
pub(super) async fn connected(
    store: &dyn Store,
    connection: &Connection,
    about: &About,
    ours: &About,
    token_expires: Option<OffsetDateTime>,
) -> Result<(), StoreError> {
    update(store, &connection.caller.zone, |insight| {
        close_open(insight, connection.since, "a newer connection of the zone took over");
        insight.subscriptions.push(KdsSubscription {
            id: connection.id.clone(),
            global_instance_id: ours.instance_id.clone(),
            zone_instance_id: about.instance_id.clone(),
            connect_time: Some(connection.since),
            version: Some(node::insight_version(about, &ours.version.version)),
            config: about.config.clone(),
            auth_token_provided: connection.caller.token.is_some(),
            token_expires,
            ..KdsSubscription::default()
        });
        let surplus = insight.subscriptions.len().saturating_sub(KEPT);
        insight.subscriptions.drain(..surplus);
        insight.health_check = Some(HealthCheck {
            time: Some(connection.since),
        });
    })
    .await
}

/// How a connection goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Progress {
    /// What the zone was sent and took.
    pub(super) stats: BTreeMap<Kind, ServiceStats>,
    /// What is refused of the zone.
    pub(super) refused: Vec<Rejected>,
}

/// Writes counters and refusals, and the end if there is one.
pub(super) async fn progress(
    store: &dyn Store,
    connection: &Connection,
    progress: &Progress,
    alive: OffsetDateTime,
    disconnected: Option<(OffsetDateTime, &str)>,
) -> Result<(), StoreError> {
    update(store, &connection.caller.zone, |insight| {
        insight.health_check = Some(HealthCheck { time: Some(alive) });
        let Some(subscription) = insight
            .subscriptions
            .iter_mut()
            .find(|subscription| subscription.id == connection.id)
        else {
            return;
        };
        if let Some((at, reason)) = disconnected
            && subscription.disconnect_time.is_none()
        {
            subscription.disconnect_time = Some(at);
            subscription.disconnect_reason = bounded(reason, MAX_REASON);
        }
        let refused = progress.refused.iter().map(|rejected| ZoneRejection {
            resource_type: rejected.resource_type.clone(),
            name: rejected.name.clone(),
            message: rejected.reason.clone(),
        });
        subscription.status.rejections = refused.collect();
        let stat: BTreeMap<String, ServiceStats> = progress
            .stats
            .iter()
            .map(|(kind, stats)| (kind.name().to_owned(), *stats))
            .collect();
        if stat != subscription.status.stat {
            let total = stat.values().fold(ServiceStats::default(), |sum, stats| ServiceStats {
                responses_sent: sum.responses_sent + stats.responses_sent,
                responses_acknowledged: sum.responses_acknowledged + stats.responses_acknowledged,
                responses_rejected: sum.responses_rejected + stats.responses_rejected,
            });
            subscription.status = KdsSubscriptionStatus {
                last_update_time: Some(alive),
                total,
                stat,
                rejections: std::mem::take(&mut subscription.status.rejections),
            };
        }
    })
    .await
}

/// Notes why a zone that is not connected was not let in. Nothing is written for one that has never been connected, nor twice.
pub(super) async fn refused(store: &dyn Store, zone: &str, reason: &str) -> Result<(), StoreError> {
    let reason = bounded(reason, MAX_REASON);
    let known = store.get(&ResourceKey::new(Kind::ZoneInsight, "", zone));
    let known = known.and_then(|stored| stored.resource.parse::<ZoneInsight>().ok());
    if known
        .as_ref()
        .and_then(ZoneInsight::last_end)
        .is_none_or(|(_, noted)| noted == reason)
    {
        return Ok(());
    }
    update(store, zone, |insight| {
        let newest = insight
            .subscriptions
            .iter_mut()
            .max_by_key(|subscription| subscription.disconnect_time);
        if let Some(newest) = newest.filter(|newest| newest.disconnect_time.is_some()) {
            newest.disconnect_reason.clone_from(&reason);
        }
    })
    .await
}

fn close_open(insight: &mut ZoneInsight, at: OffsetDateTime, reason: &str) {
    let open = |subscription: &&mut KdsSubscription| subscription.disconnect_time.is_none();
    for subscription in insight.subscriptions.iter_mut().filter(open) {
        subscription.disconnect_time = Some(at);
        reason.clone_into(&mut subscription.disconnect_reason);
    }
}

/// Reads, changes and writes, again if someone else wrote meanwhile. Nothing is written for a zone that was deleted.
async fn update(store: &dyn Store, zone: &str, change: impl Fn(&mut ZoneInsight)) -> Result<(), StoreError> {
    let key = ResourceKey::new(Kind::ZoneInsight, "", zone);
    let owner = ResourceKey::new(Kind::Zone, "", zone);
    for attempt in 1.. {
        let stored = store.get(&key);
        let mut insight = stored
            .as_ref()
            .and_then(|stored| stored.resource.parse::<ZoneInsight>().ok())
            .unwrap_or_default();
        change(&mut insight);
        let write = match &stored {
            Some(stored) => {
                let resource = Resource {
                    spec: insight.to_value(),
                    ..(*stored.resource).clone()
                };
                Write::Update {
                    resource,
                    expected: Some(stored.spec_version),
                }
            }
            None => Write::Create {
                resource: Resource::of("", zone, &insight),
                owner: Some(owner.clone()),
            },
        };
        match store.apply(vec![write]).await {
            Err(StoreError::MissingOwner { .. }) | Ok(_) => break,
            Err(StoreError::Conflict { .. } | StoreError::NotFound { .. } | StoreError::AlreadyExists { .. })
                if attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
