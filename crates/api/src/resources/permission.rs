//! Which kinds this control plane takes writes for (`spec/http-api.md` §4.3).

use meshspan_model::Kind;

use crate::error::ApiError;
use crate::settings::{Mode, Settings};

/// Refuses writes of kinds that are written elsewhere.
///
/// # Errors
/// 405 with where to write instead.
pub(crate) fn require_writable(kind: Kind, settings: &Settings) -> Result<(), ApiError> {
    match why_read_only(kind, settings) {
        None => Ok(()),
        Some(reason) => Err(ApiError::method_not_allowed(reason)),
    }
}

/// Why a kind cannot be written here; `None` if it can.
pub(crate) fn why_read_only(kind: Kind, settings: &Settings) -> Option<String> {
    let info = kind.info();
    let sync = info.sync;
    let owned_by_zones_only = sync.zone_to_global && !sync.global_to_zones;
    let owned_by_global_only = sync.global_to_zones && !sync.zone_to_global;
    if info.read_only {
        return Some(format!("a {kind} is written by the control plane only"));
    }
    if settings.read_only {
        return Some("the API of this control plane is read-only; change resources with kubectl".to_owned());
    }
    match &settings.mode {
        Mode::Global if owned_by_zones_only => Some(format!(
            "a {kind} belongs to a zone; change it on the control plane of its zone"
        )),
        Mode::Zone { federated: true, .. } if owned_by_global_only => {
            Some(format!("a {kind} belongs to the global control plane; change it there"))
        }
        _ => None,
    }
}
