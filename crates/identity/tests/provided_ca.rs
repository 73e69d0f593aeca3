//! CAs that users bring along: what is accepted, and how each fault is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use meshspan_identity::{Ca, CaProblem, CertificateError, SpiffeId, WorkloadRequest, check_provided_ca};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519,
};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use x509_parser::pem::Pem;

const NOW: OffsetDateTime = datetime!(2027-01-01 12:00:00 UTC);
const EC_KEY: &str = include_str!("data/ec-key.pem");
const EC_CA: &str = include_str!("data/ec-ca.pem");

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "example root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = NOW - Duration::DAY;
    params.not_after = NOW + Duration::DAY;
    params
}

/// Certificate and key of a self-signed CA, changed by `edit`.
fn pair(edit: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = ca_params();
    edit(&mut params);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn check(cert: &str, key: &str) -> Vec<CaProblem> {
    check_provided_ca(cert.as_bytes(), key.as_bytes(), NOW)
}

fn request() -> WorkloadRequest {
    WorkloadRequest {
        spiffe_ids: [SpiffeId::new("default", "redis").unwrap()].into(),
        tags: Default::default(),
        now: NOW,
        lifetime: Duration::HOUR,
    }
}

fn blocks(text: &str) -> Vec<Pem> {
    Pem::iter_from_buffer(text.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn good_cas_are_accepted_whatever_their_key() {
    let made = |key: KeyPair| (ca_params().self_signed(&key).unwrap().pem(), key.serialize_pem());
    let builtin = Ca::generate_builtin("default", 2048, NOW, Duration::DAY).unwrap();
    for (cert, key) in [
        made(KeyPair::generate().unwrap()),
        made(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()),
        made(KeyPair::generate_for(&PKCS_ED25519).unwrap()),
        (EC_CA.to_owned(), EC_KEY.to_owned()),
        (builtin.cert_pem().to_owned(), builtin.key_pem().to_owned()),
    ] {
        assert_eq!(check(&cert, &key), []);
        let issued = Ca::from_pem(&cert, &key).unwrap().issue_workload(&request()).unwrap();
        let (chain, root) = (blocks(&issued.cert_chain_pem), blocks(&cert));
        let (leaf, root) = (chain[0].parse_x509().unwrap(), root[0].parse_x509().unwrap());
        assert_eq!(leaf.issuer().as_raw(), root.subject().as_raw());
    }
}

#[test]
fn each_fault_is_named_with_its_certificate() {
    let (good, key) = pair(|_| ());
    let (_, other_key) = pair(|_| ());
    let not_ca = pair(|p| p.is_ca = IsCa::ExplicitNoCa);
    let no_sign = pair(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]);
    let no_usage = pair(|p| p.key_usages.clear());
    let agrees = pair(|p| p.key_usages.push(KeyUsagePurpose::KeyAgreement));
    let expired = pair(|p| p.not_after = NOW - Duration::HOUR);
    let future = pair(|p| p.not_before = NOW + Duration::HOUR);

    let table: Vec<(&str, (String, String), CaProblem, &str)> = vec![
        ("not a CA", not_ca, CaProblem::NotCa { index: 0 }, "cert[0]"),
        ("cannot sign", no_sign, CaProblem::CannotSign { index: 0 }, "cert[0]"),
        ("no usage", no_usage, CaProblem::CannotSign { index: 0 }, "cert[0]"),
        ("agreement", agrees, CaProblem::KeyAgreement { index: 0 }, "cert[0]"),
        (
            "expired",
            expired,
            CaProblem::Expired {
                index: 0,
                at: NOW - Duration::HOUR,
            },
            "cert[0]",
        ),
        (
            "future",
            future,
            CaProblem::NotYetValid {
                index: 0,
                from: NOW + Duration::HOUR,
            },
            "cert[0]",
        ),
        ("other key", (good, other_key), CaProblem::KeyMismatch, "key"),
    ];
    for (name, (cert, key), problem, field) in table {
        assert_eq!(problem.field(), field, "{name}");
        assert_eq!(check(&cert, &key), [problem], "{name}");
    }

    let (good, _) = pair(|_| ());
    assert!(matches!(check(&good, "nothing")[..], [CaProblem::Key(_)]));
    assert!(matches!(check("nothing", &key)[..], [CaProblem::CertificatePem(_)]));
    assert!(matches!(check(&key, &key)[..], [CaProblem::CertificatePem(_)]));
    let broken = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    assert!(matches!(check(broken, &key)[..], [CaProblem::NotX509 { index: 0, .. }]));
    assert_eq!(check("", "").len(), 2, "both faults are reported");
}

#[test]
fn faults_of_later_certificates_carry_their_index() {
    let (first, key) = pair(|_| ());
    let (second, _) = pair(|p| {
        p.is_ca = IsCa::ExplicitNoCa;
        p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let problems = check(&format!("{first}{second}"), &key);
    assert_eq!(
        problems,
        [CaProblem::NotCa { index: 1 }, CaProblem::CannotSign { index: 1 }]
    );
    assert_eq!(problems[0].field(), "cert[1]");
}

#[test]
fn subjects_that_cannot_be_copied_are_refused_rather_than_mangled() {
    for cert in [
        include_str!("data/two-ous.pem"),
        include_str!("data/two-in-one-part.pem"),
    ] {
        assert!(
            matches!(check(cert, EC_KEY)[..], [CaProblem::Subject { index: 0, .. }]),
            "{cert}"
        );
        let error = Ca::from_pem(cert, EC_KEY).unwrap_err();
        assert!(
            matches!(error, CertificateError::Ca(CaProblem::Subject { .. })),
            "{error}"
        );
    }
}

#[test]
fn intermediates_are_sent_with_the_leaf_and_the_root_is_not() {
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = ca_params();
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let mut middle = ca_params();
    middle
        .distinguished_name
        .push(DnType::CommonName, "example intermediate");
    let middle_pem = middle.signed_by(&key, &Issuer::new(root, root_key)).unwrap().pem();

    let bundle = format!("{middle_pem}{root_pem}");
    assert_eq!(check(&bundle, &key.serialize_pem()), []);
    let ca = Ca::from_pem(&bundle, &key.serialize_pem()).unwrap();
    assert_eq!(ca.cert_pem(), bundle);
    let chain = blocks(&ca.issue_workload(&request()).unwrap().cert_chain_pem);
    assert_eq!(chain.len(), 2);
    let (leaf, sent) = (chain[0].parse_x509().unwrap(), chain[1].parse_x509().unwrap());
    assert_eq!(leaf.issuer().as_raw(), sent.subject().as_raw());
    assert_eq!(sent.subject().to_string(), "CN=example intermediate");
}

#[test]
fn loading_refuses_the_wrong_key() {
    let (cert, _) = pair(|_| ());
    let (_, key) = pair(|_| ());
    let error = Ca::from_pem(&cert, &key).unwrap_err();
    assert!(matches!(error, CertificateError::Ca(CaProblem::KeyMismatch)), "{error}");
}

#[test]
fn garbage_never_panics() {
    let (cert, key) = pair(|_| ());
    for cut in (0..cert.find("-----END").unwrap()).step_by(7) {
        assert!(!check(&cert[..cut], &key).is_empty(), "{cut}");
    }
    for cut in (0..key.find("-----END").unwrap()).step_by(7) {
        assert!(!check(&cert, &key[..cut]).is_empty(), "{cut}");
    }
    // Each byte of the DER changed in turn: still an answer, whatever it is.
    let der = blocks(&cert).remove(0).contents;
    for i in 0..der.len() {
        let mut changed = der.clone();
        changed[i] ^= 0x15;
        let text = pem_text(&changed);
        let _ = check(&text, &key);
        let _ = Ca::from_pem(&text, &key);
    }
}

fn pem_text(der: &[u8]) -> String {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = body
        .as_bytes()
        .chunks(64)
        .map(|c| std::str::from_utf8(c).unwrap())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}
