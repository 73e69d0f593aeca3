//! Generated messages and services (`proto/`, `build.rs`).

mod generated {
    #![allow(
        missing_docs,
        clippy::all,
        clippy::pedantic,
        clippy::unwrap_used,
        clippy::indexing_slicing
    )]
    include!(concat!(env!("OUT_DIR"), "/all.rs"));
}

/// Delta discovery; its `Any` holds shared bytes.
pub mod discovery {
    pub use super::generated::envoy::service::discovery::v3::*;
    pub use super::generated::google::protobuf::{Any, Duration};
    pub use envoy_types::pb::envoy::config::core::v3::Node;
    pub use envoy_types::pb::google::rpc::Status;
}

/// The services between global and zones, and their messages.
pub mod kds {
    pub use super::generated::kuma::mesh::v1alpha1::*;
}
