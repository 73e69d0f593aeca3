//! Identity: who a proxy, a server or a caller is, and how that is proven.
//!
//! | module | what it holds |
//! |---|---|
//! | [`spiffe`] | SPIFFE ids and `kuma://` tag URIs, the names inside workload certificates |
//! | [`ca`] | the certificate authority of a mesh: make the builtin one, load one from PEM |
//! | [`ca_check`] | what is wrong with a CA that a user provides |
//! | [`workload`] | the short-lived certificates of proxies |
//! | [`server_certificate`] | TLS certificates for the control plane's own servers |
//! | [`signing_key`] | RSA keys that sign and verify tokens |
//! | [`token`] | user, dataplane and zone tokens: issue, validate, authorize |
//! | [`secret_names`] | the names under which all of these are stored |
//!
//! Start with [`Ca`] for certificates and with [`token`] for tokens.
//!
//! This crate stores nothing, caches nothing and reads neither clock, file nor socket: the time is always an argument. The one
//! impurity is deliberate: keys, certificate serials and random token ids are drawn from the operating system's
//! generator (through aws-lc-rs and uuid), because no caller should ever be able to choose them badly. What is signed is otherwise
//! a function of the arguments. Types that hold a private key leave it out of their `Debug` output.

pub mod ca;
pub mod ca_check;
mod certificate;
mod pem;
mod rsa_key;
pub mod secret_content;
pub mod secret_names;
pub mod server_certificate;
pub mod signing_key;
pub mod spiffe;
pub mod token;
pub mod workload;

pub use ca::Ca;
pub use ca_check::{CaProblem, check_provided_ca};
pub use certificate::{CertificateError, valid_from};
pub use secret_content::{CaHalf, SecretContentError, check_secret};
pub use secret_names::SigningKeyFamily;
pub use server_certificate::ServerCertificate;
pub use signing_key::{KeyError, SigningKey, VerificationKey};
pub use spiffe::SpiffeId;
pub use workload::{RotationPeriod, WorkloadCert, WorkloadRequest};
