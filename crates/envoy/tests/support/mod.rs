//! What the tests share: inputs, a real Envoy, and small servers and clients to send traffic through it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

pub mod app;
pub mod binary;
pub mod client;
pub mod envoy;
pub mod inputs;
pub mod projected;
pub mod proxies;
pub mod static_config;
pub mod validate;
