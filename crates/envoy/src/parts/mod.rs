//! Envoy resources under construction: typed messages, packed into `Any` only when every policy has had its say.

mod chain;
mod cluster;

pub(crate) use chain::{Chain, HttpChain, RouteParts, TcpChain};
pub(crate) use cluster::ClusterParts;
