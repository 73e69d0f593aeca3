//! Global and zones over real sockets on loopback, with memory stores.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod authorization;
mod connections;
mod reference_global;
mod reference_zone;
mod resources;
mod system;
mod wrong_addresses;
