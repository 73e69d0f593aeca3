//! The keys and revocation lists in the store, by which tokens are signed and checked. Whoever checks tokens, be it this
//! API, the proxies' server or the zones', takes its [`TokenTrust`] from here.

use meshspan_identity::token::{Revocations, RevocationsError, TokenTrust};
use meshspan_identity::{KeyError, SigningKey, SigningKeyFamily, VerificationKey, secret_names};
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::Snapshot;

use crate::data_source::secret_bytes;

/// Why tokens cannot be signed or checked.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A secret that is no base64.
    #[error("secret \"{0}\" does not hold base64")]
    Secret(String),
    /// A secret that is no key.
    #[error("secret \"{name}\" does not hold a key: {source}")]
    Key {
        /// Its name.
        name: String,
        /// What it is instead.
        source: KeyError,
    },
    /// A secret that is no revocation list.
    #[error("secret \"{name}\": {source}")]
    Revocations {
        /// Its name.
        name: String,
        /// What it is instead.
        source: RevocationsError,
    },
}

/// What user tokens are checked with.
///
/// # Errors
/// When the revocation list cannot be read; keys that cannot be read are logged and left out.
pub fn user(snapshot: &Snapshot) -> Result<TokenTrust, TrustError> {
    trust(snapshot, &SigningKeyFamily::User, secret_names::USER_TOKEN_REVOCATIONS)
}

/// What the tokens of a mesh's dataplane proxies are checked with.
///
/// # Errors
/// As [`user`].
pub fn dataplane(snapshot: &Snapshot, mesh: &str) -> Result<TokenTrust, TrustError> {
    let revocations = secret_names::dataplane_token_revocations(mesh);
    trust(snapshot, &SigningKeyFamily::Dataplane { mesh }, &revocations)
}

/// What zone tokens are checked with: private keys where they are made, public ones in a federated zone.
///
/// # Errors
/// As [`user`].
pub fn zone(snapshot: &Snapshot, federated: bool) -> Result<TokenTrust, TrustError> {
    let family = if federated {
        SigningKeyFamily::ZonePublic
    } else {
        SigningKeyFamily::Zone
    };
    trust(snapshot, &family, secret_names::ZONE_TOKEN_REVOCATIONS)
}

/// The key that signs new tokens, with its serial; `None` if there is none.
///
/// # Errors
/// When it cannot be read: signing with an older one would hide that.
pub(crate) fn newest_key(
    snapshot: &Snapshot,
    family: &SigningKeyFamily<'_>,
) -> Result<Option<(u64, SigningKey)>, TrustError> {
    let newest = secrets(snapshot, family).max_by_key(|(serial, _)| *serial);
    newest
        .map(|(serial, resource)| {
            let key = SigningKey::from_bytes(&bytes(resource)?);
            let key = key.map_err(|source| TrustError::Key {
                name: resource.name.clone(),
                source,
            })?;
            Ok((serial, key))
        })
        .transpose()
}

fn trust(snapshot: &Snapshot, family: &SigningKeyFamily<'_>, revocations: &str) -> Result<TokenTrust, TrustError> {
    let mut trust = TokenTrust::default();
    for (serial, resource) in secrets(snapshot, family) {
        match verification_key(family, resource) {
            Ok(key) => {
                trust.keys.insert(serial.to_string(), key);
            }
            // One damaged key must not lock out the holders of all others.
            Err(error) => tracing::warn!(%error, "a signing key is left out"),
        }
    }
    let (kind, mesh) = place(family);
    if let Some(stored) = snapshot.get(&ResourceKey::new(kind, mesh, revocations)) {
        trust.revocations =
            Revocations::parse(&bytes(&stored.resource)?).map_err(|source| TrustError::Revocations {
                name: revocations.to_owned(),
                source,
            })?;
    }
    Ok(trust)
}

fn verification_key(family: &SigningKeyFamily<'_>, resource: &Resource) -> Result<VerificationKey, TrustError> {
    let bytes = bytes(resource)?;
    let key = match family {
        SigningKeyFamily::ZonePublic => VerificationKey::from_bytes(&bytes),
        _ => SigningKey::from_bytes(&bytes).map(|key| key.verification_key().clone()),
    };
    key.map_err(|source| TrustError::Key {
        name: resource.name.clone(),
        source,
    })
}

/// The secrets of a family with their serials.
fn secrets<'a>(
    snapshot: &'a Snapshot,
    family: &'a SigningKeyFamily<'a>,
) -> impl Iterator<Item = (u64, &'a Resource)> + 'a {
    let (kind, mesh) = place(family);
    snapshot
        .list(kind, Some(mesh))
        .filter_map(|stored| Some((family.serial_of(&stored.resource.name)?, stored.resource.as_ref())))
}

/// Where the secrets of a family are.
fn place<'a>(family: &SigningKeyFamily<'a>) -> (Kind, &'a str) {
    match family {
        SigningKeyFamily::Dataplane { mesh } => (Kind::Secret, mesh),
        SigningKeyFamily::User | SigningKeyFamily::Zone | SigningKeyFamily::ZonePublic => (Kind::GlobalSecret, ""),
    }
}

fn bytes(resource: &Resource) -> Result<Vec<u8>, TrustError> {
    secret_bytes(resource).ok_or_else(|| TrustError::Secret(resource.name.clone()))
}
