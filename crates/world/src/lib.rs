//! The world of one control plane: what its resources mean together.
//!
//! [`World`] takes changes of stored resources and derives, incrementally: MeshServices from Dataplanes, matches of
//! MeshMultiZoneServices, virtual IPs, hostnames, health, and the [`view`] that projection reads. It never touches a
//! socket, file, clock or random number: time comes in, writes and view changes come out.
//!
//! ```text
//! Dataplane ─▶ generate ─▶ MeshService ─▶ match ─▶ MeshMultiZoneService ─▶ Destination ─▶ projection
//!    │                        ▲   │                        │
//!    └── health ──────────────┘   └──── vips, hostnames ◀──┘ ─▶ DNS table
//! ```
//!
//! Start at [`World::apply`] and [`World::derive`]. A node is recomputed when one of its inputs changed, and the wave
//! stops where the result is equal.

mod address_range;
mod dirty;
mod dns;
mod generate;
mod hostnames;
mod hosts;
mod mesh_state;
mod permissions;
mod policies;
mod services;
mod settings;
mod sidecar;
pub mod sni;
pub mod view;
mod vips;
mod world;
mod zone_proxies;

pub use policies::ClassChanges;
pub use settings::Settings;
pub use vips::{CidrError, VipRange};
pub use world::{Changes, Inspected, Problem, World, Write};
