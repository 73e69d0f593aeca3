//! GET of a list: of a mesh, of all meshes, or of a global kind.

use axum::response::Response;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::{Kind, document};

use super::{DataplaneFilter, require_mesh, zone_views};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::listing::Listing;
use crate::path::Target;
use crate::state::ApiState;

pub(super) fn list(
    kind: Kind,
    state: &ApiState,
    caller: &Caller,
    target: &Target,
    listing: &Listing,
) -> Result<Response, ApiError> {
    state.settings.access.require_kind(kind, caller)?;
    let mesh = match target.mesh.as_str() {
        "" => None,
        mesh => {
            require_mesh(state, target)?;
            Some(mesh)
        }
    };
    let filter = match kind {
        Kind::Dataplane => DataplaneFilter::from_query(&listing.query)?,
        _ => DataplaneFilter::default(),
    };
    let mut found = state.store.list(kind, mesh);
    found.retain(|stored| listing.matches(&stored.resource));
    if !filter.is_empty() {
        found.retain(|stored| {
            stored
                .resource
                .parse::<Dataplane>()
                .is_ok_and(|dataplane| filter.matches(&dataplane))
        });
    }
    let (snapshot, settings) = (state.store.snapshot(), state.settings.clone());
    Ok(listing.respond(found, move |stored| {
        document::universal(&zone_views::shown(&stored.resource, &settings.mode, &snapshot))
    }))
}
