//! Whether a proxy is who it says (`spec/zone-sync.md` §5.1, §5.4).

use meshspan_api::tokens::trust;
use meshspan_identity::token::{TokenError, ZoneScope, validate_dataplane_token, validate_zone_token};
use meshspan_model::kinds::dataplane::Dataplane;
use time::{Duration, OffsetDateTime};
use tonic::Status;

use super::DataPlane;
use crate::proxy_key::ProxyKey;
use crate::settings::ProxyAuth;
use meshspan_model::ProxyKind;

/// True if proxies of that kind must show a token.
pub(super) fn required(plane: &DataPlane, kind: ProxyKind) -> bool {
    let authn = &plane.settings.dp_server.authn;
    let auth_type = match kind {
        ProxyKind::Sidecar => authn.dp_proxy.auth_type,
        ProxyKind::ZoneIngress | ProxyKind::ZoneEgress => authn.zone_proxy.auth_type,
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
    id: &ProxyKey,
    token: Option<&str>,
    dataplane: Option<&Dataplane>,
) -> Result<Option<OffsetDateTime>, Status> {
    check_at(plane, id, token, dataplane, OffsetDateTime::now_utc()).map_err(|refusal| refusal.status)
}

/// How long an expired token still shows that its proxy is there. Nobody gives it anything for that, but its services keep the
/// instance; the certificate that it has does not hold longer than that either, by default.
const REMEMBERED: Duration = Duration::DAY;

/// When a token expired that nothing else is wrong with, so that whoever shows it is the proxy; `None` for any other, and for
/// one that expired long ago.
pub(super) fn expired(
    plane: &DataPlane,
    id: &ProxyKey,
    token: Option<&str>,
    dataplane: Option<&Dataplane>,
) -> Option<OffsetDateTime> {
    let now = OffsetDateTime::now_utc();
    let at = check_at(plane, id, token, dataplane, now).err()?.expired?;
    let held_before = check_at(plane, id, token, dataplane, at - Duration::SECOND).is_ok();
    (held_before && now - at < REMEMBERED).then_some(at)
}

struct Refusal {
    status: Status,
    expired: Option<OffsetDateTime>,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { status, expired: None }
    }
}

fn check_at(
    plane: &DataPlane,
    id: &ProxyKey,
    token: Option<&str>,
    dataplane: Option<&Dataplane>,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, Refusal> {
    let kind = id.kind.resource();
    if !required(plane, id.kind) {
        return Ok(None);
    }
    // Of zone proxies; a sidecar shows a token of its own kind.
    let scope = match id.kind {
        ProxyKind::Sidecar => None,
        ProxyKind::ZoneIngress => Some(ZoneScope::Ingress),
        ProxyKind::ZoneEgress => Some(ZoneScope::Egress),
    };
    let token = token
        .map(|token| token.strip_prefix("Bearer ").unwrap_or(token).trim())
        .filter(|token| !token.is_empty());
    let Some(token) = token else {
        let make = match scope {
            None => {
                let inbound = dataplane.and_then(|dataplane| dataplane.networking.inbound.first());
                let service = inbound
                    .map(|inbound| inbound.service())
                    .filter(|service| !service.is_empty());
                let service = service.unwrap_or("SERVICE");
                format!(
                    "`meshspan generate dataplane-token --name {} --mesh {} --tag kuma.io/service={service} --valid-for 720h`",
                    id.name, id.mesh
                )
            }
            Some(scope) => {
                let place = if plane.settings.is_federated() {
                    " on the global control plane"
                } else {
                    ""
                };
                format!(
                    "`meshspan generate zone-token --zone {} --scope {} --valid-for 720h`{place}",
                    plane.zone(),
                    scope.as_str()
                )
            }
        };
        return Err(Status::unauthenticated(format!(
            "{kind} {} showed no token: make one with {make} and give it with --dataplane-token-file",
            id.name
        ))
        .into());
    };
    let snapshot = plane.store.snapshot();
    let invalid = |error: TokenError| Refusal {
        status: Status::unauthenticated(format!("token of {kind} {}: {error}", id.name)),
        expired: match error {
            TokenError::Expired { at } => Some(at),
            _ => None,
        },
    };
    let denied =
        |error: &dyn std::fmt::Display| Status::permission_denied(format!("token of {kind} {}: {error}", id.name));
    let Some(scope) = scope else {
        let trust = trust::dataplane(&snapshot, &id.mesh);
        let token = validate_dataplane_token(token, &trust, now).map_err(invalid)?;
        let mut claims = token.claims;
        if dataplane.is_none() {
            claims.tags.clear();
        }
        let tags = dataplane.map(Dataplane::tags).unwrap_or_default();
        claims
            .authorize(&id.mesh, &id.name, &tags)
            .map_err(|error| denied(&error))?;
        return Ok(token.expires_at);
    };
    let trust = trust::zone(&snapshot, plane.settings.is_federated());
    let token = validate_zone_token(token, &trust, now).map_err(invalid)?;
    token
        .claims
        .authorize(plane.zone(), scope)
        .map_err(|error| denied(&error))?;
    Ok(token.expires_at)
}
