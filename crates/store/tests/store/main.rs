//! Tests of the stores through their public face.
//!
//! `contract` holds the rules, run over every store; `sqlite` holds what only a store with a file has to keep.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod contract;
mod fixture;
mod sqlite;
