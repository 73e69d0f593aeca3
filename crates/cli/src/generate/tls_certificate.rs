//! TLS certificates for servers and clients of a control plane.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RsaKeySize,
};
use time::{Duration, OffsetDateTime};

use crate::console::Console;

/// As long as kumactl's.
const LIFETIME: Duration = Duration::days(10 * 365);

/// For peers whose clock is behind.
const BACKDATING: Duration = Duration::minutes(5);

/// Arguments of `generate tls-certificate`.
#[derive(Debug, Args)]
pub struct TlsCertificateArgs {
    /// Who shows it
    #[arg(long = "type", value_name = "TYPE")]
    pub certificate_type: CertificateType,
    /// DNS name or IP address that it is for; may be repeated
    #[arg(long = "hostname", value_name = "NAME", required = true, value_delimiter = ',')]
    pub hostnames: Vec<String>,
    /// Where the key goes
    #[arg(long, value_name = "FILE", default_value = "key.pem")]
    pub key_file: PathBuf,
    /// Where the certificate goes, followed by its CA: the same file serves as trust anchor
    #[arg(long, value_name = "FILE", default_value = "cert.pem")]
    pub cert_file: PathBuf,
    /// Kind of key
    #[arg(long, value_name = "TYPE", default_value = "rsa")]
    pub key_type: KeyType,
}

/// Who shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CertificateType {
    /// A server.
    Server,
    /// A client.
    Client,
}

/// Kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyType {
    /// RSA, 2048 bits.
    Rsa,
    /// ECDSA, P-256.
    Ecdsa,
}

pub(super) fn generate(args: &TlsCertificateArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let (certificate, key) = make(args, console.now).context("the certificate cannot be made")?;
    write_file(&args.key_file, 0o600, &key)?;
    write_file(&args.cert_file, 0o644, &certificate)?;
    writeln!(console.out, "Private key saved in {}", args.key_file.display())?;
    writeln!(console.out, "Certificate saved in {}", args.cert_file.display())?;
    Ok(())
}

/// Certificate chain and key as PEM. Made as a CA and a leaf, whose CA key is thrown away, because agents and Envoy refuse a trust anchor
/// that is no CA (`spec/dataplane.md` §1.1).
fn make(args: &TlsCertificateArgs, now: OffsetDateTime) -> Result<(String, String), rcgen::Error> {
    let dated = |names: &[String], common_name: &str| -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.not_before = now - BACKDATING;
        params.not_after = now + LIFETIME;
        Ok(params)
    };
    let mut ca = dated(&[], "Meshspan generated CA")?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_key = KeyPair::generate()?;
    let ca_certificate = ca.self_signed(&ca_key)?;

    let mut leaf = dated(&args.hostnames, args.hostnames.first().map_or("", String::as_str))?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    leaf.extended_key_usages = vec![match args.certificate_type {
        CertificateType::Server => ExtendedKeyUsagePurpose::ServerAuth,
        CertificateType::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    let key = match args.key_type {
        KeyType::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
        KeyType::Ecdsa => KeyPair::generate()?,
    };
    let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?;
    Ok((certificate.pem() + &ca_certificate.pem(), key.serialize_pem()))
}

fn write_file(path: &Path, mode: u32, content: &str) -> anyhow::Result<()> {
    let unwritable = || format!("{} cannot be written", path.display());
    // An existing file would keep its mode, and a key may be in use: neither is ours to overwrite.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(unwritable)?;
    file.write_all(content.as_bytes()).with_context(unwritable)
}
