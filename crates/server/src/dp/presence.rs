//! Acts on what becomes of proxies: keeps, marks or removes what they left behind (see [`super::fleet`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshspan_model::kinds::presence::PresenceState;
use meshspan_store::{Store, Write};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::fleet::{Fleet, Gone};
use super::{DataPlane, insights};
use crate::proxy_key::ProxyKey;

/// Shortest pause before a removal that failed is tried again.
const REMOVE_RETRY: Duration = Duration::from_secs(1);

/// Follows the streams of all proxies.
pub struct Presence {
    fleet: Mutex<Fleet>,
    changed: Notify,
    patience: Duration,
}

impl Presence {
    /// Expects every proxy that was there when the last control plane on this store ended. Who does not come back within
    /// `patience`, or is lost later for so long, is judged.
    pub fn new(store: &dyn Store, patience: Duration) -> Self {
        let (mut fleet, now) = (Fleet::new(patience), Instant::now());
        for (id, presence) in insights::expected(store) {
            fleet.expect(id, presence.registered, presence.state == PresenceState::Left, now);
        }
        Self {
            fleet: Mutex::new(fleet),
            changed: Notify::new(),
            patience,
        }
    }

    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream began; `registered`: the proxy brought its resource.
    pub(super) fn begin(&self, id: &ProxyKey, stream: u64, registered: bool) {
        self.fleet().begin(id, stream, registered);
    }

    /// A proxy was let in.
    pub(super) fn admit(&self, id: &ProxyKey, registered: bool) {
        self.fleet().admit(id, registered, Instant::now());
        self.changed.notify_one();
    }

    /// A proxy that cannot be let in proved that it is there.
    pub(super) fn lives(&self, id: &ProxyKey) {
        self.fleet().lives(id, Instant::now());
        self.changed.notify_one();
    }

    /// A stream was refused.
    pub(super) fn refuse(&self, id: &ProxyKey, stream: u64) {
        self.fleet().refuse(id, stream, Instant::now());
    }

    /// A stream ended that had been let in, or may have been.
    pub(super) fn end(&self, id: &ProxyKey, stream: u64) {
        self.fleet().end(id, stream, Instant::now());
        self.changed.notify_one();
    }

    /// A proxy said goodbye.
    pub(super) fn goodbye(&self, id: &ProxyKey) {
        self.fleet().goodbye(id, Instant::now());
        self.changed.notify_one();
    }

    /// Whether a proxy brought its resource.
    pub(super) fn is_registered(&self, id: &ProxyKey) -> bool {
        self.fleet().is_registered(id)
    }

    /// Whether a proxy has a stream.
    pub(super) fn is_open(&self, id: &ProxyKey) -> bool {
        self.fleet().is_open(id)
    }
}

/// Judges proxies when their time has come, until the control plane stops.
pub async fn run(plane: Arc<DataPlane>) {
    loop {
        let deadline = plane.presence.fleet().next_deadline();
        let expired = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = plane.stop.cancelled() => return,
            () = plane.presence.changed.notified() => continue,
            () = expired => {}
        }
        let judged = plane.presence.fleet().judge(Instant::now());
        for gone in judged.gone {
            plane.tasks.spawn(leave(plane.clone(), gone));
        }
        let reason = format!(
            "lost together with others, {} in all while {} are connected: taken to be there until it comes back or says \
             goodbye",
            judged.missing, judged.present
        );
        let marked = judged
            .held
            .iter()
            .filter(|id| plane.insights.conclude(&*plane.store, id, PresenceState::Held, &reason));
        let marked = marked.count();
        if marked > 0 {
            tracing::warn!(
                held = marked,
                missing = judged.missing,
                connected = judged.present,
                "so many proxies were lost at once that the fault is probably between them and this control plane: their \
                 resources are kept and traffic goes on; delete the resources of those that are really gone"
            );
        }
    }
}

/// Removes what a proxy brought, or marks what a user applied.
async fn leave(plane: Arc<DataPlane>, gone: Gone) {
    // Nobody registers it meanwhile.
    let _registering = plane.registrations.lock(&gone.id).await;
    if plane.presence.is_open(&gone.id) {
        let pause = plane.presence.patience;
        plane.presence.fleet().judge_later(gone, Instant::now(), pause);
        return;
    }
    let key = gone.id.resource();
    if !gone.registered {
        let reason = match plane.insights.reason(&*plane.store, &gone.id) {
            known if known.is_empty() => "its proxy was lost and did not come back".to_owned(),
            known => format!("its proxy did not come back: {known}"),
        };
        plane
            .insights
            .conclude(&*plane.store, &gone.id, PresenceState::Gone, &reason);
        return;
    }
    let reason = plane.insights.reason(&*plane.store, &gone.id);
    tracing::info!(resource = %key, reason, "the proxy did not come back; its resource is removed");
    if let Err(error) = plane.store.apply(vec![Write::Remove { key }]).await {
        tracing::error!(%error, "cannot remove the resource of a proxy that is gone; tried again");
        let pause = plane.presence.patience.max(REMOVE_RETRY);
        plane.presence.fleet().judge_later(gone, Instant::now(), pause);
        plane.presence.changed.notify_one();
    }
}
