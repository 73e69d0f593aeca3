//! Keys that sign tokens.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use meshspan_identity::SigningKey;

use crate::console::Console;

/// Largest key file that is read, in bytes.
const MAX_KEY: u64 = 64 << 10;

/// Arguments of `generate signing-key`.
#[derive(Debug, Args)]
pub struct SigningKeyArgs {
    /// pem-base64 goes into the data of a Secret, pem into a file
    #[arg(long, value_name = "FORMAT", default_value = "pem-base64")]
    pub format: KeyFormat,
}

/// How a key is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyFormat {
    /// The PEM text once more in base64.
    PemBase64,
    /// PEM text.
    Pem,
}

/// Arguments of `generate public-key`.
#[derive(Debug, Args)]
pub struct PublicKeyArgs {
    /// File with the signing key: RSA, PEM or DER
    #[arg(long, value_name = "FILE")]
    pub signing_key_path: PathBuf,
}

pub(super) fn signing_key(args: &SigningKeyArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let pem = SigningKey::generate()?.to_pem();
    match args.format {
        KeyFormat::Pem => write!(console.out, "{pem}")?,
        KeyFormat::PemBase64 => writeln!(console.out, "{}", STANDARD.encode(pem))?,
    }
    Ok(())
}

pub(super) fn public_key(args: &PublicKeyArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    let key = read_signing_key(&args.signing_key_path)?;
    write!(console.out, "{}", key.verification_key().to_pem())?;
    Ok(())
}

/// Reads a key in any form in which `generate signing-key` and OpenSSL write it.
pub(super) fn read_signing_key(path: &Path) -> anyhow::Result<SigningKey> {
    let unusable = || format!("signing key {} cannot be used", path.display());
    let mut data = Vec::new();
    let file = File::open(path).with_context(unusable)?;
    file.take(MAX_KEY).read_to_end(&mut data).with_context(unusable)?;
    // What `--format pem-base64` prints is no base64 of DER but of PEM text.
    let text = data.trim_ascii();
    let decoded = STANDARD
        .decode(text)
        .ok()
        .filter(|decoded| decoded.starts_with(b"-----BEGIN"));
    SigningKey::from_bytes(decoded.as_deref().unwrap_or(&data)).with_context(unusable)
}
