//! Certificates over SDS. The results hold private keys: keep them in memory.

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};

use crate::encode::Encoded;
use crate::names;

/// The proxy's own certificate: leaf first, then intermediates, and the leaf's key. All as PEM.
pub fn identity(mesh: &str, cert_chain_pem: &str, key_pem: &str) -> Encoded {
    let certificate = TlsCertificate {
        certificate_chain: inline(cert_chain_pem),
        private_key: inline(key_pem),
        ..Default::default()
    };
    encode(names::identity_secret(mesh), secret::Type::TlsCertificate(certificate))
}

/// The CA certificates that proxies of a mesh trust, as PEM.
pub fn trust_bundle(mesh: &str, ca_certs_pem: &str) -> Encoded {
    let validation = CertificateValidationContext {
        trusted_ca: inline(ca_certs_pem),
        ..Default::default()
    };
    encode(names::trust_secret(mesh), secret::Type::ValidationContext(validation))
}

/// The CA certificates that are trusted for a service outside the mesh, as PEM.
pub fn external_ca(cluster: &str, ca_certs_pem: &str) -> Encoded {
    let validation = CertificateValidationContext {
        trusted_ca: inline(ca_certs_pem),
        ..Default::default()
    };
    let name = names::external_ca_secret(cluster);
    encode(name, secret::Type::ValidationContext(validation))
}

/// What an egress shows to a service outside the mesh, as PEM.
pub fn external_certificate(cluster: &str, cert_chain_pem: &str, key_pem: &str) -> Encoded {
    let certificate = TlsCertificate {
        certificate_chain: inline(cert_chain_pem),
        private_key: inline(key_pem),
        ..Default::default()
    };
    let name = names::external_certificate_secret(cluster);
    encode(name, secret::Type::TlsCertificate(certificate))
}

fn encode(name: String, content: secret::Type) -> Encoded {
    Encoded::secret(&Secret {
        name,
        r#type: Some(content),
    })
}

fn inline(pem: &str) -> Option<DataSource> {
    Some(DataSource {
        specifier: Some(data_source::Specifier::InlineBytes(pem.as_bytes().to_vec())),
        ..Default::default()
    })
}
