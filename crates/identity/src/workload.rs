//! The short-lived certificates by which proxies prove who they are.
//!
//! Source of fact: `spec/dataplane.md` §5.1. Keys are ECDSA P-256 instead of RSA 2048: both sides are Envoy, and making one costs a
//! thousandth.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rcgen::{DistinguishedName, ExtendedKeyUsagePurpose, KeyPair};
use time::{Duration, OffsetDateTime};

use crate::ca::{Ca, leaf_params, uri_san};
use crate::certificate::{CertificateError, Validity};
use crate::spiffe::{SERVICE_TAG, SpiffeError, SpiffeId, kuma_uri};

/// Renewal happens at the latest after this part of the lifetime, and at the earliest [`RENEWAL_JITTER`] before it.
const RENEWAL_AGE: f64 = 0.8;
const RENEWAL_JITTER: f64 = 0.05;

/// Whom a workload certificate names, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadRequest {
    /// One URI SAN each; at least one.
    pub spiffe_ids: BTreeSet<SpiffeId>,
    /// Tag name to all its values on the proxy; one `kuma://` URI SAN for each value.
    pub tags: BTreeMap<String, BTreeSet<String>>,
    pub now: OffsetDateTime,
    /// Counted from `now`; `dpCert.rotation.expiration` of the backend. At least one second.
    pub lifetime: Duration,
}

impl WorkloadRequest {
    /// The request for a Dataplane with these tags: a SPIFFE id for each value of `kuma.io/service`, and all tags.
    ///
    /// # Errors
    /// When the mesh or a service cannot be in a SPIFFE id.
    pub fn for_dataplane(
        mesh: &str,
        tags: BTreeMap<String, BTreeSet<String>>,
        now: OffsetDateTime,
        lifetime: Duration,
    ) -> Result<Self, SpiffeError> {
        let services = tags.get(SERVICE_TAG).into_iter().flatten();
        let spiffe_ids = services.map(|s| SpiffeId::new(mesh, s)).collect::<Result<_, _>>()?;
        Ok(Self {
            spiffe_ids,
            tags,
            now,
            lifetime,
        })
    }
}

/// A certificate with its key, as SDS hands them to Envoy.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkloadCert {
    /// The leaf, then intermediates if the CA has any.
    pub cert_chain_pem: String,
    /// PKCS#8. Secret.
    pub key_pem: String,
    /// The `now` of the request.
    pub issued_at: OffsetDateTime,
    /// Ten seconds before `issued_at`, in whole seconds.
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

impl WorkloadCert {
    /// When to replace it: between 75 % (`jitter` 1) and 80 % (`jitter` 0) of the time from issue to expiry.
    ///
    /// Kuma renews at 4/5 exactly, so proxies that connected together renew together for ever. Give each proxy a random or
    /// hashed `jitter` in 0..=1 to spread them; values outside are taken as the nearest bound.
    pub fn renew_at(&self, jitter: f64) -> OffsetDateTime {
        let jitter = if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) };
        let age = RENEWAL_AGE - RENEWAL_JITTER * jitter;
        let lifetime = (self.not_after - self.issued_at).as_seconds_f64();
        self.issued_at
            .saturating_add(Duration::saturating_seconds_f64(lifetime * age))
    }
}

impl fmt::Debug for WorkloadCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadCert")
            .field("cert_chain_pem", &self.cert_chain_pem)
            .field("issued_at", &self.issued_at)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Ca {
    /// Issues a certificate with a new key for both sides of mutual TLS. The subject is empty: names are in the SANs.
    ///
    /// The certificate may outlive the CA, as in Kuma; handshakes fail from [`Ca::not_after`] on in any case.
    ///
    /// # Errors
    /// When the request names nobody, a name or the lifetime cannot be used, or the CA is not valid at `now`.
    pub fn issue_workload(&self, request: &WorkloadRequest) -> Result<WorkloadCert, CertificateError> {
        if request.spiffe_ids.is_empty() {
            return Err(CertificateError::NoIdentity);
        }
        self.check_valid_at(request.now)?;
        let validity = Validity::starting(request.now, request.lifetime)?;
        let mut params = leaf_params(DistinguishedName::new(), validity)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        for id in &request.spiffe_ids {
            params.subject_alt_names.push(uri_san(&id.to_string())?);
        }
        for (tag, values) in &request.tags {
            for value in values {
                params.subject_alt_names.push(uri_san(&kuma_uri(tag, value)?)?);
            }
        }
        let key = KeyPair::generate()?;
        Ok(WorkloadCert {
            cert_chain_pem: self.sign_leaf(&params, &key)?,
            key_pem: key.serialize_pem(),
            issued_at: request.now,
            not_before: validity.not_before,
            not_after: validity.not_after,
        })
    }
}
