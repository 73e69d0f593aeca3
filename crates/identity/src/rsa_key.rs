//! RSA private keys: generation, and the two encodings in which they come.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use x509_parser::asn1_rs::{Any, FromDer, Integer, OctetString, Sequence};

/// PEM label of an RSA private key as PKCS#1, the form in which Kuma stores CA and signing keys.
pub(crate) const PKCS1_LABEL: &str = "RSA PRIVATE KEY";

/// The generator's size for a number of bits, if it can make such a key.
pub(crate) fn key_size(bits: u32) -> Option<KeySize> {
    match bits {
        2048 => Some(KeySize::Rsa2048),
        3072 => Some(KeySize::Rsa3072),
        4096 => Some(KeySize::Rsa4096),
        8192 => Some(KeySize::Rsa8192),
        _ => None,
    }
}

/// A new key as PKCS#8 DER. Takes from a tenth of a second (2048 bits) to a minute (8192 bits).
pub(crate) fn generate_pkcs8(size: KeySize) -> Result<Vec<u8>, Unspecified> {
    let key: Pkcs8V1Der = KeyPair::generate(size)?.as_der()?;
    Ok(key.as_ref().to_vec())
}

/// The PKCS#1 key inside a PKCS#8 document (RFC 5208: version, algorithm, key as octet string); `None` if the document has
/// another structure. Does not check the algorithm.
pub(crate) fn pkcs1_from_pkcs8(der: &[u8]) -> Option<Vec<u8>> {
    let (_, document) = Sequence::from_der(der).ok()?;
    let (rest, _version) = Integer::from_der(&document.content).ok()?;
    let (rest, _algorithm) = Any::from_der(rest).ok()?;
    let (_, key) = OctetString::from_der(rest).ok()?;
    Some(key.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn unwraps_to_a_key_that_the_library_reads_as_pkcs1() {
        let pkcs8 = generate_pkcs8(KeySize::Rsa2048).unwrap();
        let pkcs1 = pkcs1_from_pkcs8(&pkcs8).unwrap();
        assert!(KeyPair::from_der(&pkcs1).is_ok());
        assert!(pkcs1_from_pkcs8(&pkcs1).is_none());
        assert!(pkcs1_from_pkcs8(b"").is_none());
    }
}
