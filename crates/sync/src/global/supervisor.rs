//! One task for each connection of a zone: its ZoneInsight, and its end when the zone falls silent.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use meshspan_model::Kind;
use meshspan_store::{StoreError, Subscription};
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior};

use super::Shared;
use super::authorization::{authorize, revoked};
use super::connection::Connection;
use super::insight::{self, Progress};
use crate::feature::Feature;

/// How often a sign of life is written down if nothing else changes.
const HEALTH_WRITTEN: Duration = Duration::from_secs(60);

/// Follows what concerns connections: a zone that is deleted comes back and is created anew, and with other keys or
/// revocations tokens are checked again.
pub(super) async fn follow(shared: Arc<Shared>, mut subscription: Subscription) {
    loop {
        let batch = tokio::select! {
            batch = subscription.next() => batch,
            () = shared.cancel.cancelled() => None,
        };
        let Some(batch) = batch else { return };
        let mut keys_changed = false;
        for change in &batch.changes {
            let name = &change.key.name;
            match (change.key.kind, &change.after) {
                (Kind::Zone, None) => {
                    if let Some(connection) = shared.registry.current(name) {
                        connection.close(format!("zone \"{name}\" was deleted on the global control plane"));
                    }
                }
                (Kind::GlobalSecret, _) => keys_changed = true,
                _ => {}
            }
        }
        if keys_changed {
            shared
                .registry
                .all()
                .iter()
                .for_each(|connection| connection.keys_changed.notify_one());
        }
    }
}

/// Counts the connection and looks after it until it ends.
pub(super) async fn supervise(shared: Arc<Shared>, connection: Arc<Connection>) {
    shared.connections.send_modify(|open| *open += 1);
    tracing::info!(
        zone = connection.caller.zone,
        address = connection.caller.address,
        "zone connected"
    );
    let trusted = async {
        let status = revoked(&shared, &connection).await;
        tracing::warn!(
            zone = connection.caller.zone,
            reason = status.message(),
            "zone may no longer be connected"
        );
        connection.close(status.message());
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = look_after(&shared, Arc::clone(&connection)) => {}
        () = trusted => {}
    }
    shared.connections.send_modify(|open| *open -= 1);
}

/// Writes the ZoneInsight of a connection, and ends a connection that fell silent.
async fn look_after(shared: &Shared, connection: Arc<Connection>) {
    let zone = connection.caller.zone.as_str();
    let mut about = connection.about.subscribe();
    let mut tick = tokio::time::interval(shared.options.insight_interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut announced, mut announce_at) = (false, Instant::now());
    let mut written = (Instant::now(), progress_of(&connection));
    let pings = connection.caller.features.contains(&Feature::ZonePingHealth);
    let closed = connection.closed();
    tokio::pin!(closed);
    let ended = loop {
        let limit = shared
            .options
            .health_timeout
            .filter(|_| pings)
            .map(|timeout| connection.last_sign_of_life() + timeout);
        let silent = async {
            match limit {
                Some(limit) => tokio::time::sleep_until(limit).await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            status = &mut closed => {
                tracing::info!(zone, reason = status.message(), "zone disconnected");
                break status;
            }
            // Not the change but the value: the zone may have spoken before this task first ran.
            Ok(about) = async {
                tokio::time::sleep_until(announce_at).await;
                about.wait_for(Option::is_some).await.map(|about| about.clone())
            }, if !announced => {
                let about = about.unwrap_or_default();
                let token_expires = authorize(&shared.options, &*shared.store, &connection.caller).ok().flatten();
                let result = insight::connected(&*shared.store, &connection, &about, &shared.options.about, token_expires).await;
                // Should the disk be full: without this a zone would be offline for people as long as it is connected.
                announced = result.is_ok();
                announce_at = Instant::now() + shared.options.insight_interval;
                result
            }
            _ = tick.tick(), if announced => {
                let progress = progress_of(&connection);
                if progress == written.1 && written.0.elapsed() < HEALTH_WRITTEN {
                    continue;
                }
                written = (Instant::now(), progress);
                insight::progress(&*shared.store, &connection, &written.1, time_of(connection.last_sign_of_life()), None).await
            }
            () = silent => {
                if limit.is_some_and(|limit| connection.last_sign_of_life() + shared.options.health_timeout.unwrap_or_default() <= limit) {
                    connection.close(format!("zone \"{zone}\" sent no health check for {:?}", shared.options.health_timeout.unwrap_or_default()));
                }
                Ok(())
            }
        };
        report(zone, result);
    };
    shared.registry.forget(&connection);
    if announced {
        let progress = progress_of(&connection);
        let now = OffsetDateTime::now_utc();
        report(
            zone,
            insight::progress(
                &*shared.store,
                &connection,
                &progress,
                time_of(connection.last_sign_of_life()),
                Some((now, ended.message())),
            )
            .await,
        );
    }
}

fn progress_of(connection: &Connection) -> Progress {
    Progress {
        stats: connection.stats.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        refused: connection
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone(),
    }
}

fn report(zone: &str, result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::error!(zone, %error, "ZoneInsight cannot be written");
    }
}

fn time_of(instant: Instant) -> OffsetDateTime {
    OffsetDateTime::now_utc() - instant.elapsed()
}
