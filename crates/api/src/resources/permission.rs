//! Which kinds this control plane takes writes for, and from whom (`spec/http-api.md` §4.3, §6).

use meshspan_model::Kind;

use crate::caller::{AUTHENTICATED, Caller};
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

/// Refuses writes of callers who did not prove who they are. The reference takes them from every host of the network.
///
/// # Errors
/// 403 with the ways to be let in.
pub(crate) fn require_writer(caller: &Caller, settings: &Settings) -> Result<(), ApiError> {
    if settings.anonymous_writes || caller.groups.iter().any(|group| group == AUTHENTICATED) {
        return Ok(());
    }
    Err(ApiError::access_denied(
        caller,
        "write resources without a token: run the command on the control plane's own host against http://localhost:5681 and \
         without a proxy in between or headers that a client does not send of itself; or show a user token, made there with `meshspan generate user-token --name NAME \
         --valid-for 24h`, as `Authorization: Bearer TOKEN` (`meshspan config control-planes add --auth-type tokens \
         --auth-conf token=TOKEN`); or let every host write with KUMA_API_SERVER_AUTHN_ANONYMOUS_WRITES=true",
    ))
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
