//! Policies and what they do to traffic, of a MeshMultiZoneService with instances in the client's zone (`near`) and of one that lives
//! in another zone only (`far`).

mod access_logs;
mod balancing;
mod calls;
mod circuit_breakers;
mod health_checks;
mod permissions;
mod retries;
mod routes;
mod stages;
mod timeouts;
mod tls;
