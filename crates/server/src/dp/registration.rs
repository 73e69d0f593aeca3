//! Proxies that bring their own resource: stored when they connect; [`super::presence`] removes it some time after they are gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meshspan_api::rules;
use meshspan_model::kinds::zone_egress::ZoneEgress;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_model::labels::{self, Role};
use meshspan_model::{Kind, Resource, ResourceKey, Spec, Violations, document};
use meshspan_store::{StoreError, Write};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tonic::Status;

use super::DataPlane;
use crate::proxy_key::ProxyKey;
use meshspan_model::ProxyKind;

/// How often a registration is tried again when the resource changed at the same moment.
const ATTEMPTS: usize = 5;

/// Whoever stores or removes a proxy's resource holds its entry meanwhile, so that nobody removes what another has just
/// stored.
#[derive(Debug, Default)]
pub struct Registrations(Mutex<BTreeMap<ProxyKey, Arc<AsyncMutex<()>>>>);

/// Nobody else stores or removes the resource of that proxy meanwhile.
pub(super) struct Registering<'a> {
    registrations: &'a Registrations,
    id: ProxyKey,
    entry: Option<OwnedMutexGuard<()>>,
}

impl Registrations {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<ProxyKey, Arc<AsyncMutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the entry of a proxy.
    pub(super) async fn lock(&self, id: &ProxyKey) -> Registering<'_> {
        let mut registering = Registering {
            registrations: self,
            id: id.clone(),
            entry: None,
        };
        let entry = self.entries().entry(id.clone()).or_default().clone();
        registering.entry = Some(entry.lock_owned().await);
        registering
    }
}

impl Drop for Registering<'_> {
    fn drop(&mut self) {
        let mut entries = self.registrations.entries();
        self.entry = None;
        // One is in the map; any more belongs to somebody who waits for it.
        if entries.get(&self.id).is_some_and(|entry| Arc::strong_count(entry) == 1) {
            entries.remove(&self.id);
        }
    }
}

/// Reads the resource that a proxy brought, and checks that it is the proxy's own.
pub(super) fn read(id: &ProxyKey, text: &str) -> Result<Resource, String> {
    let value = serde_json::from_str(text).map_err(|error| format!("the resource is not JSON: {error}"))?;
    let parsed = document::read(&value).map_err(|violations| violations.to_string())?;
    let (wanted, found) = (id.resource(), parsed.resource.key());
    if wanted != found {
        return Err(format!("the resource is {found}, but the proxy calls itself {wanted}"));
    }
    Ok(parsed.resource)
}

/// Makes sure that the proxy's resource is stored: the one it brought, or one that is there already.
pub(super) async fn register(plane: &DataPlane, id: &ProxyKey, brought: Option<&Resource>) -> Result<(), Status> {
    let _registering = plane.registrations.lock(id).await;
    match brought {
        Some(brought) => store_brought(plane, id, brought, false).await,
        None if plane.store.get(&id.resource()).is_some() => Ok(()),
        None => Err(missing(id)),
    }
}

/// The refusal of a proxy that has no resource.
pub(super) fn missing(id: &ProxyKey) -> Status {
    Status::not_found(format!(
        "{id} does not exist: apply it, or start the proxy with --dataplane-file"
    ))
}

/// Lets other zones enter through an ingress, once its Envoy listens.
pub(super) async fn announce(plane: &DataPlane, id: &ProxyKey, brought: &Resource) -> Result<(), Status> {
    let _registering = plane.registrations.lock(id).await;
    if !plane.presence.is_open(id) {
        return Ok(());
    }
    store_brought(plane, id, brought, true).await
}

/// Lets other zones enter through another ingress, while the Envoy of this one still serves those that have entered;
/// false if that should be tried again. What a user applied stays.
pub(super) async fn withdraw(plane: &DataPlane, id: &ProxyKey) -> bool {
    let _registering = plane.registrations.lock(id).await;
    let stored = plane
        .store
        .get(&id.resource())
        .filter(|_| plane.presence.is_registered(id));
    let Some(stored) = stored else { return true };
    let mut resource = (*stored.resource).clone();
    if !hide(&mut resource) {
        return true;
    }
    let expected = Some(stored.spec_version);
    match plane.store.apply(vec![Write::Update { resource, expected }]).await {
        Ok(_) | Err(StoreError::NotFound { .. }) => true,
        Err(error) => {
            tracing::warn!(proxy = id.name, %error, "cannot withdraw a zone ingress that is draining; tried again");
            false
        }
    }
}

/// Takes the public address of an ingress away, without which no other zone uses it; false if it has none.
fn hide(resource: &mut Resource) -> bool {
    let Ok(mut ingress) = resource.parse::<ZoneIngress>() else {
        return false;
    };
    if std::mem::take(&mut ingress.networking.advertised_address).is_empty() {
        return false;
    }
    ingress.networking.advertised_port = 0;
    resource.spec = ingress.to_value();
    true
}

/// `announced`: the Envoy of an ingress listens.
async fn store_brought(plane: &DataPlane, id: &ProxyKey, brought: &Resource, announced: bool) -> Result<(), Status> {
    let key = id.resource();
    for _ in 0..ATTEMPTS {
        let snapshot = plane.store.snapshot();
        let existing = snapshot.get(&key);
        let mut resource = brought.clone();
        if id.kind == ProxyKind::ZoneIngress && !announced {
            // One that other zones know stays: it comes back.
            let known = existing.and_then(|stored| stored.resource.parse::<ZoneIngress>().ok());
            if known.is_none_or(|known| known.networking.advertised_address.is_empty()) {
                hide(&mut resource);
            }
        }
        complete(
            plane,
            id.kind,
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
    proxy: ProxyKind,
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
    match proxy {
        ProxyKind::Sidecar => rules::dataplane::prepare(resource, existing, plane.zone(), snapshot)
            .map_err(|violations| violations.to_string()),
        ProxyKind::ZoneIngress => {
            let mut ingress: ZoneIngress = resource.parse().map_err(|violations| violations.to_string())?;
            plane.zone().clone_into(&mut ingress.zone);
            resource.spec = ingress.to_value();
            Ok(())
        }
        ProxyKind::ZoneEgress => {
            let mut egress: ZoneEgress = resource.parse().map_err(|violations| violations.to_string())?;
            plane.zone().clone_into(&mut egress.zone);
            resource.spec = egress.to_value();
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn entries_are_kept_only_while_somebody_holds_or_awaits_them() {
        let registrations = Arc::new(Registrations::default());
        let id = ProxyKey::sidecar("default", "redis-1");
        let first = registrations.lock(&id).await;
        let shared = registrations.clone();
        let waiting = tokio::spawn(async move {
            let id = ProxyKey::sidecar("default", "redis-1");
            let _second = shared.lock(&id).await;
            shared.entries().len()
        });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(waiting.await.unwrap(), 1);
        assert_eq!(registrations.entries().len(), 0);
        // One that gives up waiting leaves nothing behind either.
        let first = registrations.lock(&id).await;
        let given_up = tokio::time::timeout(std::time::Duration::ZERO, registrations.lock(&id)).await;
        assert!(given_up.is_err());
        drop(first);
        assert_eq!(registrations.entries().len(), 0);
    }
}
