//! Names inside workload certificates: `spiffe://<mesh>/<service>` and `kuma://<tag>/<value>`.
//!
//! Envoy compares these URIs as plain text (RBAC principals, SAN matchers), so nothing here encodes or normalises: a name
//! that would need escaping is refused. Source of fact: `spec/dataplane.md` §5.1, §5.2.

use std::fmt;
use std::str::FromStr;

/// The tag whose values name the services of a proxy.
pub const SERVICE_TAG: &str = "kuma.io/service";

/// Longest URI that a SPIFFE implementation must accept (SPIFFE-ID standard §2.3), in bytes.
const MAX_URI_BYTES: usize = 2048;

/// A name that cannot stand in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    #[error("{uri:?} is not a SPIFFE id: it must start with spiffe://")]
    Scheme { uri: String },
    #[error("mesh or trust domain {name:?} cannot be in a SPIFFE id: use lowercase letters, digits, '-', '.' and '_'")]
    TrustDomain { name: String },
    #[error(
        "{path:?} cannot be the path of a SPIFFE id: segments between '/' must be letters, digits or one of -._~:@!$&()*+,;= and neither empty, '.' nor '..'"
    )]
    Path { path: String },
    #[error(
        "tag {tag:?} with value {value:?} cannot be put in a certificate: use letters, digits and -._~:@!$&()*+,;=/ and no empty text"
    )]
    Tag { tag: String, value: String },
    #[error("certificate name of {length} bytes is longer than {MAX_URI_BYTES}: shorten {start:?}…")]
    TooLong { length: usize, start: String },
}

/// A SPIFFE id: a trust domain (for us the mesh name) and a path (for us the service), or the trust domain alone as in
/// CA certificates. Ordered and compared as its text parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: String,
    /// Without the leading slash; empty for a trust domain alone.
    path: String,
}

impl SpiffeId {
    /// `spiffe://<mesh>/<service>`. `service` may have several segments, such as `ns/prod/sa/web`.
    ///
    /// # Errors
    /// When a part is empty, too long or holds a character that a SPIFFE id cannot.
    pub fn new(mesh: &str, service: &str) -> Result<Self, SpiffeError> {
        let fine = |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(is_path_byte);
        if !service.split('/').all(fine) {
            return Err(SpiffeError::Path {
                path: service.to_owned(),
            });
        }
        let id = Self {
            path: service.to_owned(),
            ..Self::trust_domain_id(mesh)?
        };
        check_length(&id.to_string())?;
        Ok(id)
    }

    /// `spiffe://<mesh>`, the name of a whole trust domain.
    ///
    /// # Errors
    /// When the mesh name cannot be a trust domain.
    pub fn trust_domain_id(mesh: &str) -> Result<Self, SpiffeError> {
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
        // 255 bytes is the limit of the SPIFFE-ID standard §2.1.
        if mesh.is_empty() || mesh.len() > 255 || !mesh.bytes().all(fine) {
            return Err(SpiffeError::TrustDomain { name: mesh.to_owned() });
        }
        Ok(Self {
            trust_domain: mesh.to_owned(),
            path: String::new(),
        })
    }

    /// The mesh, or more generally the trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The service, without leading slash; empty when the id names a trust domain only.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}", self.trust_domain)?;
        if self.path.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.path)
        }
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(uri: &str) -> Result<Self, SpiffeError> {
        check_length(uri)?;
        let rest = uri
            .strip_prefix("spiffe://")
            .ok_or_else(|| SpiffeError::Scheme { uri: uri.to_owned() })?;
        match rest.split_once('/') {
            Some((domain, path)) => Self::new(domain, path),
            None => Self::trust_domain_id(rest),
        }
    }
}

/// `kuma://<tag>/<value>`, the URI SAN by which permissions recognise a tag value of the peer.
///
/// # Errors
/// When a part is empty, too long or holds a character that would have to be escaped in a URI.
pub fn kuma_uri(tag: &str, value: &str) -> Result<String, SpiffeError> {
    let fine = |s: &str| !s.is_empty() && s.bytes().all(|b| is_path_byte(b) || b == b'/');
    if !fine(tag) || !fine(value) {
        return Err(SpiffeError::Tag {
            tag: tag.to_owned(),
            value: value.to_owned(),
        });
    }
    let uri = format!("kuma://{tag}/{value}");
    check_length(&uri)?;
    Ok(uri)
}

/// RFC 3986 `pchar` without percent-encoding and without the quote, which nobody's names use.
fn is_path_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~:@!$&()*+,;=".contains(&b)
}

fn check_length(uri: &str) -> Result<(), SpiffeError> {
    if uri.len() <= MAX_URI_BYTES {
        return Ok(());
    }
    Err(SpiffeError::TooLong {
        length: uri.len(),
        start: uri.chars().take(60).collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_print_and_parse_back() {
        for (mesh, service, text) in [
            ("default", "redis", "spiffe://default/redis"),
            ("default", "redis_ns_svc_6379", "spiffe://default/redis_ns_svc_6379"),
            ("m.zone", "ns/prod/sa/web", "spiffe://m.zone/ns/prod/sa/web"),
        ] {
            let id = SpiffeId::new(mesh, service).unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse::<SpiffeId>().unwrap(), id);
            assert_eq!((id.trust_domain(), id.path()), (mesh, service));
        }
        let domain: SpiffeId = "spiffe://default".parse().unwrap();
        assert_eq!(domain, SpiffeId::trust_domain_id("default").unwrap());
        assert_eq!(domain.to_string(), "spiffe://default");
    }

    #[test]
    fn bad_ids_are_refused() {
        for uri in [
            "http://default/redis",
            "spiffe://",
            "spiffe:///redis",
            "spiffe://Default/redis",
            "spiffe://default:80/redis",
            "spiffe://default/",
            "spiffe://default//redis",
            "spiffe://default/a/../b",
            "spiffe://default/re dis",
            "spiffe://default/redis?x",
            "spiffe://default/r\u{e9}dis",
        ] {
            assert!(uri.parse::<SpiffeId>().is_err(), "{uri}");
        }
        let long = SpiffeId::new("default", &"a".repeat(3000)).unwrap_err();
        assert!(matches!(long, SpiffeError::TooLong { length, .. } if length > 3000));
        let long = SpiffeId::trust_domain_id(&"a".repeat(256)).unwrap_err();
        assert!(matches!(long, SpiffeError::TrustDomain { .. }));
    }

    #[test]
    fn tag_uris() {
        assert_eq!(
            kuma_uri("kuma.io/service", "redis").unwrap(),
            "kuma://kuma.io/service/redis"
        );
        assert_eq!(kuma_uri("version", "1.0").unwrap(), "kuma://version/1.0");
        assert!(kuma_uri("", "x").is_err());
        assert!(kuma_uri("x", "").is_err());
        let error = kuma_uri("team", "a b").unwrap_err().to_string();
        assert!(error.contains("team") && error.contains("a b"), "{error}");
    }
}
