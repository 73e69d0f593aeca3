//! The half of a proxy's configuration that it shares with its mesh: one cluster, one endpoint list and one listener for
//! each port of each service (`spec/dataplane.md` §2.4).
//!
//! A change of readiness changes an endpoint list only; clusters and listeners change when a user changes a service.

mod cluster;
mod endpoints;
mod listener;

pub use cluster::destination_cluster;
pub use endpoints::{destination_endpoints, endpoints_basis};
pub use listener::{outbound_clusters, outbound_listener};

pub(crate) use cluster::eds_cluster;
pub(crate) use endpoints::{lb_endpoint, list_the_last_alone, load_assignment};
pub(crate) use listener::fallback_clusters;
