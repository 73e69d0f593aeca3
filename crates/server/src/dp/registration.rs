//! Proxies that bring their own resource: stored when they connect, removed some time after they are gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshspan_api::rules;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_model::labels::{self, Role};
use meshspan_model::{Kind, Resource, ResourceKey, Spec, Violations, document};
use meshspan_store::{StoreError, Write};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tonic::Status;

use super::DataPlane;
use crate::engine::ProxyId;

/// Shortest pause before a removal that failed is tried again.
const REMOVE_RETRY: Duration = Duration::from_secs(1);
/// How often a registration is tried again when the resource changed at the same moment.
const ATTEMPTS: usize = 5;

/// The newest stream of each proxy. Whoever stores or removes a proxy's resource holds its entry meanwhile, so that the
/// end of an old stream never removes what a new one has just stored.
#[derive(Debug, Default)]
pub struct Registrations(Mutex<BTreeMap<ProxyId, Arc<AsyncMutex<u64>>>>);

/// Number of no stream.
const NO_STREAM: u64 = 0;

impl Registrations {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<ProxyId, Arc<AsyncMutex<u64>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest stream of a proxy, or [`NO_STREAM`]; nobody else has it until it is dropped.
    async fn newest(&self, id: &ProxyId) -> OwnedMutexGuard<u64> {
        let entry = self.entries().entry(id.clone()).or_default().clone();
        entry.lock_owned().await
    }

    /// Notes that a proxy has no stream any more.
    fn forget(&self, id: &ProxyId, mut newest: OwnedMutexGuard<u64>) {
        let mut entries = self.entries();
        *newest = NO_STREAM;
        // One is here and one in the map; any more belongs to somebody who waits for it.
        if Arc::strong_count(OwnedMutexGuard::mutex(&newest)) == 2 {
            entries.remove(id);
        }
    }
}

/// The key of a proxy's resource.
pub(super) fn key(id: &ProxyId) -> ResourceKey {
    let kind = if id.0.is_empty() {
        Kind::ZoneIngress
    } else {
        Kind::Dataplane
    };
    ResourceKey::new(kind, id.0.as_str(), id.1.as_str())
}

/// Reads the resource that a proxy brought, and checks that it is the proxy's own.
pub(super) fn read(id: &ProxyId, text: &str) -> Result<Resource, String> {
    let value = serde_json::from_str(text).map_err(|error| format!("the resource is not JSON: {error}"))?;
    let parsed = document::read(&value).map_err(|violations| violations.to_string())?;
    let (wanted, found) = (key(id), parsed.resource.key());
    if wanted != found {
        return Err(format!("the resource is {found}, but the proxy calls itself {wanted}"));
    }
    Ok(parsed.resource)
}

/// Makes sure that the proxy's resource is stored: the one it brought, or one that is there already.
pub(super) async fn register(
    plane: &DataPlane,
    id: &ProxyId,
    brought: Option<&Resource>,
    stream: u64,
) -> Result<(), Status> {
    let mut newest = plane.registrations.newest(id).await;
    let before = std::mem::replace(&mut *newest, stream);
    let result = match brought {
        Some(brought) => store_brought(plane, id, brought).await,
        None if plane.store.get(&key(id)).is_some() => Ok(()),
        None => Err(missing(id)),
    };
    if result.is_err() {
        *newest = before;
    }
    result
}

/// The refusal of a proxy that has no resource.
pub(super) fn missing(id: &ProxyId) -> Status {
    Status::not_found(format!(
        "{} does not exist: apply it, or start the proxy with --dataplane-file",
        key(id)
    ))
}

async fn store_brought(plane: &DataPlane, id: &ProxyId, brought: &Resource) -> Result<(), Status> {
    let key = key(id);
    for _ in 0..ATTEMPTS {
        let snapshot = plane.store.snapshot();
        let existing = snapshot.get(&key);
        let mut resource = brought.clone();
        complete(
            plane,
            &mut resource,
            existing.map(|stored| &*stored.resource),
            &snapshot,
        )
        .map_err(Status::invalid_argument)?;
        let write = match existing {
            Some(stored) => Write::Update {
                resource,
                expected: Some(stored.spec_version),
            },
            None => {
                let owner = key
                    .kind
                    .is_mesh_scoped()
                    .then(|| ResourceKey::new(Kind::Mesh, "", key.mesh.as_str()));
                Write::Create { resource, owner }
            }
        };
        match plane.store.apply(vec![write]).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict { .. } | StoreError::AlreadyExists { .. } | StoreError::NotFound { .. }) => {}
            Err(StoreError::MissingOwner { .. }) => {
                return Err(Status::not_found(format!(
                    "mesh \"{}\" does not exist: create it on the global control plane",
                    key.mesh
                )));
            }
            Err(error) => return Err(Status::unavailable(error.to_string())),
        }
    }
    Err(Status::unavailable(format!(
        "{key} is being changed by others all the time"
    )))
}

/// Fills in what a zone computes.
pub(super) fn complete(
    plane: &DataPlane,
    resource: &mut Resource,
    existing: Option<&Resource>,
    snapshot: &meshspan_store::Snapshot,
) -> Result<(), String> {
    let role = Role::Zone {
        name: plane.zone(),
        federated: plane.settings.is_federated(),
    };
    let (kind, mesh, name) = (resource.kind, resource.mesh.clone(), resource.name.clone());
    let subject = labels::Subject {
        kind,
        mesh: &mesh,
        name: &name,
        role,
        stored: existing.map(|existing| &existing.labels),
        check_origin: true,
    };
    let mut violations = Violations::new();
    labels::validate(&subject, &resource.labels, &mut violations);
    violations.into_result().map_err(|violations| violations.to_string())?;
    labels::compute(kind, &mesh, &name, role, &mut resource.labels);
    match kind {
        Kind::Dataplane => rules::dataplane::prepare(resource, existing, plane.zone(), snapshot)
            .map_err(|violations| violations.to_string()),
        _ => {
            let mut ingress: ZoneIngress = resource.parse().map_err(|violations| violations.to_string())?;
            plane.zone().clone_into(&mut ingress.zone);
            resource.spec = ingress.to_value();
            Ok(())
        }
    }
}

/// Notes that a stream has ended. The resource that its proxy brought is removed, unless the proxy comes back in time.
pub(super) fn ended(plane: &Arc<DataPlane>, id: ProxyId, stream: u64, brought: bool) {
    let plane = plane.clone();
    let mut wait = plane.settings.xds_server.dataplane_deregistration_delay.0;
    plane.tasks.clone().spawn(async move {
        loop {
            if brought {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = plane.stop.cancelled() => return,
                }
            }
            let newest = plane.registrations.newest(&id).await;
            if *newest == NO_STREAM {
                return plane.registrations.forget(&id, newest);
            }
            if *newest != stream {
                return;
            }
            if !brought {
                return plane.registrations.forget(&id, newest);
            }
            let key = key(&id);
            tracing::info!(resource = %key, "the proxy did not come back; its resource is removed");
            match plane.store.apply(vec![Write::Remove { key }]).await {
                Ok(_) => return plane.registrations.forget(&id, newest),
                Err(error) => {
                    tracing::error!(%error, "cannot remove the resource of a proxy that is gone; tried again");
                    wait = wait.max(REMOVE_RETRY);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn proxies_without_a_stream_are_forgotten_unless_somebody_waits() {
        let registrations = Arc::new(Registrations::default());
        let id: ProxyId = ("default".into(), "redis-1".into());
        let mut newest = registrations.newest(&id).await;
        assert_eq!(*newest, NO_STREAM);
        *newest = 7;
        drop(newest);
        let newest = registrations.newest(&id).await;
        assert_eq!(*newest, 7);
        let (shared, name) = (registrations.clone(), id.clone());
        let waiting = tokio::spawn(async move { shared.newest(&name).await });
        tokio::task::yield_now().await;
        registrations.forget(&id, newest);
        assert_eq!(registrations.entries().len(), 1);
        let newest = waiting.await.unwrap();
        assert_eq!(*newest, NO_STREAM);
        registrations.forget(&id, newest);
        assert_eq!(registrations.entries().len(), 0);
    }
}
