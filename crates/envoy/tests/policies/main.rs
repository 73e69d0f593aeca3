//! What policies do to the traffic of real Envoys, one file a kind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod mesh_access_log;
mod mesh_circuit_breaker;
mod mesh_health_check;
mod mesh_http_route;
mod mesh_load_balancing_strategy;
mod mesh_retry;
mod mesh_tcp_route;
mod mesh_timeout;
mod mesh_tls;
mod mesh_traffic_permission;
