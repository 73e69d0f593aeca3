//! What must be in the secrets whose names mean something to a control plane: signing keys, revocation lists and builtin
//! CAs. One that holds something else would go unnoticed until a token or certificate is needed.

use crate::ca_check::{CaProblem, parse, read_certificates, read_key};
use crate::secret_names::{SigningKeyFamily, USER_TOKEN_REVOCATIONS, ZONE_TOKEN_REVOCATIONS};
use crate::secret_names::{builtin_ca_cert, builtin_ca_key, dataplane_token_revocations};
use crate::signing_key::{KeyError, SigningKey, VerificationKey};
use crate::token::{Revocations, RevocationsError};

/// Why the bytes of a secret do not fit its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretContentError {
    /// The name is that of a key for tokens.
    #[error("its name is that of a key for tokens: {0}")]
    Key(#[from] KeyError),
    /// The name is that of a revocation list.
    #[error("its name is that of a list of revoked tokens: {0}")]
    Revocations(#[from] RevocationsError),
    /// The name is that of one half of a CA.
    #[error("it is half of the CA of a mesh: {0}")]
    Ca(#[from] CaProblem),
}

/// Which half of a CA a secret holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaHalf {
    /// The certificate, with those between it and the root.
    Certificate,
    /// The private key.
    Key,
}

impl CaHalf {
    /// Whether the bytes can be this half of a CA. Whether both halves fit together shows only when both are there.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(self, data: &[u8]) -> Result<(), SecretContentError> {
        match self {
            Self::Certificate => {
                for (index, der) in read_certificates(data)?.iter().enumerate() {
                    parse(index, der)?;
                }
            }
            Self::Key => drop(read_key(data)?),
        }
        Ok(())
    }
}

/// Checks the bytes of a Secret of `mesh`, or of a GlobalSecret without one. Names without a meaning may hold anything.
///
/// # Errors
/// What the bytes should be and are not.
pub fn check_secret(mesh: Option<&str>, name: &str, data: &[u8]) -> Result<(), SecretContentError> {
    let Some(mesh) = mesh else {
        return check_global_secret(name, data);
    };
    if (SigningKeyFamily::Dataplane { mesh }).serial_of(name).is_some() {
        SigningKey::from_bytes(data)?;
    } else if name == dataplane_token_revocations(mesh) {
        Revocations::check(data)?;
    } else if name.starts_with(&builtin_ca_cert(mesh, "")) {
        CaHalf::Certificate.check(data)?;
    } else if name.starts_with(&builtin_ca_key(mesh, "")) {
        CaHalf::Key.check(data)?;
    }
    Ok(())
}

fn check_global_secret(name: &str, data: &[u8]) -> Result<(), SecretContentError> {
    let signs = |family: SigningKeyFamily<'_>| family.serial_of(name).is_some();
    if signs(SigningKeyFamily::User) || signs(SigningKeyFamily::Zone) {
        SigningKey::from_bytes(data)?;
    } else if signs(SigningKeyFamily::ZonePublic) {
        VerificationKey::from_bytes(data)?;
    } else if name == USER_TOKEN_REVOCATIONS || name == ZONE_TOKEN_REVOCATIONS {
        Revocations::check(data)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::secret_names::ADMIN_USER_TOKEN;

    #[test]
    fn names_with_a_meaning_hold_what_they_say() {
        let key = SigningKey::generate().unwrap();
        let (private, public) = (key.to_pem(), key.verification_key().to_pem());
        for (mesh, name, fits) in [
            (None, "user-token-signing-key-1", &private),
            (None, "zone-token-signing-key-7", &private),
            (None, "zone-token-signing-public-key-1", &public),
            (Some("m"), "dataplane-token-signing-key-m-1", &private),
        ] {
            assert_eq!(check_secret(mesh, name, fits.as_bytes()), Ok(()), "{name}");
            let other = if fits == &private { &public } else { &private };
            for junk in [b"garbage".as_slice(), b"", &[0xff; 40], other.as_bytes()] {
                let error = check_secret(mesh, name, junk).unwrap_err();
                assert!(matches!(error, SecretContentError::Key(_)), "{name}: {error}");
            }
        }
        for (mesh, name) in [
            (None, USER_TOKEN_REVOCATIONS),
            (None, ZONE_TOKEN_REVOCATIONS),
            (Some("m"), "dataplane-token-revocations-m"),
        ] {
            assert_eq!(check_secret(mesh, name, b"a-1,b-2\n"), Ok(()), "{name}");
            let error = check_secret(mesh, name, b"\xff\xfe").unwrap_err();
            assert!(matches!(error, SecretContentError::Revocations(_)), "{name}: {error}");
        }
        for name in ["m.ca-builtin-cert-ca-1", "m.ca-builtin-key-ca-1"] {
            let error = check_secret(Some("m"), name, b"garbage").unwrap_err();
            assert!(matches!(error, SecretContentError::Ca(_)), "{name}: {error}");
        }
    }

    #[test]
    fn other_names_hold_anything() {
        for (mesh, name) in [
            (None, ADMIN_USER_TOKEN),
            (None, "dataplane-token-signing-key-m-1"),
            (Some("m"), "user-token-signing-key-1"),
            (Some("m"), "dataplane-token-signing-key-other-1"),
            (Some("m"), "dataplane-token-revocations-other"),
            (Some("m"), "my-ca"),
        ] {
            assert_eq!(check_secret(mesh, name, b"\xff"), Ok(()), "{name}");
        }
    }
}
