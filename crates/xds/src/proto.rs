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

/// Envoy's aggregated discovery service, delta variant; its `Any` holds shared bytes.
pub mod ads {
    pub use super::generated::envoy::service::discovery::v3::*;
    pub use super::generated::google::protobuf::Any;
    pub use envoy_types::pb::envoy::config::core::v3::Node;
    pub use envoy_types::pb::google::rpc::Status;
}

/// The agent's stream to its control plane.
pub mod agent {
    pub use super::generated::meshspan::agent::v1::*;
}
