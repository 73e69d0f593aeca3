//! What all certificates made here share: serial numbers, validity, errors.

use rcgen::SerialNumber;
use time::{Duration, OffsetDateTime, UtcOffset};

use crate::ca_check::CaProblem;
use crate::spiffe::SpiffeError;

/// Certificates start to be valid this long before they are issued, so that a peer whose clock is slightly behind accepts
/// them (`spec/dataplane.md` §5.1).
pub(crate) const BACKDATING: Duration = Duration::seconds(10);

/// Why a certificate could not be issued or a CA not be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error(
        "certificate lifetime of {seconds} s cannot be used: it must be at least one second and end before the year 10000"
    )]
    Lifetime { seconds: i64 },
    #[error("RSA key of {bits} bits cannot be made: RSAbits must be one of 2048, 3072, 4096, 8192")]
    RsaBits { bits: u32 },
    #[error("certificate would name nobody: the proxy needs at least one kuma.io/service tag")]
    NoIdentity,
    #[error(transparent)]
    Name(#[from] SpiffeError),
    #[error("CA certificate cannot be used: {0}")]
    Ca(CaProblem),
    #[error("CA certificate is valid from {from} only: check the clock of this host")]
    CaNotYetValid { from: OffsetDateTime },
    #[error("CA certificate expired at {at}: replace the CA of the mesh's mTLS backend")]
    CaExpired { at: OffsetDateTime },
    #[error("{name:?} cannot be in a server certificate: give a DNS name or an IP address")]
    ServerName { name: String },
    #[error("server certificate needs at least one DNS name or IP address")]
    NoServerName,
    #[error("cryptographic library failed: {0}")]
    Crypto(String),
}

impl From<rcgen::Error> for CertificateError {
    fn from(e: rcgen::Error) -> Self {
        Self::Crypto(e.to_string())
    }
}

impl From<aws_lc_rs::error::Unspecified> for CertificateError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Crypto("no random numbers or keys from the operating system".to_owned())
    }
}

/// The period written into a certificate, in whole seconds UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

impl Validity {
    /// From ten seconds before `now` to `lifetime` after it, rounded outwards to seconds.
    pub(crate) fn starting(now: OffsetDateTime, lifetime: Duration) -> Result<Self, CertificateError> {
        let refused = || CertificateError::Lifetime {
            seconds: lifetime.whole_seconds(),
        };
        if lifetime < Duration::SECOND {
            return Err(refused());
        }
        let start = now
            .checked_to_offset(UtcOffset::UTC)
            .and_then(|t| t.checked_sub(BACKDATING));
        let end = now
            .checked_to_offset(UtcOffset::UTC)
            .and_then(|t| t.checked_add(lifetime));
        let end = end.and_then(|t| match t.nanosecond() {
            0 => Some(t),
            _ => t.truncate_to_second().checked_add(Duration::SECOND),
        });
        match (start, end) {
            (Some(start), Some(not_after)) => Ok(Self {
                not_before: start.truncate_to_second(),
                not_after,
            }),
            _ => Err(refused()),
        }
    }
}

/// When a certificate (DER) begins to be valid; `None` if it is no certificate.
pub fn valid_from(certificate: &[u8]) -> Option<OffsetDateTime> {
    let certificate = crate::ca_check::parse(0, certificate).ok()?;
    Some(certificate.validity().not_before.to_datetime())
}

/// A random positive serial number of 128 bits.
///
/// The first bit is cleared (ASN.1 would read it as a sign) and the second set (no leading zero byte, never the serial 0).
pub(crate) fn random_serial() -> Result<SerialNumber, CertificateError> {
    let mut bytes = [0u8; 16];
    aws_lc_rs::rand::fill(&mut bytes)?;
    let [first, ..] = &mut bytes;
    *first = (*first & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    #[test]
    fn validity_is_backdated_and_in_whole_seconds() {
        let now = datetime!(2026-01-02 03:04:05.5 +02:00);
        let v = Validity::starting(now, Duration::HOUR).unwrap();
        assert_eq!(v.not_before, datetime!(2026-01-02 01:03:55 UTC));
        assert_eq!(v.not_after, datetime!(2026-01-02 02:04:06 UTC));
        let v = Validity::starting(datetime!(2026-01-02 03:04:05 UTC), Duration::HOUR).unwrap();
        assert_eq!(v.not_after, datetime!(2026-01-02 04:04:05 UTC));
    }

    #[test]
    fn impossible_lifetimes_are_refused() {
        let now = datetime!(2026-01-02 03:04:05 UTC);
        for lifetime in [
            Duration::ZERO,
            Duration::seconds(-5),
            Duration::milliseconds(999),
            Duration::MAX,
        ] {
            let error = Validity::starting(now, lifetime).unwrap_err();
            assert!(matches!(error, CertificateError::Lifetime { .. }), "{lifetime}");
        }
    }

    #[test]
    fn serials_are_positive_and_differ() {
        let (a, b) = (random_serial().unwrap(), random_serial().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.len(), 16);
        assert!((0x40..0x80).contains(a.to_bytes().first().unwrap()));
    }
}
