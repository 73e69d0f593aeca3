//! Tokens of data plane proxies.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::Unauthorized;
use super::jwt::{self, IssueError, Lifespan, Signer, Token, TokenError, TokenKind, TokenTrust, null_is_default};

/// Which proxies a token speaks for. Whatever is empty is not restricted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataplaneClaims {
    #[serde(rename(serialize = "Name", deserialize = "name"))]
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(rename(serialize = "Mesh", deserialize = "mesh"))]
    #[serde(default, deserialize_with = "null_is_default")]
    pub mesh: String,
    /// Tag name to the values allowed for it.
    #[serde(rename(serialize = "Tags", deserialize = "tags"))]
    #[serde(default, deserialize_with = "null_is_default")]
    pub tags: BTreeMap<String, BTreeSet<String>>,
    /// `dataplane` or empty. Written and read for compatibility, decides nothing.
    #[serde(rename(serialize = "Type", deserialize = "type"))]
    #[serde(default, deserialize_with = "null_is_default")]
    pub proxy_type: String,
}

impl DataplaneClaims {
    /// Whether the token speaks for the Dataplane `name` in `mesh` with these `tags` (all values over all inbounds).
    ///
    /// # Errors
    /// The first mismatch, in the order name, mesh, tags.
    pub fn authorize(
        &self,
        mesh: &str,
        name: &str,
        tags: &BTreeMap<String, BTreeSet<String>>,
    ) -> Result<(), Unauthorized> {
        if !self.name.is_empty() && self.name != name {
            return Err(Unauthorized::Name {
                proxy: name.to_owned(),
                token: self.name.clone(),
            });
        }
        if !self.mesh.is_empty() && self.mesh != mesh {
            return Err(Unauthorized::Mesh {
                proxy: mesh.to_owned(),
                token: self.mesh.clone(),
            });
        }
        for (tag, allowed) in &self.tags {
            let values = tags
                .get(tag)
                .ok_or_else(|| Unauthorized::MissingTag { tag: tag.clone() })?;
            if let Some(value) = values.difference(allowed).next() {
                return Err(Unauthorized::TagValue {
                    tag: tag.clone(),
                    value: value.clone(),
                    allowed: allowed.iter().cloned().collect(),
                });
            }
        }
        Ok(())
    }
}

/// Issues a dataplane token with a signing key of the mesh.
///
/// # Errors
/// When the lifespan cannot be used, the token would be too long, or signing fails.
pub fn issue_dataplane_token(
    signer: &Signer<'_>,
    claims: &DataplaneClaims,
    lifespan: &Lifespan,
) -> Result<String, IssueError> {
    jwt::issue(signer, claims, lifespan)
}

/// Checks a dataplane token against the keys and revocations of the proxy's mesh.
///
/// # Errors
/// When it is not ours, does not hold at `now` or is revoked.
pub fn validate_dataplane_token(
    token: &str,
    trust: &TokenTrust,
    now: OffsetDateTime,
) -> Result<Token<DataplaneClaims>, TokenError> {
    jwt::validate(token, TokenKind::Dataplane, trust, now)
}
