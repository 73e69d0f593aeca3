//! Tokens of zone proxies, and of zones towards the global control plane.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::Unauthorized;
use super::jwt::{self, IssueError, Lifespan, Signer, Token, TokenError, TokenKind, TokenTrust, null_is_default};

/// What a zone token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneScope {
    /// A zone ingress on the xDS port.
    Ingress,
    /// A zone egress on the xDS port.
    Egress,
    /// A zone control plane on the sync port (Kong Mesh, `spec/zone-sync.md` §5.4).
    ControlPlane,
}

impl ZoneScope {
    /// As written in the claim.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::ControlPlane => "cp",
        }
    }
}

/// Which zone a token speaks for, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneClaims {
    /// Empty: any zone, for zone proxies.
    #[serde(rename(serialize = "Zone", deserialize = "zone"))]
    #[serde(default, deserialize_with = "null_is_default")]
    pub zone: String,
    /// Texts of [`ZoneScope`]; unknown ones give no right.
    #[serde(rename(serialize = "Scope", deserialize = "scope"))]
    #[serde(default, deserialize_with = "null_is_default")]
    pub scope: Vec<String>,
}

impl ZoneClaims {
    /// Whether the token speaks for `zone` (that of the control plane that is asked, or the `client-id` of a zone) in this
    /// role. A zone control plane must be named by its token; zone proxies may have a token without zone.
    ///
    /// # Errors
    /// The first mismatch, in the order scope, zone.
    pub fn authorize(&self, zone: &str, scope: ZoneScope) -> Result<(), Unauthorized> {
        let needed = scope.as_str();
        if !self.scope.iter().any(|s| s == needed) {
            return Err(Unauthorized::Scope {
                needed,
                token: self.scope.clone(),
            });
        }
        let any_zone = self.zone.is_empty() && scope != ZoneScope::ControlPlane;
        if !any_zone && self.zone != zone {
            return Err(Unauthorized::Zone {
                zone: zone.to_owned(),
                token: self.zone.clone(),
            });
        }
        Ok(())
    }
}

/// Issues a zone token.
///
/// # Errors
/// When the lifespan cannot be used, the token would be too long, or signing fails.
pub fn issue_zone_token(signer: &Signer<'_>, claims: &ZoneClaims, lifespan: &Lifespan) -> Result<String, IssueError> {
    jwt::issue(signer, claims, lifespan)
}

/// Checks a zone token.
///
/// # Errors
/// When it is not ours, does not hold at `now` or is revoked.
pub fn validate_zone_token(
    token: &str,
    trust: &TokenTrust,
    now: OffsetDateTime,
) -> Result<Token<ZoneClaims>, TokenError> {
    jwt::validate(token, TokenKind::Zone, trust, now)
}
