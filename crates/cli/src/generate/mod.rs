//! `meshspan generate`: tokens, keys and certificates.

mod keys;
mod tls_certificate;
mod tokens;

use clap::{Args, Subcommand};

pub use keys::{PublicKeyArgs, SigningKeyArgs};
pub use tls_certificate::TlsCertificateArgs;
pub use tokens::{DataplaneTokenArgs, Issuing, UserTokenArgs, ZoneTokenArgs};

use crate::args::ConnectionArgs;
use crate::console::Console;
use crate::run::Outcome;

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// What to make.
    #[command(subcommand)]
    pub command: GenerateCommand,
}

/// `generate …`.
#[derive(Debug, Subcommand)]
pub enum GenerateCommand {
    /// Make a token with which a data plane proxy proves who it is
    #[command(after_help = "Examples:
  meshspan generate dataplane-token --name redis-1 --tag kuma.io/service=redis --valid-for 720h > token
  meshspan generate dataplane-token --tag kuma.io/service=redis,redis-replica --valid-for 24h
Without a control plane:
  meshspan generate dataplane-token --name redis-1 --tag kuma.io/service=redis --valid-for 24h \\
    --signing-key-path key.pem --kid 1")]
    DataplaneToken(DataplaneTokenArgs),
    /// Make a token with which a zone proxy proves its zone
    #[command(after_help = "Example:
  meshspan generate zone-token --zone east --scope ingress --valid-for 720h > token")]
    ZoneToken(ZoneTokenArgs),
    /// Make a token with which a user calls the REST API
    #[command(after_help = "Example:
  meshspan generate user-token --name ann --group operators --valid-for 8h")]
    UserToken(UserTokenArgs),
    /// Make an RSA key that signs tokens
    #[command(after_help = "Example:
  meshspan generate signing-key --format pem > key.pem")]
    SigningKey(SigningKeyArgs),
    /// Show the public half of a signing key, with which tokens are verified
    #[command(after_help = "Example:
  meshspan generate public-key --signing-key-path key.pem > public.pem")]
    PublicKey(PublicKeyArgs),
    /// Make a TLS certificate for a control plane or a client
    #[command(after_help = "Example:
  meshspan generate tls-certificate --type server --hostname cp.example,10.0.0.7")]
    TlsCertificate(TlsCertificateArgs),
}

/// Carries out `generate`.
///
/// # Errors
/// When the control plane cannot be reached or refuses, or a key file cannot be used.
pub async fn generate(
    args: &GenerateArgs,
    connection: &ConnectionArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    match &args.command {
        GenerateCommand::DataplaneToken(args) => tokens::dataplane(args, connection, console).await?,
        GenerateCommand::ZoneToken(args) => tokens::zone(args, connection, console).await?,
        GenerateCommand::UserToken(args) => tokens::user(args, connection, console).await?,
        GenerateCommand::SigningKey(args) => keys::signing_key(args, console)?,
        GenerateCommand::PublicKey(args) => keys::public_key(args, console)?,
        GenerateCommand::TlsCertificate(args) => tls_certificate::generate(args, console)?,
    }
    Ok(Outcome::Done)
}
