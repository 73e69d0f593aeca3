//! `tls`: how a proxy speaks TLS with a service outside the mesh, and how it verifies whom it speaks with.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::is_dns_name;
use crate::kinds::is_default;
use crate::kinds::mesh_tls::{TlsVersion, TlsVersions};
use crate::violation::Violations;

/// `tls`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// Whether the proxy adds TLS at all.
    pub enabled: bool,
    /// Versions that are spoken; Envoy's own choice by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<TlsVersions>,
    /// Whether the service may renegotiate a session, which is a risk.
    #[serde(skip_serializing_if = "is_default")]
    pub allow_renegotiation: bool,
    /// How the service is verified, and what the proxy shows of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
}

/// `tls.verification`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Verification {
    /// What is verified.
    pub mode: VerificationMode,
    /// Server name (SNI) of the handshake, and the name that the certificate must have unless `subjectAltNames` say otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Names of which the certificate must have one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<SubjectAltName>,
    /// CA certificates (PEM) that are trusted; those of the proxy's system by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<DataSource>,
    /// Certificate (PEM) that the proxy shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<DataSource>,
    /// Its private key (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<DataSource>,
}

/// What is verified of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum VerificationMode {
    /// The chain up to a CA, and the name.
    #[default]
    Secured,
    /// The chain, but not the name.
    SkipSAN,
    /// The name, but not the chain.
    SkipCA,
    /// Nothing.
    SkipAll,
}

/// A name in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubjectAltName {
    /// How it is compared.
    #[serde(rename = "type")]
    pub match_type: SanMatchType,
    /// The name, or its beginning.
    pub value: String,
}

/// How a name in a certificate is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SanMatchType {
    /// Equal.
    #[default]
    Exact,
    /// Starts with it.
    Prefix,
}

/// Where the bytes of a certificate or key are: exactly one of the fields.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataSource {
    /// Name of a Secret of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The bytes, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_string: Option<String>,
}

/// What a [`DataSource`] says.
#[derive(Clone, PartialEq, Eq)]
pub enum Source<'a> {
    /// The bytes are in the Secret of this name.
    Secret(&'a str),
    /// The bytes themselves.
    Bytes(Vec<u8>),
}

/// Keys stay out of logs.
impl fmt::Debug for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.secret {
            Some(secret) => write!(f, "DataSource(secret {secret})"),
            None => f.write_str("DataSource(inline …)"),
        }
    }
}

impl DataSource {
    /// What it says.
    ///
    /// # Errors
    /// The field at fault ("" for the data source itself), and the reason.
    pub fn source(&self) -> Result<Source<'_>, (&'static str, String)> {
        let given = |field: &'_ Option<String>| field.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
        match (
            self.secret.as_deref().filter(|name| !name.is_empty()),
            given(&self.inline),
            given(&self.inline_string),
        ) {
            (Some(name), None, None) => Ok(Source::Secret(name)),
            (None, Some(text), None) => match BASE64.decode(text.trim_ascii()) {
                Ok(bytes) => Ok(Source::Bytes(bytes)),
                Err(_) => Err(("inline", "must be base64".to_owned())),
            },
            (None, None, Some(text)) => Ok(Source::Bytes(text.into_bytes())),
            _ => Err(("", "must have exactly one of secret, inline, inlineString".to_owned())),
        }
    }
}

impl Verification {
    /// Its data sources with the names of their fields.
    pub fn sources(&self) -> impl Iterator<Item = (&'static str, &DataSource)> {
        [
            ("caCert", &self.ca_cert),
            ("clientCert", &self.client_cert),
            ("clientKey", &self.client_key),
        ]
        .into_iter()
        .filter_map(|(field, source)| Some((field, source.as_ref()?)))
    }

    fn validate(&self, path: &str, violations: &mut Violations) {
        if let Some(name) = self.server_name.as_deref().filter(|name| !is_dns_name(name)) {
            violations.add(
                format!("{path}.serverName"),
                format!("is \"{name}\", must be a DNS name"),
            );
        }
        for (index, name) in self.subject_alt_names.iter().enumerate() {
            if name.value.is_empty() {
                violations.add(format!("{path}.subjectAltNames[{index}].value"), "must be defined");
            }
        }
        for (field, source) in self.sources() {
            if let Err((part, reason)) = source.source() {
                violations.add(format!("{path}.{field}.{part}").trim_end_matches('.'), reason);
            }
        }
        match (&self.client_cert, &self.client_key) {
            (Some(_), None) => {
                violations.add(
                    format!("{path}.clientKey"),
                    "must be defined when clientCert is defined",
                );
            }
            (None, Some(_)) => {
                violations.add(
                    format!("{path}.clientCert"),
                    "must be defined when clientKey is defined",
                );
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

impl Tls {
    pub(super) fn validate(&self, path: &str, violations: &mut Violations) {
        let versions = self.version.unwrap_or_default();
        let named = |version: Option<TlsVersion>| version.filter(|version| *version != TlsVersion::TLSAuto);
        if let (Some(min), Some(max)) = (named(versions.min), named(versions.max))
            && min > max
        {
            violations.add(
                format!("{path}.version.min"),
                format!("is {min:?}, must not be newer than max, which is {max:?}"),
            );
        }
        if let Some(verification) = &self.verification {
            verification.validate(&format!("{path}.verification"), violations);
        }
    }

    /// Adds what is verified less than a user may think.
    pub(super) fn warn(&self, server_name: Option<&str>, path: &str, warnings: &mut Vec<String>) {
        let default = Verification::default();
        let verification = self.verification.as_ref().unwrap_or(&default);
        let path = format!("{path}.verification");
        match verification.mode {
            VerificationMode::SkipCA | VerificationMode::SkipAll => warnings.push(format!(
                "{path}.mode: is {:?}, so that anybody on the way can pretend to be the service",
                verification.mode
            )),
            VerificationMode::SkipSAN => warnings.push(format!(
                "{path}.mode: is SkipSAN, so that whoever has any certificate of the CA can pretend to be the service"
            )),
            VerificationMode::Secured if server_name.is_none() && verification.subject_alt_names.is_empty() => {
                warnings.push(format!(
                    "{path}: the first endpoint has no DNS name, so that no name is verified; set serverName or subjectAltNames"
                ));
            }
            VerificationMode::Secured => {}
        }
    }
}
