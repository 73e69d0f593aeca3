//! Whole meshes of real processes and real Envoys, each host in a network namespace. Needs root or user namespaces, and Envoy.
//!
//! Each file tells one story, or several that share a mesh because starting one takes seconds. A failure shows the end of every log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod clients;
mod cut_control_path;
mod documents;
mod egress;
mod explicit_outbounds;
mod failover;
mod lost_zone;
mod meshes;
mod policies;
mod protocols;
mod rejections;
mod restarts;
mod rotation;
mod stage;
mod three_zones;
mod virtual_addresses;
mod without_control_planes;
