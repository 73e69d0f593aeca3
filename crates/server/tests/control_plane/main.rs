//! A whole control plane in this process, against scripted proxies and agents on loopback.
//!
//! `support` holds the control plane and the peers; each other module is one promise of the control plane.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod agents;
mod bootstrap;
mod certificates;
mod connections;
mod diagnostics;
mod edits;
mod envoy_token;
mod faults;
mod incremental;
mod insights;
mod isolation;
mod lost_tokens;
mod policies;
mod presence;
mod registration;
mod restart;
mod start;
mod support;
mod tokens;
mod virtual_ips;
mod work;
mod zones;
