//! The client commands: what they ask (of a small HTTP server that records requests) and what they print; and, in `real_api`,
//! whether a real control plane's API understands them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod apply;
mod backup;
mod config;
mod connection;
mod delete;
mod generate;
mod get;
mod inspect;
mod policies;
mod real_api;
mod support;
