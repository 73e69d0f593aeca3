//! Proxies that bring their own resource: stored when they connect, removed some time after they are gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use meshspan_api::rules;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_model::labels::{self, Role};
use meshspan_model::{Kind, Resource, ResourceKey, Spec, document};
use meshspan_store::{StoreError, Write};
use tonic::Status;

use super::DataPlane;
use crate::engine::ProxyId;

/// How often a registration is tried again when the resource changed at the same moment.
const ATTEMPTS: usize = 5;

/// The newest stream of each proxy.
#[derive(Debug, Default)]
pub struct Registrations(Mutex<BTreeMap<ProxyId, u64>>);

impl Registrations {
    fn set(&self, id: &ProxyId, stream: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), stream);
    }

    /// True if `stream` is still the newest; forgets it then.
    fn end(&self, id: &ProxyId, stream: u64) -> bool {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = streams.get(id) == Some(&stream);
        if newest {
            streams.remove(id);
        }
        newest
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
    plane.registrations.set(id, stream);
    let key = key(id);
    let Some(brought) = brought else {
        return match plane.store.get(&key) {
            Some(_) => Ok(()),
            None => Err(Status::not_found(format!(
                "{key} does not exist: apply it, or start the proxy with --dataplane-file"
            ))),
        };
    };
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

/// Removes the resource that a proxy brought, unless it comes back within the delay.
pub(super) fn deregister_later(plane: &Arc<DataPlane>, id: ProxyId, stream: u64) {
    let delay = plane.settings.xds_server.dataplane_deregistration_delay.0;
    let shared = plane.clone();
    plane.tasks.spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = shared.stop.cancelled() => return,
        }
        if shared.registrations.end(&id, stream) {
            let key = key(&id);
            tracing::info!(resource = %key, "the proxy did not come back; its resource is removed");
            if let Err(error) = shared.store.apply(vec![Write::Remove { key }]).await {
                tracing::error!(%error, "cannot remove the resource of a proxy that is gone");
            }
        }
    });
}
