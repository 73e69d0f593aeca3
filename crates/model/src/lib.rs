//! The resource model: kinds, envelope, labels, names, validation and the documents that users write.
//!
//! Pure: no socket, file, clock or random number. Start at [`kind`] for the table of kinds, [`resource`] for the
//! envelope that store, sync and API share, and `kinds/` for the payload of each kind. Facts: `spec/resources.md`.

pub mod document;
pub mod duration;
pub mod environment;
pub mod kind;
pub mod kinds;
pub mod kri;
pub mod labels;
pub mod name;
pub mod policy;
mod reading;
pub mod resource;
pub mod template;
pub mod violation;

pub use kind::{Kind, ProxyKind, Scope, ServiceKind, Shape};
pub use kinds::Spec;
pub use resource::{Resource, ResourceKey, ServiceIdentity};
pub use violation::{Violation, Violations};

/// The version of the reference (Kuma) whose documents, API and protocols are spoken; its clients refuse others.
pub const COMPATIBLE_VERSION: &str = "2.9.13";
