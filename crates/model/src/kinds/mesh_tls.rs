//! MeshTLS (`spec/policies.md` §2.9): whether inbounds take plaintext, and which TLS proxies speak with each other.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::policy::{Conf as PolicyConf, Place, PolicyKind, PolicySpec};
use crate::violation::Violations;

/// TLS of inbounds.
pub type MeshTLS = PolicySpec<Conf>;

/// TLS between proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    /// What inbounds take; by default what the CA backend of the mesh says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Versions that are spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<TlsVersions>,
    /// Cipher suites up to TLS 1.2, in order of preference; those of TLS 1.3 are not configurable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ciphers: Option<Vec<TlsCipher>>,
}

/// What inbounds take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Mutual TLS only.
    Strict,
    /// Mutual TLS, plaintext and the application's own TLS.
    Permissive,
}

/// A range of versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsVersions {
    /// The oldest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<TlsVersion>,
    /// The newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<TlsVersion>,
}

/// A version, in order of age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// Whatever Envoy takes by default.
    TLSAuto,
    /// TLS 1.0.
    TLS10,
    /// TLS 1.1.
    TLS11,
    /// TLS 1.2.
    TLS12,
    /// TLS 1.3.
    TLS13,
}

/// A cipher suite up to TLS 1.2 by its OpenSSL name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum TlsCipher {
    #[serde(rename = "ECDHE-ECDSA-AES128-GCM-SHA256")]
    EcdheEcdsaAes128GcmSha256,
    #[serde(rename = "ECDHE-ECDSA-AES256-GCM-SHA384")]
    EcdheEcdsaAes256GcmSha384,
    #[serde(rename = "ECDHE-ECDSA-CHACHA20-POLY1305")]
    EcdheEcdsaChacha20Poly1305,
    #[serde(rename = "ECDHE-RSA-AES128-GCM-SHA256")]
    EcdheRsaAes128GcmSha256,
    #[serde(rename = "ECDHE-RSA-AES256-GCM-SHA384")]
    EcdheRsaAes256GcmSha384,
    #[serde(rename = "ECDHE-RSA-CHACHA20-POLY1305")]
    EcdheRsaChacha20Poly1305,
}

impl TlsCipher {
    /// The name that OpenSSL, Envoy and users give it.
    pub fn name(self) -> &'static str {
        match self {
            TlsCipher::EcdheEcdsaAes128GcmSha256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
            TlsCipher::EcdheEcdsaAes256GcmSha384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
            TlsCipher::EcdheEcdsaChacha20Poly1305 => "ECDHE-ECDSA-CHACHA20-POLY1305",
            TlsCipher::EcdheRsaAes128GcmSha256 => "ECDHE-RSA-AES128-GCM-SHA256",
            TlsCipher::EcdheRsaAes256GcmSha384 => "ECDHE-RSA-AES256-GCM-SHA384",
            TlsCipher::EcdheRsaChacha20Poly1305 => "ECDHE-RSA-CHACHA20-POLY1305",
        }
    }
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshTLS;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        let versions = self.tls_version.unwrap_or_default();
        let named = |version: Option<TlsVersion>| version.filter(|version| *version != TlsVersion::TLSAuto);
        if let (Some(min), Some(max)) = (named(versions.min), named(versions.max))
            && min > max
        {
            violations.add(
                place.field("tlsVersion"),
                format!("min is {min:?} and max is {max:?}; min must not be newer than max"),
            );
        }
        if let Some(max) = named(versions.max).filter(|max| *max < TlsVersion::TLS12) {
            violations.add(
                place.field("tlsVersion.max"),
                format!(
                    "is {max:?}, for which Envoy has no cipher left, so nothing could connect; must be TLS12 or TLS13"
                ),
            );
        }
        let mut seen = BTreeSet::new();
        for (index, cipher) in self.tls_ciphers.iter().flatten().enumerate() {
            if !seen.insert(cipher) {
                violations.add(
                    place.field(&format!("tlsCiphers[{index}]")),
                    format!("is {} again, which must be listed once", cipher.name()),
                );
            }
        }
    }
}
