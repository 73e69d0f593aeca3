//! The whole API in process: requests go through the router, resources live in a memory store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod access;
mod concurrency;
mod defaults;
mod effects;
mod errors;
mod harness;
mod insights;
mod inspect;
mod inspect_config;
mod labels;
mod lists;
mod matrix;
mod meshes;
mod policies;
mod rules;
mod secrets;
mod socket;
mod system;
mod tokens;
mod zone_views;
