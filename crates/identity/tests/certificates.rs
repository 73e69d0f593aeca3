//! Issued certificates, read back with an independent parser and verified with the CA's public key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use meshspan_identity::spiffe::SpiffeError;
use meshspan_identity::{
    Ca, CertificateError, RotationPeriod, ServerCertificate, SpiffeId, WorkloadCert, WorkloadRequest,
};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

const NOW: OffsetDateTime = datetime!(2026-11-23 12:00:00 UTC);
const YEAR: Duration = Duration::days(365);

fn builtin() -> Ca {
    Ca::generate_builtin("default", 2048, NOW, YEAR).unwrap()
}

fn blocks(text: &str) -> Vec<Pem> {
    Pem::iter_from_buffer(text.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap()
}

fn uris(cert: &X509Certificate<'_>) -> Vec<String> {
    let san = cert.subject_alternative_name().unwrap().unwrap();
    let names = san.value.general_names.iter();
    names
        .map(|n| match n {
            GeneralName::URI(u) => (*u).to_owned(),
            other => panic!("unexpected name {other:?}"),
        })
        .collect()
}

fn signed_by(cert: &X509Certificate<'_>, ca: &X509Certificate<'_>) -> bool {
    let algorithm: &dyn VerificationAlgorithm = match ca.public_key().algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => &RSA_PKCS1_2048_8192_SHA256,
        "1.2.840.10045.2.1" => &ECDSA_P256_SHA256_ASN1,
        other => panic!("unexpected key algorithm {other}"),
    };
    let key = UnparsedPublicKey::new(algorithm, &ca.public_key().subject_public_key.data);
    cert.issuer().as_raw() == ca.subject().as_raw()
        && key
            .verify(cert.tbs_certificate.as_ref(), &cert.signature_value.data)
            .is_ok()
}

fn tags(pairs: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
    let set = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
    pairs
        .iter()
        .map(|(tag, values)| ((*tag).to_owned(), set(values)))
        .collect()
}

fn redis_request() -> WorkloadRequest {
    let tags = tags(&[("kuma.io/service", &["redis", "redis-admin"]), ("version", &["7"])]);
    WorkloadRequest::for_dataplane("default", tags, NOW, Duration::DAY).unwrap()
}

fn issue(ca: &Ca) -> WorkloadCert {
    ca.issue_workload(&redis_request()).unwrap()
}

#[test]
fn builtin_ca_has_the_documented_shape() {
    let ca = builtin();
    let pem = blocks(ca.cert_pem());
    let cert = pem[0].parse_x509().unwrap();
    assert_eq!(cert.subject().to_string(), "O=Kuma, OU=Mesh, CN=default");
    assert_eq!(uris(&cert), ["spiffe://default"]);
    assert!(cert.is_ca());
    let usage = cert.key_usage().unwrap().unwrap();
    assert!(usage.critical);
    assert_eq!(usage.value.flags, 0b110_0000, "keyCertSign and cRLSign only");
    assert_eq!(cert.validity().not_before.to_datetime(), NOW - Duration::seconds(10));
    assert_eq!(cert.validity().not_after.to_datetime(), NOW + YEAR);
    assert_eq!(ca.not_after(), NOW + YEAR);
    assert!(signed_by(&cert, &cert));
    assert!(ca.key_pem().starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    assert_ne!(cert.raw_serial(), [0]);
}

#[test]
fn builtin_ca_key_sizes() {
    let ca = Ca::generate_builtin("default", 3072, NOW, YEAR).unwrap();
    let pem = blocks(ca.cert_pem());
    let cert = pem[0].parse_x509().unwrap();
    assert_eq!(cert.public_key().parsed().unwrap().key_size(), 3072);
    for bits in [0, 512, 1024, 2047, u32::MAX] {
        let error = Ca::generate_builtin("default", bits, NOW, YEAR).unwrap_err();
        assert!(
            matches!(error, CertificateError::RsaBits { bits: b } if b == bits),
            "{error}"
        );
    }
}

#[test]
fn builtin_ca_refuses_bad_input() {
    let error = Ca::generate_builtin("De fault", 2048, NOW, YEAR).unwrap_err();
    assert!(
        matches!(error, CertificateError::Name(SpiffeError::TrustDomain { .. })),
        "{error}"
    );
    let error = Ca::generate_builtin("default", 2048, NOW, Duration::ZERO).unwrap_err();
    assert!(matches!(error, CertificateError::Lifetime { .. }), "{error}");
}

#[test]
fn workload_certificate_has_the_documented_shape() {
    let ca = builtin();
    let issued = issue(&ca);
    let (chain, ca_pem) = (blocks(&issued.cert_chain_pem), blocks(ca.cert_pem()));
    assert_eq!(chain.len(), 1, "a builtin CA is a root, which is not sent");
    let (leaf, ca_cert) = (chain[0].parse_x509().unwrap(), ca_pem[0].parse_x509().unwrap());

    assert!(signed_by(&leaf, &ca_cert));
    assert_eq!(leaf.subject().iter().count(), 0);
    assert_eq!(
        uris(&leaf),
        [
            "spiffe://default/redis",
            "spiffe://default/redis-admin",
            "kuma://kuma.io/service/redis",
            "kuma://kuma.io/service/redis-admin",
            "kuma://version/7",
        ]
    );
    assert!(
        leaf.subject_alternative_name().unwrap().unwrap().critical,
        "subject is empty"
    );
    assert!(!leaf.is_ca());
    assert!(leaf.key_usage().unwrap().unwrap().value.digital_signature());
    assert!(!leaf.key_usage().unwrap().unwrap().value.key_cert_sign());
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.server_auth && purposes.client_auth && !purposes.any);
    assert_eq!(leaf.validity().not_before.to_datetime(), NOW - Duration::seconds(10));
    assert_eq!(leaf.validity().not_after.to_datetime(), NOW + Duration::DAY);
    assert_eq!(
        (issued.not_before, issued.not_after),
        (NOW - Duration::seconds(10), NOW + Duration::DAY)
    );
    assert_eq!(leaf.raw_serial().len(), 16);

    let key = rcgen::KeyPair::from_pem(&issued.key_pem).unwrap();
    assert_eq!(key.public_key_raw(), &*leaf.public_key().subject_public_key.data);
    assert!(issued.key_pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
}

#[test]
fn a_ca_can_be_shared_between_threads() {
    let ca = builtin();
    let chains: BTreeSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| issue(&ca).cert_chain_pem)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(chains.len(), 4);
}

#[test]
fn every_certificate_has_its_own_key_and_serial() {
    let ca = builtin();
    let (a, b) = (issue(&ca), issue(&ca));
    assert_ne!(a.key_pem, b.key_pem);
    let (a, b) = (blocks(&a.cert_chain_pem), blocks(&b.cert_chain_pem));
    assert_ne!(a[0].parse_x509().unwrap().serial, b[0].parse_x509().unwrap().serial);
}

#[test]
fn a_reloaded_ca_issues_under_the_same_root() {
    let ca = builtin();
    let reloaded = Ca::from_pem(ca.cert_pem(), ca.key_pem()).unwrap();
    assert_eq!(reloaded.not_after(), ca.not_after());
    let (root, chain) = (blocks(ca.cert_pem()), blocks(&issue(&reloaded).cert_chain_pem));
    let (root, leaf) = (root[0].parse_x509().unwrap(), chain[0].parse_x509().unwrap());
    assert!(signed_by(&leaf, &root));
    let authority = leaf.iter_extensions().find_map(|e| match e.parsed_extension() {
        x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => {
            id.key_identifier.as_ref().map(|id| id.0.to_vec())
        }
        _ => None,
    });
    let subject = root.iter_extensions().find_map(|e| match e.parsed_extension() {
        x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    assert!(authority.is_some());
    assert_eq!(authority, subject);
    // Another mesh's CA did not sign it.
    let other = builtin();
    let other = blocks(other.cert_pem());
    assert!(!signed_by(&leaf, &other[0].parse_x509().unwrap()));
}

#[test]
fn zone_proxies_are_named_by_explicit_ids() {
    let request = WorkloadRequest {
        spiffe_ids: [SpiffeId::new("default", "zone-egress").unwrap()].into(),
        tags: BTreeMap::new(),
        now: NOW,
        lifetime: Duration::HOUR,
    };
    let issued = builtin().issue_workload(&request).unwrap();
    let chain = blocks(&issued.cert_chain_pem);
    assert_eq!(uris(&chain[0].parse_x509().unwrap()), ["spiffe://default/zone-egress"]);
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    let ca = builtin();
    let request = redis_request();

    let nobody = WorkloadRequest {
        spiffe_ids: BTreeSet::new(),
        ..request.clone()
    };
    assert!(matches!(ca.issue_workload(&nobody), Err(CertificateError::NoIdentity)));

    let late = WorkloadRequest {
        now: NOW + YEAR + Duration::SECOND,
        ..request.clone()
    };
    assert!(matches!(ca.issue_workload(&late), Err(CertificateError::CaExpired { at }) if at == NOW + YEAR));

    let early = WorkloadRequest {
        now: NOW - Duration::MINUTE,
        ..request.clone()
    };
    assert!(matches!(
        ca.issue_workload(&early),
        Err(CertificateError::CaNotYetValid { .. })
    ));

    let instant = WorkloadRequest {
        lifetime: Duration::ZERO,
        ..request.clone()
    };
    assert!(matches!(
        ca.issue_workload(&instant),
        Err(CertificateError::Lifetime { seconds: 0 })
    ));

    let odd = WorkloadRequest {
        tags: tags(&[("team", &["a b"])]),
        ..request
    };
    let error = ca.issue_workload(&odd).unwrap_err();
    assert!(
        matches!(error, CertificateError::Name(SpiffeError::Tag { .. })),
        "{error}"
    );

    let odd = WorkloadRequest::for_dataplane("default", tags(&[("kuma.io/service", &["a b"])]), NOW, YEAR);
    assert!(matches!(odd, Err(SpiffeError::Path { .. })));
}

#[test]
fn a_certificate_outlives_the_period_in_which_it_was_issued_by_a_quarter() {
    for lifetime in [Duration::SECOND, Duration::HOUR, Duration::DAY, Duration::days(3650)] {
        for jitter in [0.0, 0.3, 1.0, -3.0, 7.0, f64::NAN] {
            let period = RotationPeriod::at(NOW, lifetime, jitter);
            let left = period.end - NOW;
            assert!(
                left.is_positive() && left <= lifetime * 0.75,
                "{lifetime} {jitter}: {left}"
            );
            // The same until its end, and then the next.
            assert_eq!(
                RotationPeriod::at(period.end - Duration::NANOSECOND, lifetime, jitter),
                period
            );
            let next = RotationPeriod::at(period.end, lifetime, jitter);
            assert_eq!(next.index, period.index + 1);
            let length: Duration = next.end - period.end;
            assert!(
                (length.as_seconds_f64() / lifetime.as_seconds_f64() - 0.75).abs() < 1e-6,
                "{length}"
            );
        }
    }
}

#[test]
fn proxies_do_not_renew_together() {
    let end = |jitter| RotationPeriod::at(NOW, Duration::DAY, jitter).end;
    let ends: BTreeSet<_> = (0..10).map(|tenth| end(f64::from(tenth) / 10.0)).collect();
    assert_eq!(ends.len(), 10);
}

#[test]
fn private_keys_are_not_in_debug_output() {
    let ca = builtin();
    let issued = issue(&ca);
    let server = ServerCertificate::generate(&["localhost".to_owned()], NOW, YEAR).unwrap();
    for (text, key) in [
        (format!("{ca:?}"), ca.key_pem()),
        (format!("{issued:?}"), &issued.key_pem),
        (format!("{server:?}"), &server.key_pem),
    ] {
        let line = key.lines().nth(2).unwrap();
        assert!(!text.contains("PRIVATE KEY") && !text.contains(line));
        assert!(text.contains("BEGIN CERTIFICATE"));
    }
}

#[test]
fn server_certificate_is_a_leaf_under_its_own_ca() {
    let names = ["localhost", "cp.example", "127.0.0.1", "::1", "localhost"].map(str::to_owned);
    let made = ServerCertificate::generate(&names, NOW, YEAR).unwrap();
    let (ca, chain) = (blocks(&made.ca_pem), blocks(&made.cert_pem));
    assert_eq!((ca.len(), chain.len()), (1, 2));
    assert_eq!(chain[1], ca[0]);
    let (ca, leaf) = (ca[0].parse_x509().unwrap(), chain[0].parse_x509().unwrap());

    assert!(ca.is_ca() && ca.key_usage().unwrap().unwrap().value.key_cert_sign());
    assert!(!leaf.is_ca());
    assert!(signed_by(&leaf, &ca) && signed_by(&ca, &ca));
    assert!(leaf.extended_key_usage().unwrap().unwrap().value.server_auth);
    let san = leaf.subject_alternative_name().unwrap().unwrap();
    let v6 = std::net::Ipv6Addr::LOCALHOST.octets();
    assert_eq!(
        san.value.general_names,
        [
            GeneralName::DNSName("localhost"),
            GeneralName::DNSName("cp.example"),
            GeneralName::IPAddress(&[127, 0, 0, 1]),
            GeneralName::IPAddress(&v6),
        ]
    );
    let key = rcgen::KeyPair::from_pem(&made.key_pem).unwrap();
    assert_eq!(key.public_key_raw(), &*leaf.public_key().subject_public_key.data);
}

#[test]
fn server_certificate_refuses_bad_names() {
    let none = ServerCertificate::generate(&[], NOW, YEAR);
    assert!(matches!(none, Err(CertificateError::NoServerName)));
    for name in ["", "a b", "[::1]", "host:5678", "-x-.", "h\u{f6}st"] {
        let made = ServerCertificate::generate(&[name.to_owned()], NOW, YEAR);
        assert!(matches!(made, Err(CertificateError::ServerName { .. })), "{name:?}");
    }
}
