//! The keys and revocation lists in the store, by which tokens are signed and checked. Whoever checks tokens, be it this
//! API, the proxies' server or the zones', takes its [`TokenTrust`] from here.

use meshspan_identity::token::{Revocations, TokenTrust};
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
}

/// What user tokens are checked with. Keys that cannot be read are logged and left out, here and below.
pub fn user(snapshot: &Snapshot) -> TokenTrust {
    trust(snapshot, &SigningKeyFamily::User, secret_names::USER_TOKEN_REVOCATIONS)
}

/// What the tokens of a mesh's dataplane proxies are checked with.
pub fn dataplane(snapshot: &Snapshot, mesh: &str) -> TokenTrust {
    let revocations = secret_names::dataplane_token_revocations(mesh);
    trust(snapshot, &SigningKeyFamily::Dataplane { mesh }, &revocations)
}

/// What zone tokens are checked with: private keys where they are made, public ones in a federated zone.
pub fn zone(snapshot: &Snapshot, federated: bool) -> TokenTrust {
    let family = if federated {
        SigningKeyFamily::ZonePublic
    } else {
        SigningKeyFamily::Zone
    };
    trust(snapshot, &family, secret_names::ZONE_TOKEN_REVOCATIONS)
}

/// True for a secret by which tokens are checked: when it changes, tokens that held may hold no longer.
pub fn is_trust(key: &ResourceKey) -> bool {
    let name = key.name.as_str();
    let signs = |family: SigningKeyFamily<'_>| family.serial_of(name).is_some();
    match key.kind {
        Kind::Secret => {
            signs(SigningKeyFamily::Dataplane { mesh: &key.mesh })
                || name == secret_names::dataplane_token_revocations(&key.mesh)
        }
        Kind::GlobalSecret => {
            signs(SigningKeyFamily::User)
                || signs(SigningKeyFamily::Zone)
                || signs(SigningKeyFamily::ZonePublic)
                || name == secret_names::USER_TOKEN_REVOCATIONS
                || name == secret_names::ZONE_TOKEN_REVOCATIONS
        }
        _ => false,
    }
}

/// The key that is the last of its family: without it no token of that sort holds. `None` for any other secret.
pub(crate) fn last_key_of<'a>(snapshot: &Snapshot, resource: &'a Resource) -> Option<SigningKeyFamily<'a>> {
    let families = match resource.kind {
        Kind::Secret => vec![SigningKeyFamily::Dataplane { mesh: &resource.mesh }],
        Kind::GlobalSecret => vec![SigningKeyFamily::User, SigningKeyFamily::Zone],
        _ => Vec::new(),
    };
    let family = families
        .into_iter()
        .find(|family| family.serial_of(&resource.name).is_some())?;
    (secrets(snapshot, &family).count() == 1).then_some(family)
}

/// The key that signs new tokens, with its serial: the newest that can be read. `None` if there is none.
///
/// # Errors
/// When there are keys and none can be read.
pub(crate) fn newest_key(
    snapshot: &Snapshot,
    family: &SigningKeyFamily<'_>,
) -> Result<Option<(u64, SigningKey)>, TrustError> {
    let mut stored: Vec<_> = secrets(snapshot, family).collect();
    stored.sort_by_key(|(serial, _)| std::cmp::Reverse(*serial));
    let mut newest = Ok(None);
    for (serial, resource) in stored {
        match signing_key(resource) {
            Ok(key) => return Ok(Some((serial, key))),
            Err(error) => {
                tracing::error!(%error, "a signing key is passed over; the one before it signs");
                newest = newest.and(Err(error));
            }
        }
    }
    newest
}

fn signing_key(resource: &Resource) -> Result<SigningKey, TrustError> {
    SigningKey::from_bytes(&bytes(resource)?).map_err(|source| TrustError::Key {
        name: resource.name.clone(),
        source,
    })
}

fn trust(snapshot: &Snapshot, family: &SigningKeyFamily<'_>, revocations: &str) -> TokenTrust {
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
        match bytes(&stored.resource) {
            Ok(list) => trust.revocations = Revocations::parse(&list),
            // Written past all checks; it names nobody.
            Err(error) => tracing::error!(%error, "a list of revoked tokens cannot be read"),
        }
    }
    trust
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
