//! The REST API of a control plane (`spec/http-api.md`), as an axum [`Router`](axum::Router).
//!
//! | module | what it holds |
//! |---|---|
//! | [`settings`] | what the API must be told about its control plane |
//! | [`mod@router`] | all paths; start here |
//! | `resources` | one set of handlers for all kinds: list, get, put, delete |
//! | `rules` | what particular kinds demand beyond their schema, one file a kind |
//! | `insights` | overviews, counters and statuses, computed from the store on each read |
//! | `inspect` | which policies apply to what, and what they say together |
//! | `system` | index, configuration, type descriptions, who-am-i, lookup by KRI |
//! | [`tokens`] | issuing tokens, and the keys and revocations by which they are validated |
//! | `authentication`, [`access`] | who is calling, and what they may do |
//! | `cors` | which web pages may call |
//! | [`provisioning`] | what belongs to a mesh: CA, token signing key, first policies |
//! | [`default_resources`] | what a control plane creates when it starts |
//!
//! What it does not do: open sockets, read configuration files or run anything in the background; the room `server`
//! does. It keeps no state of its own: every answer comes from a [`Snapshot`](meshspan_store::Snapshot) of the store.

pub mod access;
mod authentication;
mod body;
mod caller;
mod cors;
mod data_source;
pub mod default_resources;
mod error;
mod insights;
mod inspect;
mod link;
mod listing;
mod negotiation;
mod path;
pub mod provisioning;
mod query;
mod resources;
mod response;
pub mod router;
pub mod rules;
pub mod settings;
mod state;
mod system;
pub mod tokens;
mod write_turns;

pub use body::BodyError;
pub use cors::Cors;
pub use error::Busy;
pub use inspect::{
    ProxyConfigError, ProxyConfigFuture, ProxyConfigs, ProxyProblems, ProxyProblemsFuture, XdsResources,
};
pub use link::{ConnectionScheme, check_host, host_of};
pub use router::router;
pub use settings::{Environment, Mode, Settings};
pub use state::ApiState;
pub use write_turns::WriteTurns;
