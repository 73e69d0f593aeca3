//! Tokens that stop to hold while their stream is open: revoked, expired, or signed with a key that is gone. The stream ends
//! then, and with it the renewal of the proxy's certificate.

use std::sync::Arc;
use std::time::Duration;

use meshspan_api::tokens::trust;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_store::Store;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{DataPlane, auth};
use crate::proxy_key::ProxyKey;

/// Longest sleep before an expiry is looked at again: sleep does not see the clock being set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Announces that keys or revocation lists have changed, to all streams at once.
#[derive(Debug, Default)]
pub struct TrustChanges(watch::Sender<()>);

impl TrustChanges {
    /// Follows the store until `stop`.
    pub async fn run(self: Arc<Self>, store: Arc<dyn Store>, stop: CancellationToken) {
        let mut changes = store.subscribe();
        loop {
            let batch = tokio::select! {
                batch = changes.next() => batch,
                () = stop.cancelled() => return,
            };
            let Some(batch) = batch else { return };
            if batch.changes.iter().any(|change| trust::is_trust(&change.key)) {
                self.0.send_replace(());
            }
        }
    }

    /// To be taken before a token is checked, so that no change after the check is missed.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// The token with which an open stream was let in, and what it is checked against.
pub(super) struct TokenWatch {
    pub(super) plane: Arc<DataPlane>,
    pub(super) id: ProxyKey,
    pub(super) token: Option<String>,
    pub(super) dataplane: Option<Dataplane>,
    /// Taken before the first check.
    pub(super) changes: watch::Receiver<()>,
}

impl TokenWatch {
    /// Waits until the token does not hold any longer; returns the status with which the stream is to end.
    pub(super) async fn lost(mut self) -> Status {
        loop {
            self.changes.mark_unchanged();
            let expires_at = match auth::check(&self.plane, &self.id, self.token.as_deref(), self.dataplane.as_ref()) {
                Ok(expires_at) => expires_at,
                Err(status) => {
                    tracing::warn!(
                        mesh = self.id.mesh,
                        proxy = self.id.name,
                        reason = status.message(),
                        "the token of a connected proxy does not hold any longer; its stream ends"
                    );
                    match auth::expired(&self.plane, &self.id, self.token.as_deref(), self.dataplane.as_ref()) {
                        Some(at) => remark_expired(&self.plane, &self.id, at),
                        None => self
                            .plane
                            .insights
                            .remark(&*self.plane.store, &self.id, status.message()),
                    }
                    return status;
                }
            };
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() { return std::future::pending().await },
                () = until(expires_at) => {}
            }
        }
    }
}

/// To be called when a token was refused. One that has only expired shows that its proxy is there: it gets nothing, neither
/// changes nor certificates, but what it was is kept for as long as it comes.
pub(super) fn refused(plane: &DataPlane, id: &ProxyKey, token: Option<&str>, dataplane: Option<&Dataplane>) {
    if let Some(at) = auth::expired(plane, id, token, dataplane) {
        plane.presence.lives(id);
        remark_expired(plane, id, at);
    }
}

fn remark_expired(plane: &DataPlane, id: &ProxyKey, at: OffsetDateTime) {
    let at = at.format(&Rfc3339).unwrap_or_default();
    let reason = format!(
        "its token expired at {at}: it serves with what it has, and gets neither changes nor a new certificate until a new token \
         is in its file; a day after that it is taken away"
    );
    plane.insights.remark(&*plane.store, id, &reason);
}

/// Waits for a time, or for as long as nobody should sleep at once; without a time for ever.
async fn until(time: Option<OffsetDateTime>) {
    let Some(time) = time else {
        return std::future::pending().await;
    };
    let left = Duration::try_from(time - OffsetDateTime::now_utc()).unwrap_or_default();
    // Not before the time: a check that comes too early would be repeated at once, over and over.
    tokio::time::sleep(left.saturating_add(Duration::from_millis(10)).min(LONGEST_SLEEP)).await;
}
