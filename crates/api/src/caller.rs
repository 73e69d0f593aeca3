//! Who is calling.

use std::convert::Infallible;
use std::fmt;

use axum::extract::FromRequestParts;
use http::request::Parts;
use meshspan_identity::token::UserClaims;

/// Group of everybody who proved who they are.
pub const AUTHENTICATED: &str = "mesh-system:authenticated";
/// Group of everybody else.
pub const UNAUTHENTICATED: &str = "mesh-system:unauthenticated";
/// Name of everybody who did not prove who they are.
pub const ANONYMOUS: &str = "mesh-system:anonymous";

/// A user, as the rest of the API sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name.
    pub name: String,
    /// The groups.
    pub groups: Vec<String>,
}

impl Caller {
    /// Somebody without a token.
    pub fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
        }
    }

    /// The administrator.
    pub fn admin() -> Self {
        Self::authenticated(UserClaims::admin())
    }

    /// Whom a valid user token names.
    pub fn authenticated(claims: UserClaims) -> Self {
        let UserClaims { name, mut groups } = claims;
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self { name, groups }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.groups.join(","))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts
            .extensions
            .get::<Caller>()
            .cloned()
            .unwrap_or_else(Caller::anonymous))
    }
}
