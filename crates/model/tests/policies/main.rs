//! The confs of policies: every rule with the path and the message that a user sees, one file a kind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod fixtures;
mod mesh_access_log;
mod mesh_circuit_breaker;
mod mesh_fault_injection;
mod mesh_health_check;
mod mesh_http_route;
mod mesh_load_balancing_strategy;
mod mesh_metric;
mod mesh_passthrough;
mod mesh_proxy_patch;
mod mesh_rate_limit;
mod mesh_retry;
mod mesh_tcp_route;
mod mesh_timeout;
mod mesh_tls;
mod mesh_trace;
mod mesh_traffic_permission;
mod reference;
