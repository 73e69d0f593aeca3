//! Which zone is connected through which connection, and what was received of each zone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::caller::Caller;
use super::connection::{Connection, StreamGuard, StreamKind};
use crate::admission::CheckVip;
use crate::node::About;
use crate::receiver::Receiver;

/// All zones.
pub(super) struct Registry {
    about: About,
    check_vip: CheckVip,
    zones: Mutex<BTreeMap<String, Zone>>,
}

#[derive(Debug)]
struct Zone {
    current: Option<Arc<Connection>>,
    receiver: Arc<AsyncMutex<Receiver>>,
}

/// A stream that may go on.
pub(super) struct Admitted {
    pub(super) guard: StreamGuard,
    /// True if it opened the connection.
    pub(super) first: bool,
}

impl Registry {
    pub(super) fn new(about: About, check_vip: CheckVip) -> Self {
        Self {
            about,
            check_vip,
            zones: Mutex::default(),
        }
    }

    /// Lets a stream join the connection of its zone, opens one, or refuses (see the module doc of [`super`]).
    pub(super) fn admit(
        &self,
        caller: Caller,
        kind: StreamKind,
        cancel: &CancellationToken,
    ) -> Result<Admitted, Status> {
        let mut zones = self.lock();
        let zone = zones.entry(caller.zone.clone()).or_insert_with(|| Zone {
            current: None,
            receiver: Arc::new(AsyncMutex::new(Receiver::of_zone(
                &caller.zone,
                self.about.clone(),
                self.check_vip.clone(),
            ))),
        });
        if let Some(current) = zone.current.as_ref().filter(|current| !current.is_closed()) {
            if current.caller.connection == caller.connection
                && current.caller.token == caller.token
                && let Some(guard) = current.open(kind)
            {
                return Ok(Admitted { guard, first: false });
            }
            let holder = current.instance();
            // One that names no instance may be anybody; the death of a holder is noticed within seconds.
            if caller.instance.is_none() || caller.instance != holder {
                let message = format!(
                    "zone name \"{}\" is already connected: control plane {} at {} has held it since {}; stop it, or give this control \
                     plane ({} at {}) another name with KUMA_MULTIZONE_ZONE_NAME",
                    caller.zone,
                    holder.as_deref().unwrap_or("without id"),
                    current.caller.address,
                    current.since,
                    caller.instance.as_deref().unwrap_or("without id"),
                    caller.address
                );
                return Err(Status::already_exists(message));
            }
            let reason = format!(
                "a newer connection of zone \"{}\" from {} replaces this one from {}",
                caller.zone, caller.address, current.caller.address
            );
            tracing::warn!(zone = caller.zone, "{reason}");
            current.close(reason);
        }
        let connection = Arc::new(Connection::new(caller, cancel));
        let guard = connection
            .open(kind)
            .ok_or_else(|| Status::internal("a new connection has no streams"))?;
        zone.current = Some(connection);
        Ok(Admitted { guard, first: true })
    }

    /// What was received of a zone; a stream holds it for as long as it lives.
    pub(super) fn receiver(&self, zone: &str) -> Option<Arc<AsyncMutex<Receiver>>> {
        self.lock().get(zone).map(|zone| Arc::clone(&zone.receiver))
    }

    /// The open connection of a zone.
    pub(super) fn current(&self, zone: &str) -> Option<Arc<Connection>> {
        self.lock()
            .get(zone)
            .and_then(|zone| zone.current.clone())
            .filter(|current| !current.is_closed())
    }

    /// All open connections.
    pub(super) fn all(&self) -> Vec<Arc<Connection>> {
        let zones = self.lock();
        let current = zones.values().filter_map(|zone| zone.current.as_ref());
        current.filter(|current| !current.is_closed()).cloned().collect()
    }

    /// Forgets a closed connection, unless a newer one took its place.
    pub(super) fn forget(&self, connection: &Arc<Connection>) {
        if let Some(zone) = self.lock().get_mut(&connection.caller.zone)
            && zone
                .current
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, connection))
        {
            zone.current = None;
        }
    }

    pub(super) fn connected(&self) -> Vec<String> {
        let zones = self.lock();
        let open = |zone: &Zone| zone.current.as_ref().is_some_and(|current| !current.is_closed());
        zones
            .iter()
            .filter(|(_, zone)| open(zone))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Zone>> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
