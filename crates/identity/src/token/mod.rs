//! Tokens: JSON Web Tokens, RS256, that say who a user, a data plane proxy or a zone proxy is.
//!
//! | kind | claims | issue | validate | authorize |
//! |---|---|---|---|---|
//! | user | [`UserClaims`] | [`issue_user_token`] | [`validate_user_token`] | the server's access rules |
//! | dataplane | [`DataplaneClaims`] | [`issue_dataplane_token`] | [`validate_dataplane_token`] | [`DataplaneClaims::authorize`] |
//! | zone | [`ZoneClaims`] | [`issue_zone_token`] | [`validate_zone_token`] | [`ZoneClaims::authorize`] |
//!
//! Validating answers "did we issue this, and does it still hold?": it needs a [`TokenTrust`] (keys and revocations of that
//! kind of token) and the time. Authorizing answers "does it speak for this proxy?". Tokens of one kind are worthless as another
//! because each kind has its own keys; never put the keys of two kinds in one `TokenTrust`.
//!
//! Source of fact: `spec/zone-sync.md` §5.1. Tokens issued by Kuma 2.9 validate here and the other way round. Not built: HS256
//! tokens with key "0", which Kuma removes in 3.0.

mod dataplane;
mod jwt;
mod revocations;
mod user;
mod zone;

pub use dataplane::{DataplaneClaims, issue_dataplane_token, validate_dataplane_token};
pub use jwt::{IssueError, Lifespan, MAX_TOKEN_BYTES, Signer, Token, TokenError, TokenKind, TokenTrust};
pub use revocations::{Revocations, RevocationsError};
pub use user::{ADMIN_USER, UserClaims, issue_user_token, validate_user_token};
pub use zone::{ZoneClaims, ZoneScope, issue_zone_token, validate_zone_token};

/// A valid token that does not speak for the proxy or zone that shows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    #[error("proxy is named {proxy:?} but the token is for {token:?}: generate a token with that name")]
    Name { proxy: String, token: String },
    #[error("proxy is in mesh {proxy:?} but the token is for mesh {token:?}: generate a token for that mesh")]
    Mesh { proxy: String, token: String },
    #[error("proxy has no tag {tag:?}, which the token requires: add the tag, or generate a token without it")]
    MissingTag { tag: String },
    #[error(
        "tag {tag:?} of the proxy has the value {value:?}, but the token allows only {allowed:?}: correct the tag, or generate a token with --tag {tag}={value}"
    )]
    TagValue {
        tag: String,
        value: String,
        allowed: Vec<String>,
    },
    #[error("token has the scopes {token:?} but {needed:?} is needed: generate a zone token with that scope")]
    Scope { needed: &'static str, token: Vec<String> },
    #[error("zone is {zone:?} but the token is for zone {token:?}: generate a token for that zone")]
    Zone { zone: String, token: String },
}
