//! Projection: what the world derived, as the resources that Envoy understands.
//!
//! Pure functions from the values of [`meshspan_world::view`] to encoded Envoy v3 resources. Nothing here knows of
//! streams, of the store, of time or of which proxy subscribed to what; whoever calls keeps the results and compares
//! versions. Together with `xds` this is the only crate that names an Envoy type.
//!
//! Where to start:
//!
//! * [`destination`]: the half that proxies of a mesh share, one cluster, endpoint list and listener per service port.
//! * [`mod@sidecar`]: the half that belongs to one sidecar: inbound listeners, local clusters, interception.
//! * [`mod@ingress`]: a zone ingress. [`mod@egress`]: a zone egress.
//! * `policies/`: what each kind of policies changes in both halves.
//! * [`secrets`]: certificates over SDS.
//! * [`mod@bootstrap`]: the static file that Envoy starts with.
//! * [`encode`]: what comes out, and how versions are made. [`json`]: the same, for people. [`names`]: the names that others rely on.
//!
//! Facts: `spec/dataplane.md` §2, §3, §5 and the measurements in §11. `tests/` runs what is made here through a real Envoy.

mod access_logs;
pub mod bootstrap;
pub mod destination;
pub mod egress;
pub mod encode;
mod http;
pub mod ingress;
pub mod json;
pub mod names;
mod network;
pub mod node_source;
mod parts;
mod policies;
pub mod secrets;
pub mod sidecar;
mod tls;
mod wkt;
mod zone_proxy;

pub use access_logs::{unopened_file, without_file_logs};
pub use bootstrap::{BootstrapParams, ControlPlaneAddresses, Credential, bootstrap};
pub use destination::{
    destination_cluster, destination_endpoints, endpoints_basis, outbound_clusters, outbound_listener,
};
pub use egress::{egress, egress_shared};
pub use encode::{Encoded, ResourceType};
pub use ingress::{ingress, ingress_cluster, ingress_endpoints, ingress_listener};
pub use json::JsonError;
pub use sidecar::{ProxyOptions, sidecar, sidecar_problems};
