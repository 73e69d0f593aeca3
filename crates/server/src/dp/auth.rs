//! Whether a proxy is who it says (`spec/zone-sync.md` §5.1, §5.4).

use meshspan_api::tokens::trust;
use meshspan_identity::token::{ZoneScope, validate_dataplane_token, validate_zone_token};
use meshspan_model::Kind;
use meshspan_model::kinds::dataplane::Dataplane;
use time::OffsetDateTime;
use tonic::Status;

use super::DataPlane;
use crate::engine::ProxyId;
use crate::settings::ProxyAuth;

/// True if proxies of that kind must show a token.
pub(super) fn required(plane: &DataPlane, kind: Kind) -> bool {
    let authn = &plane.settings.dp_server.authn;
    let auth_type = if kind == Kind::Dataplane {
        authn.dp_proxy.auth_type
    } else {
        authn.zone_proxy.auth_type
    };
    auth_type != ProxyAuth::None
}

/// Checks the token of a proxy; `dataplane` is the resource of a sidecar, whose tags the token may restrict. Without
/// one the tags are not checked: the caller must let nobody in before it has one. Returns when the token expires, if it does.
///
/// # Errors
/// `UNAUTHENTICATED` for a missing or invalid token, `PERMISSION_DENIED` for one of another proxy; the message says
/// what to do and never contains the token.
pub(super) fn check(
    plane: &DataPlane,
    id: &ProxyId,
    token: Option<&str>,
    dataplane: Option<&Dataplane>,
) -> Result<Option<OffsetDateTime>, Status> {
    let kind = if id.0.is_empty() {
        Kind::ZoneIngress
    } else {
        Kind::Dataplane
    };
    if !required(plane, kind) {
        return Ok(None);
    }
    let token = token
        .map(|token| token.strip_prefix("Bearer ").unwrap_or(token).trim())
        .filter(|token| !token.is_empty());
    let Some(token) = token else {
        let make = match kind {
            Kind::Dataplane => format!(
                "meshspan generate dataplane-token --name {} --mesh {} --valid-for 720h",
                id.1, id.0
            ),
            _ => format!(
                "meshspan generate zone-token --zone {} --scope ingress --valid-for 720h",
                plane.zone()
            ),
        };
        return Err(Status::unauthenticated(format!(
            "{kind} {} showed no token: make one with `{make}` and give it with --dataplane-token-file",
            id.1
        )));
    };
    let (snapshot, now) = (plane.store.snapshot(), OffsetDateTime::now_utc());
    let invalid = |error: &dyn std::fmt::Display| Status::unauthenticated(format!("token of {kind} {}: {error}", id.1));
    let denied =
        |error: &dyn std::fmt::Display| Status::permission_denied(format!("token of {kind} {}: {error}", id.1));
    if kind == Kind::Dataplane {
        let trust = trust::dataplane(&snapshot, &id.0);
        let token = validate_dataplane_token(token, &trust, now).map_err(|error| invalid(&error))?;
        let mut claims = token.claims;
        if dataplane.is_none() {
            claims.tags.clear();
        }
        let tags = dataplane.map(Dataplane::tags).unwrap_or_default();
        claims.authorize(&id.0, &id.1, &tags).map_err(|error| denied(&error))?;
        Ok(token.expires_at)
    } else {
        let trust = trust::zone(&snapshot, plane.settings.is_federated());
        let token = validate_zone_token(token, &trust, now).map_err(|error| invalid(&error))?;
        token
            .claims
            .authorize(plane.zone(), ZoneScope::Ingress)
            .map_err(|error| denied(&error))?;
        Ok(token.expires_at)
    }
}
