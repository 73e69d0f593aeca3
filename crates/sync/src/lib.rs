//! Zone synchronisation: resources between the global control plane and its zones, over the KDS protocol of
//! `spec/zone-sync.md`, so that zones and globals of the reference implementation can be peers.
//!
//! Both directions are delta discovery. Three pure parts know the rules, and move no byte: [`outbox`] holds what this
//! control plane offers, encoded once for all peers; [`sender`] decides per stream what a peer is sent; [`receiver`]
//! turns what a peer sent into writes to the store. [`global`] and [`zone`] are the thin sides with the sockets:
//! start at [`global::GlobalSync`] and [`zone::ZoneSync`].
//!
//! What it does not do: compute status, decide about labels of local resources, or know keys and tokens; converting
//! signing keys, checking tokens and checking what secrets hold are callbacks of the server.

pub mod global;
pub mod key;
pub mod outbox;
pub mod outgoing;
pub mod payload;
pub mod proto;
pub mod receiver;
pub mod scope;
pub mod sender;
pub mod wire;
pub mod zone;

mod admission;
mod feature;
mod node;
mod publisher;
mod storing;
mod text;

pub use feature::Feature;
pub use global::{GlobalOptions, GlobalSync};
pub use node::About;
pub use zone::{ConnectionState, ZoneOptions, ZoneSync};

/// Largest message of either side, in bytes (`spec/zone-sync.md` §1.7).
pub const MAX_MESSAGE: usize = 10 * 1024 * 1024;

/// HTTP/2 flow control window in bytes: the full state of a large mesh in few round trips.
const WINDOW: u32 = 1024 * 1024;

/// TCP port of the global control plane.
pub const DEFAULT_PORT: u16 = 5685;
