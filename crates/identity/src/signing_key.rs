//! RSA keys that sign and verify tokens.
//!
//! Stored as PKCS#1 PEM (`RSA PRIVATE KEY`, `RSA PUBLIC KEY`); on input PKCS#8 and PKIX PEM and bare DER are understood
//! too (`spec/zone-sync.md` §5.1).

use std::fmt;

use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKey};
use aws_lc_rs::signature::KeyPair as _;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;

use crate::pem;
use crate::rsa_key::{PKCS1_LABEL, generate_pkcs8, pkcs1_from_pkcs8};

const PUBLIC_LABEL: &str = "RSA PUBLIC KEY";

/// Smaller keys are refused: RS256 verification would refuse their signatures anyway.
const MIN_BITS: usize = 2048;

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("signing key is not readable PEM: {0}")]
    Pem(String),
    #[error("found a PEM block {found:?} where {expected} was expected")]
    Label { found: String, expected: &'static str },
    #[error("not an RSA {0} key: give PKCS#1, PKCS#8 or PKIX, as PEM or DER, unencrypted")]
    NotRsa(&'static str),
    #[error("{length} bytes are no key: give one RSA key as PEM or DER")]
    TooLarge { length: usize },
    #[error("RSA key of {bits} bits is too short: make one of at least {MIN_BITS} bits")]
    TooShort { bits: usize },
    #[error("key could not be generated: the operating system gave no random numbers")]
    Generate,
}

/// The private key that signs tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    pkcs1: Vec<u8>,
    public: VerificationKey,
}

impl SigningKey {
    /// A new random key of 2048 bits.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let pkcs8 = generate_pkcs8(KeySize::Rsa2048).map_err(|_| KeyError::Generate)?;
        Self::from_bytes(&pkcs8)
    }

    /// Reads PKCS#1 or PKCS#8, PEM or DER, as found in a secret or a key file.
    ///
    /// # Errors
    /// When it is something else or a key that is too short.
    pub fn from_bytes(data: &[u8]) -> Result<Self, KeyError> {
        let der = der_of(data, &[PKCS1_LABEL, "PRIVATE KEY"], "an RSA private key")?;
        let pkcs1 = pkcs1_from_pkcs8(&der).unwrap_or(der);
        let pair = KeyPair::from_der(&pkcs1).map_err(|_| KeyError::NotRsa("private"))?;
        let public = VerificationKey::from_bytes(pair.public_key().as_ref())?;
        Ok(Self { pkcs1, public })
    }

    /// PEM text with label `RSA PRIVATE KEY`. Secret.
    pub fn to_pem(&self) -> String {
        pem::encode(PKCS1_LABEL, &self.pkcs1)
    }

    /// The key by which others verify what this one signs.
    pub fn verification_key(&self) -> &VerificationKey {
        &self.public
    }

    /// PKCS#1 DER. Secret.
    pub(crate) fn pkcs1_der(&self) -> &[u8] {
        &self.pkcs1
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

/// The public key that verifies tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct VerificationKey {
    pkcs1: Vec<u8>,
}

impl VerificationKey {
    /// Reads PKCS#1 or PKIX, PEM or DER.
    ///
    /// # Errors
    /// When it is something else (a private key too: it should not be where a public one is expected) or too short.
    pub fn from_bytes(data: &[u8]) -> Result<Self, KeyError> {
        let der = der_of(data, &[PUBLIC_LABEL, "PUBLIC KEY"], "an RSA public key")?;
        let key = PublicKey::from_der(&der).map_err(|_| KeyError::NotRsa("public"))?;
        let pkcs1 = key.as_ref().to_vec();
        let bits = match RSAPublicKey::from_der(&pkcs1) {
            Ok((_, key)) => key.key_size(),
            Err(_) => return Err(KeyError::NotRsa("public")),
        };
        if bits < MIN_BITS {
            return Err(KeyError::TooShort { bits });
        }
        Ok(Self { pkcs1 })
    }

    /// PEM text with label `RSA PUBLIC KEY`.
    pub fn to_pem(&self) -> String {
        pem::encode(PUBLIC_LABEL, &self.pkcs1)
    }

    /// PKCS#1 DER.
    pub(crate) fn pkcs1_der(&self) -> &[u8] {
        &self.pkcs1
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey").finish_non_exhaustive()
    }
}

/// The DER content of PEM text whose first block has one of the labels; other bytes are taken to be DER already.
fn der_of(data: &[u8], labels: &[&str], expected: &'static str) -> Result<Vec<u8>, KeyError> {
    if data.len() > pem::MAX_BYTES {
        return Err(KeyError::TooLarge { length: data.len() });
    }
    if !pem::is_pem(data) {
        return Ok(data.to_vec());
    }
    let blocks = pem::decode(data).map_err(KeyError::Pem)?;
    match blocks.into_iter().next() {
        Some(block) if labels.contains(&block.label.as_str()) => Ok(block.der),
        Some(block) => Err(KeyError::Label {
            found: block.label,
            expected,
        }),
        None => Err(KeyError::Pem("no block found".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};

    #[test]
    fn every_private_encoding_is_the_same_key() {
        let pkcs8 = generate_pkcs8(KeySize::Rsa2048).unwrap();
        let key = SigningKey::from_bytes(&pkcs8).unwrap();
        let text = key.to_pem();
        assert!(text.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
        for form in [
            text.as_bytes(),
            format!("\n  leading text\n{text}").as_bytes(),
            pem::encode("PRIVATE KEY", &pkcs8).as_bytes(),
            key.pkcs1_der(),
        ] {
            assert_eq!(SigningKey::from_bytes(form).unwrap(), key);
        }
    }

    #[test]
    fn every_public_encoding_is_the_same_key() {
        let key = SigningKey::generate().unwrap();
        let public = key.verification_key();
        let pair = KeyPair::from_der(key.pkcs1_der()).unwrap();
        let pkix: PublicKeyX509Der = pair.public_key().as_der().unwrap();
        assert!(public.to_pem().starts_with("-----BEGIN RSA PUBLIC KEY-----\n"));
        for form in [
            public.to_pem().as_bytes(),
            pem::encode("PUBLIC KEY", pkix.as_ref()).as_bytes(),
            pkix.as_ref(),
            public.pkcs1_der(),
        ] {
            assert_eq!(&VerificationKey::from_bytes(form).unwrap(), public);
        }
    }

    #[test]
    fn wrong_input_is_named() {
        let key = SigningKey::generate().unwrap();
        let public = key.verification_key().to_pem();
        let error = SigningKey::from_bytes(public.as_bytes()).unwrap_err();
        assert!(matches!(error, KeyError::Label { found, .. } if found == "RSA PUBLIC KEY"));
        let error = VerificationKey::from_bytes(key.to_pem().as_bytes()).unwrap_err();
        assert!(matches!(error, KeyError::Label { found, .. } if found == "RSA PRIVATE KEY"));
        assert_eq!(SigningKey::from_bytes(b"").unwrap_err(), KeyError::NotRsa("private"));
        assert_eq!(
            VerificationKey::from_bytes(b"junk").unwrap_err(),
            KeyError::NotRsa("public")
        );
        let huge = vec![0; pem::MAX_BYTES + 1];
        assert!(matches!(SigningKey::from_bytes(&huge), Err(KeyError::TooLarge { .. })));
        let cut = public.replace("-----END RSA PUBLIC KEY-----", "");
        assert!(matches!(
            VerificationKey::from_bytes(cut.as_bytes()),
            Err(KeyError::Pem(_))
        ));
        let ec = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert_eq!(
            SigningKey::from_bytes(ec.as_bytes()).unwrap_err(),
            KeyError::NotRsa("private")
        );
    }

    #[test]
    fn debug_shows_no_key() {
        let key = SigningKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey { .. }");
    }

    #[test]
    fn short_keys_are_refused() {
        // 1024 bits: modulus 2^1023 + 1 … written by hand as SEQUENCE { INTEGER n, INTEGER 65537 }.
        let mut n = vec![0u8; 129];
        *n.get_mut(1).unwrap() = 0x80;
        *n.last_mut().unwrap() = 1;
        let mut der = vec![0x30, 0x81, 0x89, 0x02, 0x81, 0x81];
        der.extend(n);
        der.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
        assert_eq!(
            VerificationKey::from_bytes(&der).unwrap_err(),
            KeyError::TooShort { bits: 1024 }
        );
    }
}
