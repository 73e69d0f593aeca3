//! The agent's DNS server: mesh names from the control plane's table, everything else from the host's own resolvers.
//!
//! `table` holds the records, `answer` decides what a query gets (pure), `server` and `datagrams` move the bytes, `forward` asks the
//! resolvers listed by `resolv_conf`. Messages for resolvers are passed on as they came, so EDNS options survive.

mod answer;
mod datagrams;
mod forward;
mod resolv_conf;
mod server;
mod table;

pub use server::DnsBindError;
pub(crate) use server::{DnsServer, DnsSettings};
pub(crate) use table::Table;

/// How a query came, and so how its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}
