//! Behaviour of the policy engine, through its public face. One module a concern.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod fixtures;
mod inbound;
mod matching;
mod merging;
mod outbound;
mod precedence;
mod properties;
mod references;
mod regular;
mod roles;
mod shapes;
