//! Tokens of people and programs that call the REST API.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::jwt::{self, IssueError, Lifespan, Signer, Token, TokenError, TokenKind, TokenTrust, null_is_default};

/// Name of the built-in administrator and of its group (`spec/zone-sync.md` §5.3).
pub const ADMIN_USER: &str = "mesh-system:admin";

/// Who the caller is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserClaims {
    #[serde(rename(serialize = "Name", deserialize = "name"))]
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(rename(serialize = "Groups", deserialize = "groups"))]
    #[serde(default, deserialize_with = "null_is_default")]
    pub groups: Vec<String>,
}

impl UserClaims {
    /// The administrator, whose token a control plane stores at first start as `admin-user-token`.
    pub fn admin() -> Self {
        Self {
            name: ADMIN_USER.to_owned(),
            groups: vec![ADMIN_USER.to_owned()],
        }
    }
}

/// Issues a user token.
///
/// # Errors
/// When the lifespan cannot be used, the token would be too long, or signing fails.
pub fn issue_user_token(signer: &Signer<'_>, claims: &UserClaims, lifespan: &Lifespan) -> Result<String, IssueError> {
    jwt::issue(signer, claims, lifespan)
}

/// Checks a user token, without `Bearer `.
///
/// # Errors
/// When it is not ours, does not hold at `now` or is revoked.
pub fn validate_user_token(
    token: &str,
    trust: &TokenTrust,
    now: OffsetDateTime,
) -> Result<Token<UserClaims>, TokenError> {
    jwt::validate(token, TokenKind::User, trust, now)
}
