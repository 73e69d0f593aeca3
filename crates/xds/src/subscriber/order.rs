//! What has to wait for what across types: make before break.

use super::type_state::TypeState;
use crate::resource_type::{PerType, ResourceType};
use ResourceType::{Cluster, Endpoint, Listener, Route, Secret};

/// The types whose removals wait for other types, those that wait for fewer first.
pub(super) const REMOVALS: [ResourceType; 4] = [Route, Cluster, Endpoint, Secret];

/// Whether additions and updates of a type may be sent: what refers to clusters waits until those that are new to the
/// client are there.
///
/// Endpoints and secrets wait for nothing: Envoy acknowledges a cluster only when it has received its endpoints.
pub(super) fn may_update(types: &PerType<TypeState>, ty: ResourceType) -> bool {
    match ty {
        Cluster | Endpoint | Secret => true,
        Listener | Route => [Cluster, Endpoint]
            .into_iter()
            .all(|ty| !types.get(ty).is_introducing()),
    }
}

/// Whether resources of a type may be removed: nothing the client runs may still refer to them.
pub(super) fn may_remove(types: &PerType<TypeState>, ty: ResourceType) -> bool {
    let settled = |referring: &[ResourceType]| referring.iter().all(|ty| types.get(*ty).is_settled());
    match ty {
        // A listener may replace another on the same address: it is removed together with what replaces it.
        Listener => may_update(types, Listener),
        Route => settled(&[Listener]),
        // A client that comes back with clusters also comes back with listeners: they are brought up to date first.
        Cluster => {
            let complete = !types.get(Cluster).is_resumed() || types.get(Listener).is_requested();
            complete && settled(&[Listener, Route])
        }
        Endpoint => settled(&[Listener, Route, Cluster]),
        Secret => settled(&[Listener, Cluster]),
    }
}
